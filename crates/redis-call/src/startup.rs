//! The first seconds of a worker: Envoy may accept requests before it knows the Redis nodes.
//!
//! `redis_proxy` answers `no upstream host` then. Nothing was sent to Redis, and a retry a few ms later may succeed, so
//! the call is sent again until its deadline. This is not a failure of a shard. But if Redis is down when Envoy starts,
//! `redis_proxy` gives the same answer forever. So after [`GRACE_PERIOD`], or after any other answer, it is a failure like
//! any other and opens circuit breakers.

use super::resp::Value;
use std::time::{Duration, Instant};

/// Counted from the worker's first such answer. Envoy needs about a second to resolve names and to ask for the cluster's
/// slots; with TLS it may need a second attempt.
const GRACE_PERIOD: Duration = Duration::from_secs(5);

/// The error of `redis_proxy` if its cluster has no host.
pub(super) const NO_HOST: &[u8] = b"no upstream host";

#[derive(Debug, Default)]
pub(super) struct Startup {
    /// When the first answer came.
    since: Option<Instant>,
    over: bool,
}

impl Startup {
    /// Whether the reply only means that Envoy does not know the Redis nodes yet.
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
    fn the_grace_period_begins_with_the_first_answer() {
        let start = Instant::now();
        let mut startup = Startup::default();
        let late = start + GRACE_PERIOD * 100;
        assert!(startup.is_early(late, &no_host()));
        assert!(!startup.is_early(late + GRACE_PERIOD, &no_host()));
    }
}
