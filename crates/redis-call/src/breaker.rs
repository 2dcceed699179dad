//! The circuit breaker of one shard: decides whether calls to it are sent.
//!
//! It opens after [`FAILURES_TO_OPEN`] consecutive failures, and at once if the shard sent no reply during the whole
//! timeout of a call. So a dead shard costs callers one timeout at most, even if calls are rare. While it is open, calls
//! fail at once, and a harmless probe checks whether the shard answers again. The first probe is sent at once, because a
//! broken connection is often replaced within milliseconds. The pauses between the next ones grow up to [`LONGEST_PAUSE`],
//! so that calls are sent again soon after the shard has recovered.

use super::backoff::Backoff;
use super::startup::NO_HOST;
use crate::resp::Value;
use fastrand::Rng;
use std::time::{Duration, Instant};

/// One lost connection or one refused command does not open the breaker; a failing node under load opens it within
/// milliseconds.
pub(super) const FAILURES_TO_OPEN: u32 = 5;

/// Five probes per second are no load for a shard, and a shard that has recovered is used after 200 ms at most. A probe to
/// a dead node makes Envoy ask for the current master, so a failover is noticed as fast.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Breaker {
    state: BreakerState,
    /// Consecutive failures: since the last reply in time.
    failures: u32,
    /// Time of the last reply that came within its call's timeout.
    last_in_time: Option<Instant>,
    /// Time of the last reply, in time or late.
    last_reply: Option<Instant>,
    /// When the breaker closed last. Timeouts of calls that were sent earlier are ignored.
    closed_at: Option<Instant>,
    backoff: Backoff,
    /// The opening was reported, and the closing has not been reported yet.
    reported: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BreakerState {
    Closed,
    Open { probe_at: Instant },
    Probing { since: Instant },
}

/// A change that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Opened {
        /// Consecutive failures.
        failures: u32,
    },
    Closed,
}

impl Breaker {
    pub fn new(rng: Rng) -> Self {
        Breaker {
            state: BreakerState::Closed,
            failures: 0,
            last_in_time: None,
            last_reply: None,
            closed_at: None,
            backoff: Backoff::up_to(LONGEST_PAUSE, rng),
            reported: false,
        }
    }

    pub fn is_open(&self) -> bool {
        self.state != BreakerState::Closed
    }

    /// The shard answered a call in time.
    pub fn answered(&mut self, now: Instant) -> Option<Change> {
        self.failures = 0;
        self.last_in_time = Some(now);
        self.last_reply = Some(now);
        self.backoff.succeeded();
        if self.is_open() {
            self.close(now);
        }
        std::mem::take(&mut self.reported).then_some(Change::Closed)
    }

    /// The shard answered a call whose caller no longer waits.
    pub fn answered_late(&mut self, now: Instant) {
        self.last_reply = Some(now);
    }

