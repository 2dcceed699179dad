//! Fixed windows: N calls in each window, and then none until the next one.
//!
//! **Law.** A window is `[start, start + period)`. In each, at most N are admitted; the whole quota is available again
//! when it ends. `start` is a multiple of the period since 1970 (`epoch`), the same shifted by the client's phase
//! (`client`), or the first call outside of any window (`first_call`). A stored window lasts to its end even if the
//! alignment is changed meanwhile.
//!
//! **Error.** A span of one period touches two windows at most, so it may see up to 2N: N at the end of one, N at the
//! start of the next. No smaller bound holds.

use super::{most, signed, Algorithm, Align, Terms, Verdict};

/// A window and what it has admitted. All zero: nothing counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fixed {
    /// Unix ms.
    pub start_ms: u64,
    /// At most 2⁵³ / period in ms.
    pub count: u64,
}

impl Fixed {
    pub(super) fn check(&self, clock_ms: u64, terms: &Terms, need: u64) -> Verdict {
        let (limit, period) = (terms.rate.limit, terms.period_ms());
        let window = self.at(clock_ms, terms);
        let rest = window.rest(clock_ms, period);
        let left = signed(limit) - signed(window.count);
        let reset = if window.count > 0 { rest } else { 0 };
        Verdict::new(limit, left, need, period, reset, || rest)
    }

    /// Returns the window's start.
    pub(super) fn charge(&mut self, clock_ms: u64, terms: &Terms, cost: u64) -> u64 {
        *self = self.at(clock_ms, terms);
        self.count = self.count.saturating_add(cost).min(most(terms.period_ms()));
        self.start_ms
    }

    /// Refunds only the window that was charged.
    pub(super) fn give_back(&mut self, cost: u64, start_ms: u64) {
        if self.start_ms == start_ms {
            self.count = self.count.saturating_sub(cost);
        }
    }

    /// The window that a call falls into: the stored one while it lasts, else a new one.
    fn at(&self, clock_ms: u64, terms: &Terms) -> Fixed {
        let period = terms.period_ms();
        let over = self.start_ms.saturating_add(period) <= clock_ms;
        let beyond_belief = self.start_ms > clock_ms.saturating_add(period);
        if !over && !beyond_belief {
            return *self;
        }
        let start_ms = match terms.algorithm {
            Algorithm::FixedWindow {
                align: Align::FirstCall,
            } => clock_ms,
            Algorithm::FixedWindow { align: Align::Client } => {
                clock_ms - clock_ms.saturating_sub(terms.phase_ms) % period
            }
            _ => clock_ms - clock_ms % period,
        };
        Fixed { start_ms, count: 0 }
    }

    /// Until the window ends; up to two periods if it is ahead of the clock.
    fn rest(&self, clock_ms: u64, period: u64) -> u64 {
        self.start_ms.saturating_add(period).saturating_sub(clock_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::algorithm::laws::terms;

    fn fixed(align: Align, limit: u64) -> Terms {
        terms(Algorithm::FixedWindow { align }, limit, 60_000)
    }

    #[test]
    fn a_window_grants_its_quota_and_then_nothing_until_it_ends() {
        let terms = fixed(Align::Epoch, 3);
        let start = 1_700_000_040_000; // a multiple of 60,000
        let mut state = Fixed::default();
        assert_eq!(state.check(start + 59_000, &terms, 1).reset_ms, 0);
        state.charge(start + 59_000, &terms, 3);
        let denied = state.check(start + 59_000, &terms, 1);
        assert_eq!((denied.allowed, denied.remaining), (false, 0));
        assert_eq!((denied.reset_ms, denied.wait_ms), (1_000, 1_000));
        assert!(state.check(start + 60_000, &terms, 3).allowed);
    }

    #[test]
    fn windows_begin_at_their_alignment() {
        let clock = 1_700_000_000_123;
        let start = |align, phase_ms| {
            Fixed::default().charge(
                clock,
                &Terms {
                    phase_ms,
                    ..fixed(align, 1)
                },
                1,
            )
        };
        assert_eq!(start(Align::Epoch, 0), 1_699_999_980_000);
        assert_eq!(start(Align::FirstCall, 0), clock);
        assert_eq!(start(Align::Client, 15_000), 1_699_999_995_000);
        assert_eq!(start(Align::Client, 25_000), 1_699_999_945_000);
    }

    #[test]
    fn a_clock_set_back_keeps_the_window_unless_it_is_far_back() {
        let terms = fixed(Align::FirstCall, 1);
        let mut state = Fixed::default();
        state.charge(1_700_000_000_000, &terms, 1);
        assert_eq!(state.check(1_699_999_940_000, &terms, 1).wait_ms, 120_000);
        assert!(state.check(1_699_999_939_999, &terms, 1).allowed);
    }

    #[test]
    fn only_the_window_that_was_charged_gives_back() {
        let terms = fixed(Align::Epoch, 5);
        let mut state = Fixed::default();
        let old = state.charge(1_700_000_000_000, &terms, 2);
        let new = state.charge(1_700_000_060_000, &terms, 2);
        state.give_back(2, old);
        assert_eq!(state.count, 2);
        state.give_back(3, new);
        assert_eq!(state.count, 0);
    }
}
