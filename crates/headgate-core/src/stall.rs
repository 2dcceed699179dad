//! Detects stalls of the worker itself: a reply that is missing after a stall is not Redis's fault.
//!
//! On a stalled machine or in a busy event loop, replies that arrived in time are read late. Requests whose deadline
//! was in the stall get a grace period, in which the replies are read. They wait at most twice `redis.timeout`.

use std::time::{Duration, Instant};

/// While requests are pending, the worker checks its clock at this interval, to detect stalls.
pub const HEARTBEAT: Duration = Duration::from_millis(20);

/// A tick that is this late is a stall. The host's ticks are whole milliseconds, and its loop takes a few.
const LATE: Duration = Duration::from_millis(10);

/// The grace period after a stall. Data in a socket needs several rounds of the host's loop to arrive here: Redis's,
/// the internal listener's, the stream's.
const GRACE: Duration = Duration::from_millis(20);

/// The worker's last stalls.
#[derive(Debug, Default, Clone, Copy)]
pub struct Stall {
    /// When the last stall ended.
    over: Option<Instant>,
    /// When the first stall of a series ended, each of which came within the grace period of the one before.
    first: Option<Instant>,
}

/// The cause of a call's timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The shard did not reply in time.
    Shard,
    /// The worker stalls repeatedly: the shard only if it has sent nothing at all.
    ShardIfSilent,
    /// The worker has just stalled.
    Worker,
}

impl Stall {
    /// Notes a tick at `now` that was due at `due`.
    pub fn ticked(&mut self, due: Option<Instant>, now: Instant) {
        let Some(due) = due.filter(|due| *due + LATE <= now) else {
            return;
        };
        if self.grace().is_none_or(|end| end < due) {
            self.first = Some(now);
        }
        self.over = Some(now);
    }

    /// The cause of the timeout of a call that was sent at `since`.
    pub fn blame(&self, now: Instant, since: Instant, timeout: Duration) -> Blame {
        match (self.first, self.over) {
            (Some(first), Some(over)) if since < over => match now < first + timeout {
                true => Blame::Worker,
                false => Blame::ShardIfSilent,
            },
            _ => Blame::Shard,
        }
    }

    /// Requests with a deadline at or before this time have timed out; `None`: none yet. `timeout`: how long they wait.
    pub fn cutoff(&self, now: Instant, timeout: Duration) -> Option<Instant> {
        match (self.first, self.grace()) {
            (Some(first), _) if now < first + GRACE => None,
            (_, Some(end)) if now < end => now.checked_sub(timeout),
            _ => Some(now),
        }
    }

    /// When to check the earliest deadline.
    pub fn look_at(&self, now: Instant, deadline: Instant) -> Instant {
        let end = self.grace().filter(|end| now < *end);
        let at = end.map_or(deadline, |end| end.max(deadline));
        at.min(now + HEARTBEAT)
    }

    fn grace(&self) -> Option<Instant> {
        Some(self.over? + GRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(100);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn ticks_in_time_are_no_stall_and_deadlines_hold() {
        let start = Instant::now();
        let mut stall = Stall::default();
        stall.ticked(None, start);
        stall.ticked(Some(start), start + ms(9));
        assert_eq!(stall.blame(start + ms(9), start, TIMEOUT), Blame::Shard);
        assert_eq!(stall.cutoff(start + ms(9), TIMEOUT), Some(start + ms(9)));
        assert_eq!(stall.look_at(start, start + ms(5)), start + ms(5));
        assert_eq!(stall.look_at(start, start + ms(100)), start + HEARTBEAT);
    }

    #[test]
    fn after_a_stall_expired_calls_get_a_grace_period_without_blame() {
        let start = Instant::now();
        let mut stall = Stall::default();
        let over = start + ms(300);
        stall.ticked(Some(start), over);
        assert_eq!(stall.look_at(over, start + ms(90)), over + GRACE);
        assert_eq!(stall.cutoff(over + GRACE - ms(1), TIMEOUT), None);
        assert_eq!(stall.cutoff(over + GRACE, TIMEOUT), Some(over + GRACE));
        let end = over + GRACE;
        assert_eq!(stall.blame(end, start, TIMEOUT), Blame::Worker);
        assert_eq!(
            stall.blame(end + TIMEOUT, over, TIMEOUT),
            Blame::Shard,
            "sent afterwards"
        );
    }

    #[test]
    fn a_worker_that_is_always_late_at_most_doubles_the_timeout() {
        let mut now = Instant::now();
        let mut stall = Stall::default();
        for _ in 0..10 {
            let since = now;
            let deadline = since + TIMEOUT;
            while stall.cutoff(now, TIMEOUT).is_none_or(|cutoff| cutoff < deadline) {
                let due = stall.look_at(now, deadline);
                now = due + LATE;
                stall.ticked(Some(due), now);
            }
            let waited = now - since;
            assert!(
                waited >= TIMEOUT * 2 && waited < TIMEOUT * 2 + HEARTBEAT + LATE,
                "{waited:?}"
            );
            assert_eq!(stall.blame(now, since, TIMEOUT), Blame::ShardIfSilent);
        }
    }
}