    /// The shard answered a call with an error of its own, or the stream to it broke.
    pub fn failed(&mut self, now: Instant) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        match self.failures >= FAILURES_TO_OPEN {
            true => self.open(now),
            false => None,
        }
    }

    /// A call sent at `since` got no reply within its timeout.
    pub fn timed_out(&mut self, now: Instant, since: Instant) -> Option<Change> {
        if self.closed_at.is_some_and(|closed| since < closed) {
            return None;
        }
        let silent = self.last_in_time.is_none_or(|last_in_time| last_in_time < since);
        match self.failed(now) {
            None if silent => self.open(now),
            change => change,
        }
    }

    /// A call sent at `since` got no reply within its timeout, but the worker was blocked for a part of it and read no
    /// replies. This is a failure of the shard only if no reply, not even a late one, came within twice the `timeout`.
    pub fn timed_out_in_stall(&mut self, now: Instant, since: Instant, timeout: Duration) -> Option<Change> {
        let last_reply = self.last_reply.is_some_and(|last_reply| last_reply >= since);
        match last_reply || since + timeout * 2 > now {
            true => None,
            false => self.timed_out(now, since),
        }
    }

    fn open(&mut self, now: Instant) -> Option<Change> {
        if self.is_open() {
            return None;
        }
        // Opened again without a success in between: the pauses continue to grow.
        let probe_at = self.backoff.retry_at().map_or(now, |at| at.max(now));
        self.state = BreakerState::Open { probe_at };
        let reported = std::mem::replace(&mut self.reported, true);
        (!reported).then_some(Change::Opened {
            failures: self.failures,
        })
    }

    fn close(&mut self, now: Instant) {
        self.state = BreakerState::Closed;
        self.closed_at = Some(now);
        self.failures = 0;
    }

    /// Whether to send a probe now. `true` marks it as sent.
    pub fn probe(&mut self, now: Instant) -> bool {
        let due = matches!(self.state, BreakerState::Open { probe_at } if probe_at <= now);
        if due {
            self.state = BreakerState::Probing { since: now };
        }
        due
    }

    /// The probe has ended. Success closes the breaker; the pauses between probes are reset only by the success of a
    /// call.
    pub fn probed(&mut self, now: Instant, succeeded: bool) {
        if !matches!(self.state, BreakerState::Probing { .. }) {
            return;
        }
        self.backoff.failed(now);
        match succeeded {
            true => self.close(now),
            false => {
                let probe_at = self.backoff.retry_at().unwrap_or(now);
                self.state = BreakerState::Open { probe_at };
            }
        }
    }

    /// Whether the probe in flight has exceeded `timeout`. `true` ends it as failed.
    pub fn probe_overdue(&mut self, now: Instant, timeout: Duration) -> bool {
        let overdue = matches!(self.state, BreakerState::Probing { since } if since + timeout <= now);
        if overdue {
            self.probed(now, false);
        }
        overdue
    }

    /// When the breaker needs the next tick.
    pub fn wakeup(&self, timeout: Duration) -> Option<Instant> {
        match self.state {
            BreakerState::Closed => None,
            BreakerState::Open { probe_at } => Some(probe_at),
            BreakerState::Probing { since } => Some(since + timeout),
        }
    }
}

/// Whether a reply is an error of the node or of the connection to it, and not of one call. A node that only refuses
/// writes (OOM, READONLY, MISCONF, NOREPLICAS) has not failed: it can still deny clients that are over a limit, so calls
/// are still sent to it. `no upstream host` is a failure, except in the first seconds of a worker ([`super::startup`]).
pub(super) fn is_failure(reply: &Value) -> bool {
    const FAILURES: [&[u8]; 9] = [
        b"upstream ",
        NO_HOST,
        b"LOADING",
        b"CLUSTERDOWN",
        b"MASTERDOWN",
        b"BUSY ",
        b"NOAUTH",
        b"NOPERM",
        b"WRONGPASS",
    ];
    matches!(reply, Value::Error(text) if FAILURES.iter().any(|failure| text.starts_with(failure)))
}

