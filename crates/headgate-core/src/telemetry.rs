//! Reports to operators: metrics, denials, the most rejected clients, and (in this file) failures to count and their
//! end, without a log line for each request.

mod collector;
mod counting;
pub mod denials;
pub mod failures;
pub mod meter;
pub mod metrics;
mod names;
mod notices;
mod per_limit;
mod rejections;
pub mod top;
mod waits;

pub use collector::Telemetry;
pub use notices::{notice_text, refusal_text};

use crate::limit::{Limit, OnError};
use failures::FailureKind;
use std::fmt::Display;
use std::time::{Duration, Instant};

/// The shortest time between two reports of a failure. Without failures for this long, counting is reported as
/// recovered.
const QUIET: Duration = Duration::from_secs(10);

/// Decides when a failure to count gets a log line: one for each kind of failure.
#[derive(Debug, Default)]
pub struct FailureLog {
    kinds: Vec<FailureCount>,
    latest: Option<Instant>,
    /// The description of the last failure other than an open circuit breaker: its cause.
    cause: String,
}

/// Failures of one kind.
#[derive(Debug)]
struct FailureCount {
    kind: FailureKind,
    reported: Option<Instant>,
    /// The number of failed requests since then.
    failed: u64,
}

/// A line to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// This many requests could not be counted since the last report of this kind.
    Failing {
        /// The number of requests.
        requests: u64,
    },
    /// Requests are counted again.
    Recovered,
}

impl FailureLog {
    /// Notes one request, and why Redis did not count it, if it did not.
    pub fn note(&mut self, now: Instant, failure: Option<FailureKind>) -> Option<Report> {
        let Some(kind) = failure else {
            if now.duration_since(self.latest?) < QUIET {
                return None;
            }
            *self = FailureLog::default();
            return Some(Report::Recovered);
        };
        self.latest = Some(now);
        let kinds = &mut self.kinds;
        let is_recent =
            |other: &FailureCount| other.reported.is_some_and(|at| now.duration_since(at) < QUIET);
        // An open circuit breaker is a consequence of failures that were reported already.
        let any = kind == FailureKind::BreakerOpen && kinds.iter().any(is_recent);
        let at = kinds.iter().position(|known| known.kind == kind);
        let at = at.unwrap_or_else(|| {
            kinds.push(FailureCount {
                kind,
                reported: None,
                failed: 0,
            });
            kinds.len() - 1
        });
        let counted = kinds.get_mut(at)?;
        counted.failed += 1;
        if any || is_recent(counted) {
            return None;
        }
        counted.reported = Some(now);
        Some(Report::Failing {
            requests: std::mem::take(&mut counted.failed),
        })
    }

    /// The text of a failure for its log line. For an open circuit breaker, it includes the cause.
    pub fn describe(&mut self, kind: FailureKind, error: &dyn Display, advice: &str) -> String {
        let mut words = error.to_string();
        let more = match kind {
            FailureKind::BreakerOpen => &self.cause,
            _ => advice,
        };
        if !more.is_empty() {
            words.push_str("; ");
            words.push_str(more);
        }
        if kind != FailureKind::BreakerOpen {
            self.cause.clone_from(&words);
        }
        words
    }
}

/// The `on_error` of the limits, with its effect on requests that are not counted.
pub fn on_error_words(limits: &[Limit]) -> String {
    let mut words = String::new();
    for (on_error, does) in [
        (OnError::Deny, "deny (they are refused)"),
        (OnError::Local, "local (this Envoy counts them alone)"),
        (OnError::Allow, "allow (they pass uncounted)"),
    ] {
        if limits.iter().any(|limit| limit.on_error == on_error) {
            if !words.is_empty() {
                words.push_str(" or ");
            }
            words.push_str(does);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::fixtures::limit;

    #[test]
    fn one_line_in_ten_seconds_of_failures_and_one_when_they_end() {
        let mut log = FailureLog::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let failed = Some(FailureKind::Silence);
        assert_eq!(log.note(start, None), None);
        assert_eq!(log.note(start, failed), Some(Report::Failing { requests: 1 }));
        assert_eq!(log.note(at(1), failed), None);
        assert_eq!(log.note(at(2), None), None, "another shard still counts");
        assert_eq!(log.note(at(10), failed), Some(Report::Failing { requests: 2 }));
        assert_eq!(log.note(at(19), None), None);
        assert_eq!(log.note(at(20), None), Some(Report::Recovered));
        assert_eq!(log.note(at(21), None), None);
        assert_eq!(log.note(at(22), failed), Some(Report::Failing { requests: 1 }));
    }

    #[test]
    fn each_failure_has_its_line_and_an_open_breaker_its_cause() {
        let mut log = FailureLog::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let one = Some(Report::Failing { requests: 1 });
        assert_eq!(log.note(start, Some(FailureKind::Silence)), one);
        assert_eq!(log.note(start, Some(FailureKind::Login)), one);
        assert_eq!(
            log.describe(FailureKind::Login, &"NOAUTH", "see there"),
            "NOAUTH; see there"
        );
        assert_eq!(log.note(at(1), Some(FailureKind::Login)), None);
        let open = Some(FailureKind::BreakerOpen);
        assert_eq!(log.note(at(1), open), None, "follows from what was reported");
        assert_eq!(log.note(at(10), open), Some(Report::Failing { requests: 2 }));
        let described = log.describe(FailureKind::BreakerOpen, &"circuit breaker open", "");
        assert_eq!(described, "circuit breaker open; NOAUTH; see there");
        assert_eq!(
            log.note(at(11), Some(FailureKind::Login)),
            Some(Report::Failing { requests: 2 })
        );
    }

    #[test]
    fn the_failure_line_names_each_on_error_in_use() {
        let on_error = |on_error| Limit {
            on_error,
            ..limit("a", &[])
        };
        let local = [on_error(OnError::Local), on_error(OnError::Local)];
        assert_eq!(on_error_words(&local), "local (this Envoy counts them alone)");
        assert_eq!(
            on_error_words(&[on_error(OnError::Allow), on_error(OnError::Deny)]),
            "deny (they are refused) or allow (they pass uncounted)"
        );
    }
}
