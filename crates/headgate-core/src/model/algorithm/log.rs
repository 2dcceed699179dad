//! Sliding window log: the time of every admitted call.
//!
//! **Law.** A call at t counts in [t, t + period), in µs. One passes if and only if the calls that count then, and its
//! own cost, are no more than N: no span of one period ever sees more than N.
//!
//! **Error.** None; waits are rounded up to whole ms. The price is an entry for each call: N is at most [`MAX_LOG`].

use super::{signed, Terms, Verdict};

/// The largest N of a log.
pub const MAX_LOG: u64 = 10_000;

/// Times in unix µs, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Log {
    times_us: Vec<u64>,
}

/// The entries that count now.
struct LiveEntries<'a> {
    /// The clock, or the newest entry if that is later.
    now_us: u64,
    times_us: &'a [u64],
    /// How many older ones there are.
    expired: usize,
    /// How many are too far in the future, and are ignored.
    ahead: usize,
}

impl Log {
    /// The number of all entries, including those that no longer count.
    pub fn len(&self) -> usize {
        self.times_us.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.times_us.is_empty()
    }

    /// The times of all entries, in unix µs, in order.
    pub fn times(&self) -> &[u64] {
        &self.times_us
    }

    /// A log of these entries; `None` if they are not in order.
    pub fn from_times(times_us: Vec<u64>) -> Option<Log> {
        times_us.is_sorted().then_some(Log { times_us })
    }

    pub(super) fn check(&self, clock_us: u64, terms: &Terms, need: u64) -> Verdict {
        let (limit, span) = (terms.rate.limit, span_us(terms));
        let live = self.live(clock_us, span);
        // Until an entry no longer counts.
        let gone = |time: Option<&u64>| {
            time.map_or(0, |time| {
                time.saturating_add(span).saturating_sub(clock_us).div_ceil(1000)
            })
        };
        let left = signed(limit) - signed(live.times_us.len() as u64);
        let reset = gone(live.times_us.last());
        Verdict::new(limit, left, need, terms.period_ms(), reset, || {
            let excess = usize::try_from(signed(need).saturating_sub(left)).unwrap_or(0);
            gone(live.times_us.get(excess.saturating_sub(1)))
        })
    }

    /// Returns the time under which the call was entered, in µs. Entries that no longer count, or are too far in the
    /// future, are dropped.
    pub(super) fn charge(&mut self, clock_us: u64, terms: &Terms, cost: u64) -> u64 {
        let live = self.live(clock_us, span_us(terms));
        let (now, expired, ahead) = (live.now_us, live.expired, live.ahead);
        self.times_us.truncate(self.times_us.len() - ahead);
        self.times_us.drain(..expired);
        self.times_us.extend((0..cost.min(MAX_LOG + 1)).map(|_| now));
        now
    }

    /// Removes that call's own entries, or others of the same µs.
    pub(super) fn give_back(&mut self, cost: u64, time_us: u64) {
        let first = self.times_us.partition_point(|time| *time < time_us);
        let after = self.times_us.partition_point(|time| *time <= time_us);
        let count = usize::try_from(cost).unwrap_or(usize::MAX).min(after - first);
        self.times_us.drain(first..first + count);
    }

    fn live(&self, clock_us: u64, span: u64) -> LiveEntries<'_> {
        let believed = self
            .times_us
            .partition_point(|time| *time <= clock_us.saturating_add(span));
        let (times, ahead) = self.times_us.split_at_checked(believed).unwrap_or_default();
        let now_us = times.last().map_or(clock_us, |newest| clock_us.max(*newest));
        let expired = times.partition_point(|time| time.saturating_add(span) <= clock_us);
        LiveEntries {
            now_us,
            times_us: times.get(expired..).unwrap_or_default(),
            expired,
            ahead: ahead.len(),
        }
    }
}

fn span_us(terms: &Terms) -> u64 {
    terms.period_ms() * 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::algorithm::laws::terms;
    use crate::model::Algorithm;

    const NOW: u64 = 1_700_000_000_000_000;
    const SPAN: u64 = 60_000_000;

    fn log(limit: u64) -> Terms {
        terms(Algorithm::SlidingWindowLog, limit, 60_000)
    }

    #[test]
    fn a_call_counts_for_one_period_to_the_microsecond() {
        let mut state = Log::default();
        state.charge(NOW, &log(2), 1);
        state.charge(NOW + 1_500, &log(2), 1);
        let denied = state.check(NOW + 2_000, &log(2), 1);
        assert_eq!(
            (denied.allowed, denied.wait_ms, denied.reset_ms),
            (false, 59_998, 60_000)
        );
        assert!(!state.check(NOW + SPAN - 1, &log(2), 1).allowed);
        assert_eq!(state.check(NOW + SPAN, &log(2), 1).remaining, 1);
    }

    #[test]
    fn entries_far_in_the_future_neither_count_nor_move_the_clock() {
        let mut state = Log::default();
        state.charge(NOW + SPAN + 1, &log(2), 2);
        assert_eq!(state.check(NOW, &log(2), 2).remaining, 2);
        assert_eq!(state.check(NOW + 1, &log(2), 2).remaining, 0);
        assert_eq!(state.charge(NOW, &log(2), 1), NOW);
        assert_eq!(state.times_us, [NOW], "those far ahead are gone");
    }

    #[test]
    fn an_admission_removes_entries_that_no_longer_count() {
        let mut state = Log::default();
        state.charge(NOW, &log(1000), 990);
        state.charge(NOW + 1, &log(1000), 10);
        state.charge(NOW + SPAN, &log(1000), 5);
        assert_eq!(state.len(), 15);
        assert_eq!(state.check(NOW + SPAN, &log(1000), 1).remaining, 985);
    }

    #[test]
    fn a_future_entry_counts_and_expires_no_other_entry() {
        let mut state = Log::from_times(vec![NOW, NOW + SPAN]).unwrap();
        assert_eq!(state.check(NOW + SPAN - 1, &log(3), 1).remaining, 1);
        assert_eq!(state.charge(NOW + SPAN - 1, &log(3), 1), NOW + SPAN, "in order");
        assert!(!state.check(NOW + SPAN - 1, &log(3), 1).allowed);
        assert_eq!(state.check(NOW + SPAN, &log(3), 1).remaining, 1);
    }

    #[test]
    fn only_entries_of_that_time_are_given_back() {
        let mut state = Log::default();
        let mark = state.charge(NOW, &log(9), 2);
        state.charge(NOW + 1, &log(9), 1);
        state.give_back(5, mark);
        assert_eq!(state.times_us, [NOW + 1]);
    }
}
