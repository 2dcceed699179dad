//! The first seconds of a worker: Envoy may take requests already and not know the nodes of Redis yet.
//!
//! `redis_proxy` answers `no upstream host` then. Nothing was sent to Redis, and in a few ms it will be, so the call is
//! to be sent again, for as long as its caller waits. That is no failure of a shard. But where Redis is away when Envoy
//! starts, the same answer comes for ever: after [`GRACE_PERIOD`] it is a failure like any other, by which circuit breakers
//! open. So it is once anything else was answered: Envoy did know Redis, and knows it no more.

use super::resp::Value;
use std::time::{Duration, Instant};

/// From the worker's first such answer on. Envoy resolves names and asks for the cluster's slots within a second, where
/// it can; with TLS after a second try.
const GRACE_PERIOD: Duration = Duration::from_secs(5);

/// What `redis_proxy` answers where its cluster has no host.
pub(super) const NO_HOST: &[u8] = b"no upstream host";

#[derive(Debug, Default)]
pub(super) struct Startup {
    /// When that was answered first.
    since: Option<Instant>,
    over: bool,
}

impl Startup {
    /// Whether the reply says no more than that Envoy does not know Redis yet.
    pub fn is_early(&mut self, now: Instant, reply: &Value) -> bool {
        let no_host = matches!(reply, Value::Error(text) if text == NO_HOST);
        let since = *self.since.get_or_insert(now);
        self.over |= !no_host || since + GRACE_PERIOD <= now;
        !self.over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_host() -> Value {
        Value::Error(NO_HOST.to_vec())
    }

    #[test]
    fn no_host_is_early_for_five_seconds_and_then_a_failure() {
        let start = Instant::now();
        let mut startup = Startup::default();
        for (ms, early) in [
            (0, true),
            (100, true),
            (4_999, true),
            (5_000, false),
            (5_001, false),
        ] {
            let now = start + Duration::from_millis(ms);
            assert_eq!(startup.is_early(now, &no_host()), early, "after {ms} ms");
        }
    }

    #[test]
    fn no_host_after_any_other_answer_is_a_failure_at_once() {
        let start = Instant::now();
        for other in [
            Value::Int(1),
            Value::Error(b"upstream failure".to_vec()),
            Value::Error(b"NOAUTH Authentication required.".to_vec()),
        ] {
            let mut startup = Startup::default();
            assert!(startup.is_early(start, &no_host()));
            assert!(!startup.is_early(start, &other));
            assert!(!startup.is_early(start, &no_host()), "{other:?}");
        }
    }

    #[test]
    fn the_patience_counts_from_the_first_call_and_not_from_the_start() {
        let start = Instant::now();
        let mut startup = Startup::default();
        let late = start + GRACE_PERIOD * 100;
        assert!(startup.is_early(late, &no_host()));
        assert!(!startup.is_early(late + GRACE_PERIOD, &no_host()));
    }
}