/// Whether a reply may mean that slots have moved or that a master has changed.
pub(super) fn is_about_slots(reply: &Value) -> bool {
    const MOVES: [&[u8]; 4] = [b"MOVED", b"ASK", b"TRYAGAIN", b"READONLY"];
    is_failure(reply)
        || matches!(reply, Value::Error(text) if MOVES.iter().any(|word| text.starts_with(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(100);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn five_consecutive_failures_open_it_and_a_success_resets() {
        let now = Instant::now();
        let mut breaker = Breaker::new(Rng::with_seed(1));
        for _ in 0..FAILURES_TO_OPEN - 1 {
            assert_eq!(breaker.failed(now), None);
        }
        assert_eq!(breaker.answered(now), None);
        for _ in 0..FAILURES_TO_OPEN - 1 {
            assert_eq!(breaker.failed(now), None);
        }
        assert!(!breaker.is_open());
        assert_eq!(
            breaker.failed(now),
            Some(Change::Opened {
                failures: FAILURES_TO_OPEN
            })
        );
        assert_eq!(breaker.failed(now), None, "opening is reported once");
    }

    #[test]
    fn a_timeout_opens_it_only_without_any_reply_meanwhile() {
        let start = Instant::now();
        let mut breaker = Breaker::new(Rng::with_seed(1));
        breaker.answered(start + ms(50));
        breaker.timed_out(start + ms(100), start);
        assert!(!breaker.is_open(), "other calls were answered meanwhile");
        breaker.timed_out(start + ms(160), start + ms(60));
        assert!(breaker.is_open());
    }

    #[test]
    fn a_timeout_in_a_stall_opens_it_only_after_twice_the_timeout() {
        let start = Instant::now();
        let mut breaker = Breaker::new(Rng::with_seed(1));
        for _ in 0..FAILURES_TO_OPEN * 2 {
            breaker.timed_out_in_stall(start + ms(199), start, TIMEOUT);
        }
        breaker.answered_late(start + ms(150));
        for _ in 0..FAILURES_TO_OPEN * 2 {
            breaker.timed_out_in_stall(start + ms(300), start + ms(100), TIMEOUT);
        }
        assert!(!breaker.is_open());
        let opened = breaker.timed_out_in_stall(start + ms(400), start + ms(200), TIMEOUT);
        assert_eq!(opened, Some(Change::Opened { failures: 1 }));
    }

    #[test]
    fn probes_start_at_once_and_their_pauses_grow_to_200_ms() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(Rng::with_seed(1));
        breaker.timed_out(now, now);
        let mut pauses = Vec::new();
        for _ in 0..20 {
            let at = breaker.wakeup(TIMEOUT).unwrap();
            pauses.push(at.saturating_duration_since(now));
            assert!(at <= now || !breaker.probe(at - ms(1)));
            assert!(breaker.probe(at) && !breaker.probe(at), "one probe at a time");
            now = at + TIMEOUT;
            assert!(!breaker.probe_overdue(now - ms(1), TIMEOUT));
            assert!(breaker.probe_overdue(now, TIMEOUT));
        }
        assert_eq!(pauses[0], ms(0));
        assert!(pauses[1] >= ms(10) && pauses[1] <= ms(20));
        assert!(pauses[10..]
            .iter()
            .all(|pause| (ms(100)..=LONGEST_PAUSE).contains(pause)));
    }

    #[test]
    fn reopening_after_a_probe_is_not_reported_and_pauses_grow() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(Rng::with_seed(1));
        assert!(breaker.timed_out(now, now).is_some());
        for round in 0..8 {
            now = breaker.wakeup(TIMEOUT).unwrap();
            assert!(breaker.probe(now));
            breaker.probed(now, true);
            assert!(!breaker.is_open());
            for _ in 0..FAILURES_TO_OPEN {
                assert_eq!(breaker.failed(now), None, "round {round}");
            }
            assert!(breaker.is_open());
        }
        assert!(breaker.wakeup(TIMEOUT).unwrap() >= now + ms(100));
        assert_eq!(breaker.answered(now), Some(Change::Closed));
        assert_eq!(breaker.answered(now), None, "closing is reported once");
    }

    #[test]
    fn timeouts_of_calls_sent_before_it_closed_are_ignored() {
        let start = Instant::now();
        let mut breaker = Breaker::new(Rng::with_seed(1));
        breaker.timed_out(start, start);
        assert!(breaker.probe(start));
        breaker.probed(start + ms(1), true);
        for _ in 0..FAILURES_TO_OPEN * 2 {
            breaker.timed_out(start + ms(50), start);
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn errors_of_the_node_differ_from_errors_of_one_call() {
        let error = |text: &str| Value::Error(text.as_bytes().to_vec());
        for text in [
            "upstream failure",
            "no upstream host",
            "LOADING Redis is",
            "CLUSTERDOWN Hash",
            "BUSY Redis",
        ] {
            assert!(is_failure(&error(text)), "{text}");
        }
        for text in [
            "WRONGTYPE Operation",
            "OOM command",
            "READONLY You",
            "TRYAGAIN Multiple",
            "NOSCRIPT",
            "ERR x",
        ] {
            assert!(!is_failure(&error(text)), "{text}");
        }
        assert!(is_about_slots(&error("MOVED 1 a:1")) && !is_about_slots(&error("OOM")));
        assert!(!is_failure(&Value::Int(1)));
    }
}
