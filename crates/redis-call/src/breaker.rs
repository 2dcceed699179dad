//! The circuit breaker of one shard: whether calls to it are worth sending.
//!
//! It opens after [`FAILURES_TO_OPEN`] failures in a row, and at once when the shard has been silent for the whole of a call's
//! time: each caller then pays for a dead shard with one time-out at most, also where calls are rare. Open, calls
//! are refused without waiting, and a harmless probe asks whether the shard is back: the first at once, as a hiccup
//! or a broken connection is over in a moment, later ones with growing pauses of [`LONGEST_PAUSE`] at most, so that
//! counting is back soon after the shard.

use super::backoff::Backoff;
use super::startup::NO_HOST;
use crate::resp::Value;
use fastrand::Rng;
use std::time::{Duration, Instant};

/// More than one lost connection or one refused command brings about, and few enough that a failing node is left
/// alone within milliseconds.
pub(super) const FAILURES_TO_OPEN: u32 = 5;

/// Five probes a second cost a shard nothing, and nobody waits longer for it than that. A probe that meets a dead node
/// has Envoy ask who is master now, so that an election is noticed as soon.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Breaker {
    state: BreakerState,
    /// Failures since the last reply in time.
    failures: u32,
    /// When the last reply in time came.
    last_in_time: Option<Instant>,
    /// When the last reply came, in time or late.
    last_reply: Option<Instant>,
    /// Calls sent before this say nothing any more.
    closed_at: Option<Instant>,
    backoff: Backoff,
    /// Whether its opening was reported, and its closing was not yet.
    reported: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BreakerState {
    Closed,
    Open { probe_at: Instant },
    Probing { since: Instant },
}

/// What is worth a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// After so many failures in a row.
    Opened {
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

    /// The shard answered a call with its failure, or the stream to it broke.
    pub fn failed(&mut self, now: Instant) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        match self.failures >= FAILURES_TO_OPEN {
            true => self.open(now),
            false => None,
        }
    }

    /// A call sent at `since` got no reply in its time.
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

    /// A call sent at `since` got no reply in its time, in a part of which the worker read none. That is the shard's
    /// failure only where it has not said a word, be it late, in twice the `timeout`.
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
        // Reopened without a success in between: the pauses go on growing.
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

    /// Whether a probe is to be sent now; if so, it counts as sent.
    pub fn probe(&mut self, now: Instant) -> bool {
        let due = matches!(self.state, BreakerState::Open { probe_at } if probe_at <= now);
        if due {
            self.state = BreakerState::Probing { since: now };
        }
        due
    }

    /// The probe was answered: in time and well, or not. Calls flow again after a good one; only a call's own
    /// success makes the breaker forget its pauses.
    pub fn probed(&mut self, now: Instant, well: bool) {
        if !matches!(self.state, BreakerState::Probing { .. }) {
            return;
        }
        self.backoff.failed(now);
        match well {
            true => self.close(now),
            false => {
                let probe_at = self.backoff.retry_at().unwrap_or(now);
                self.state = BreakerState::Open { probe_at };
            }
        }
    }

    /// Whether the probe under way has had `timeout`; if so, it has failed.
    pub fn probe_overdue(&mut self, now: Instant, timeout: Duration) -> bool {
        let overdue = matches!(self.state, BreakerState::Probing { since } if since + timeout <= now);
        if overdue {
            self.probed(now, false);
        }
        overdue
    }

    /// When the breaker wants a tick.
    pub fn wakeup(&self, timeout: Duration) -> Option<Instant> {
        match self.state {
            BreakerState::Closed => None,
            BreakerState::Open { probe_at } => Some(probe_at),
            BreakerState::Probing { since } => Some(since + timeout),
        }
    }
}

/// Errors of the node or of the way to it, as opposed to those of one call. A node that only refuses to write (OOM,
/// READONLY, MISCONF, NOREPLICAS) is none: it still denies whoever is over a limit, and so is asked on. A proxy that
/// knows no node is one, but for the first seconds of a worker ([`super::startup`]).
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

/// Errors that may mean that slots have moved or that a master has changed.
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
    fn five_failures_in_a_row_open_it_and_a_success_starts_the_count_anew() {
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
        assert_eq!(breaker.failed(now), None, "reported once");
    }

    #[test]
    fn a_whole_timeout_of_silence_opens_it_and_a_single_late_call_among_answers_does_not() {
        let start = Instant::now();
        let mut breaker = Breaker::new(Rng::with_seed(1));
        breaker.answered(start + ms(50));
        breaker.timed_out(start + ms(100), start);
        assert!(!breaker.is_open(), "others were answered meanwhile");
        breaker.timed_out(start + ms(160), start + ms(60));
        assert!(breaker.is_open());
    }

    #[test]
    fn a_time_out_while_the_worker_stood_still_opens_it_only_after_twice_the_time_without_a_word() {
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
    fn the_first_probe_is_sent_at_once_and_the_pauses_between_the_others_grow_to_a_fifth_of_a_second() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(Rng::with_seed(1));
        breaker.timed_out(now, now);
        let mut pauses = Vec::new();
        for _ in 0..20 {
            let at = breaker.wakeup(TIMEOUT).unwrap();
            pauses.push(at.saturating_duration_since(now));
            assert!(at <= now || !breaker.probe(at - ms(1)));
            assert!(breaker.probe(at) && !breaker.probe(at), "one at a time");
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
    fn a_good_probe_lets_calls_flow_and_failing_calls_then_meet_longer_pauses_without_more_log_lines() {
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
        assert_eq!(breaker.answered(now), None, "reported once");
    }

    #[test]
    fn calls_from_before_it_closed_do_not_open_it_again() {
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
    fn errors_of_the_node_are_told_from_those_of_one_call() {
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
