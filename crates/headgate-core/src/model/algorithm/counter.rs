//! Sliding window counter: the count of this window, plus the weighted count of the previous one.
//!
//! **Law.** Windows are multiples of the period since 1970. At `elapsed` into one, a call passes if and only if
//! `current + cost + previous × (period − elapsed) / period ≤ N`. So no window takes more than N. It stores two
//! numbers, however large N is (Cloudflare, "How we built rate limiting capable of scaling to millions of domains",
//! 2017).
//!
//! **Error.** The weight assumes that the previous window's calls came evenly. Let f = elapsed / period, and L of the
//! previous window's calls have come within the last period. The true count of that period is L + current; for an
//! admitted call, with its own cost in current, L + current ≤ N + L − (1 − f) × previous. As 0 ≤ L ≤ previous:
//!
//! - one period never sees more than N + f × previous, hence less than 2N: near that if all of the previous window
//!   came at its very end and this window is almost over;
//! - a call is denied too early by no more than (1 − f) × previous, if all of them came at the window's start;
//! - if calls come evenly, L = (1 − f) × previous, and the count is exact.

use super::{most, signed, Terms, Verdict};

/// The latest window's count and the one before it. All zero: nothing counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlidingCounter {
    /// Which window: its start divided by the period.
    pub window: u64,
    /// Each count is at most 2⁵³ / period in ms.
    pub current: u64,
    /// The count of the window before.
    pub previous: u64,
}

impl SlidingCounter {
    pub(super) fn check(&self, clock_ms: u64, terms: &Terms, need: u64) -> Verdict {
        let (limit, period) = (terms.rate.limit, terms.period_ms());
        let now = self.at(clock_ms, period);
        // Until this window ends; above one period if the window is ahead of the clock.
        let rest = ((now.window + 1) * period).saturating_sub(clock_ms);
        let weight = now.previous.saturating_mul(rest.min(period)).div_ceil(period);
        let free = signed(limit) - signed(now.current);
        let reset = match now {
            SlidingCounter { current: 1.., .. } => rest + period,
            SlidingCounter { previous: 1.., .. } => rest,
            _ => 0,
        };
        // `taken` calls of the window before weigh no more than `room` once no more than this is left of the window.
        let fade = |taken: u64, room: u64| room.saturating_mul(period).checked_div(taken).unwrap_or(0);
        let left = free.saturating_sub(signed(weight));
        Verdict::new(limit, left, need, period, reset, || {
            match u64::try_from(free.saturating_sub(signed(need))) {
                Ok(room) => rest.saturating_sub(fade(now.previous, room)),
                // Not before the next window, in which the current one fades.
                Err(_) => (rest + period).saturating_sub(fade(now.current, limit - need)),
            }
        })
    }

    /// Returns the window.
    pub(super) fn charge(&mut self, clock_ms: u64, terms: &Terms, cost: u64) -> u64 {
        *self = self.at(clock_ms, terms.period_ms());
        self.current = self.current.saturating_add(cost).min(most(terms.period_ms()));
        self.window
    }

    /// Refunds only the window that was charged: the current or the previous one.
    pub(super) fn give_back(&mut self, cost: u64, window: u64) {
        if self.window == window {
            self.current = self.current.saturating_sub(cost);
        } else if self.window.checked_sub(1) == Some(window) {
            self.previous = self.previous.saturating_sub(cost);
        }
    }

    /// The counts in the clock's window, or in the stored one if that is the next.
    fn at(&self, clock_ms: u64, period: u64) -> SlidingCounter {
        let window = clock_ms / period;
        if self.window == window || self.window == window + 1 {
            return *self;
        }
        SlidingCounter {
            window,
            current: 0,
            previous: if window.checked_sub(1) == Some(self.window) {
                self.current
            } else {
                0
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::algorithm::laws::terms;
    use crate::model::Algorithm;

    const START: u64 = 28_333_334 * 60_000;

    fn state(current: u64, previous: u64) -> SlidingCounter {
        SlidingCounter {
            window: START / 60_000,
            current,
            previous,
        }
    }

    #[test]
    fn the_previous_window_counts_by_the_share_that_is_left() {
        let terms = terms(Algorithm::SlidingWindowCounter, 10, 60_000);
        // 8 × 45 / 60 = 6, and 3 of this window: 1 left.
        let verdict = state(3, 8).check(START + 15_000, &terms, 1);
        assert_eq!(
            (verdict.allowed, verdict.remaining, verdict.reset_ms),
            (true, 1, 105_000)
        );
        // A ms earlier a trace of a seventh counts as a whole one.
        assert_eq!(state(3, 8).check(START + 14_999, &terms, 1).remaining, 0);
    }

    #[test]
    fn a_denied_call_passes_after_its_wait_and_not_before() {
        let terms = terms(Algorithm::SlidingWindowCounter, 10, 60_000);
        for (current, previous, need) in [
            (3, 10, 1),
            (3, 10, 5),
            (9, 3, 2),
            (10, 0, 1),
            (10, 10, 10),
            (0, 10, 10),
        ] {
            let state = state(current, previous);
            let denied = state.check(START + 10_000, &terms, need);
            assert!(!denied.allowed);
            let after = |wait| state.check(START + 10_000 + wait, &terms, need).allowed;
            assert!(!after(denied.wait_ms - 1), "{current} {previous} {need}");
            assert!(after(denied.wait_ms), "{current} {previous} {need}");
        }
    }

    #[test]
    fn a_refund_is_taken_from_the_window_of_the_charge() {
        let terms = terms(Algorithm::SlidingWindowCounter, 10, 60_000);
        let mut counter = SlidingCounter::default();
        let mark = counter.charge(START, &terms, 4);
        counter.charge(START + 60_000, &terms, 3);
        counter.give_back(1, mark);
        assert_eq!((counter.current, counter.previous), (3, 3));
        counter.charge(START + 120_000, &terms, 1);
        counter.give_back(1, mark);
        assert_eq!((counter.current, counter.previous), (1, 3));
    }

    #[test]
    fn charges_after_the_fact_stop_where_arithmetic_is_exact() {
        let terms = terms(Algorithm::SlidingWindowCounter, 10, 60_000);
        let mut counter = SlidingCounter::default();
        counter.charge(START, &terms, u64::MAX);
        counter.charge(START, &terms, u64::MAX);
        assert_eq!(counter.current, (1 << 53) / 60_000);
        assert_eq!(counter.check(START + 60_000, &terms, 1).remaining, 0);
    }
}
