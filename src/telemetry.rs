//! What operators are told: figures, who is rejected, and (in this file) that counting fails and that it works again,
//! without a line for each request.

pub mod denials;
pub mod meter;
pub mod metrics;
mod names;
pub mod top;
mod waits;

use crate::limit::{Limit, OnError};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Failures are reported at most this often; without one for so long, counting is said to work again.
const QUIET: Duration = Duration::from_secs(10);

/// Decides when a failure to count is worth a log line.
#[derive(Debug, Default)]
pub struct FailureLog {
    reported: Cell<Option<Instant>>,
    latest: Cell<Option<Instant>>,
    /// Since the last report.
    failed: Cell<u64>,
}

/// A line to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// So many requests could not be counted since the last report.
    Failing {
        requests: u64,
    },
    Recovered,
}

impl FailureLog {
    /// Notes one request; `failed`: Redis did not count it.
    pub fn note(&self, now: Instant, failed: bool) -> Option<Report> {
        if failed {
            self.latest.set(Some(now));
            self.failed.set(self.failed.get() + 1);
            if self
                .reported
                .get()
                .is_some_and(|at| now.duration_since(at) < QUIET)
            {
                return None;
            }
            self.reported.set(Some(now));
            return Some(Report::Failing {
                requests: self.failed.take(),
            });
        }
        let quiet = self
            .latest
            .get()
            .is_some_and(|at| now.duration_since(at) >= QUIET);
        if !quiet {
            return None;
        }
        self.latest.set(None);
        self.reported.set(None);
        Some(Report::Recovered)
    }
}

/// What becomes of requests that are not counted, in words.
pub fn on_error_words(limits: &[Limit]) -> String {
    let mut words = String::new();
    for (on_error, does) in [
        (OnError::Deny, "on_error: deny refuses them"),
        (OnError::Local, "on_error: local counts them in this Envoy alone"),
        (OnError::Allow, "on_error: allow lets them pass"),
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
        let log = FailureLog::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(log.note(start, false), None);
        assert_eq!(log.note(start, true), Some(Report::Failing { requests: 1 }));
        assert_eq!(log.note(at(1), true), None);
        assert_eq!(log.note(at(2), false), None, "another shard still counts");
        assert_eq!(log.note(at(10), true), Some(Report::Failing { requests: 2 }));
        assert_eq!(log.note(at(19), false), None);
        assert_eq!(log.note(at(20), false), Some(Report::Recovered));
        assert_eq!(log.note(at(21), false), None);
        assert_eq!(log.note(at(22), true), Some(Report::Failing { requests: 1 }));
    }

    #[test]
    fn the_line_says_what_on_error_does_by_the_limits_that_there_are() {
        let on_error = |on_error| Limit {
            on_error,
            ..limit("a", &[])
        };
        let local = [on_error(OnError::Local), on_error(OnError::Local)];
        assert_eq!(
            on_error_words(&local),
            "on_error: local counts them in this Envoy alone"
        );
        assert_eq!(
            on_error_words(&[on_error(OnError::Allow), on_error(OnError::Deny)]),
            "on_error: deny refuses them or on_error: allow lets them pass"
        );
    }
}
