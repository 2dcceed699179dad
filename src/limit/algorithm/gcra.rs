//! GCRA: a bucket that every call fills by its cost, and that drains steadily.
//!
//! **Law.** The bucket holds `burst` requests and drains N of them each period; a call passes if and only if its cost
//! still fits. (The generic cell rate algorithm of ITU-T I.371 as a leaky bucket: a token bucket seen from the other
//! side.) In whole numbers: a request is `period` units, the bucket drains N units each ms.
//!
//! **Error.** None: in any span of t ms at most burst + N × t / period are admitted. At its start the bucket is not
//! below empty, at its end not above full, and in between it drained N × t.

use super::{signed, Algorithm, Terms, Verdict, EXACT};

/// How full the bucket was after its last call. All zero: nothing counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gcra {
    /// Unix ms.
    pub time_ms: u64,
    /// In units of a request divided by the period in ms; at most 2⁵³.
    pub level: u64,
}

impl Gcra {
    pub(super) fn check(&self, clock_ms: u64, terms: &Terms, need: u64) -> Verdict {
        let (limit, period) = (terms.rate.limit.max(1), terms.period_ms());
        let burst = burst(terms);
        let now = self.at(clock_ms, terms);
        // A bucket that does not drain before the clock has come to its time. A sum above 2⁵³ is rounded as Redis's Lua
        // rounds it, so that both stores say the same.
        let ahead = now.time_ms.saturating_sub(clock_ms);
        let drained = |level: u64| (level.div_ceil(limit) as f64 + ahead as f64) as u64;
        let room = |requests: u64| requests.saturating_mul(period);
        let left = (signed(room(burst)) - signed(now.level)).div_euclid(signed(period));
        let reset = if now.level > 0 { drained(now.level) } else { 0 };
        Verdict::new(burst, left, need, period, reset, || {
            drained(now.level.saturating_sub(room(burst - need)))
        })
    }

    /// Returns the time, in ms.
    pub(super) fn charge(&mut self, clock_ms: u64, terms: &Terms, cost: u64) -> u64 {
        *self = self.at(clock_ms, terms);
        let filled = cost.saturating_mul(terms.period_ms());
        self.level = self.level.saturating_add(filled).min(EXACT);
        self.time_ms
    }

    /// All but what may have drained of it since. (Without that call the bucket may have been empty for a while in
    /// which it now drained this call's share.)
    pub(super) fn give_back(&mut self, clock_ms: u64, terms: &Terms, cost: u64, time_ms: u64) {
        if self.time_ms < time_ms || self.time_ms > clock_ms.saturating_add(terms.period_ms()) {
            return;
        }
        let now = self.at(clock_ms, terms);
        let drained = (now.time_ms - time_ms).saturating_mul(terms.rate.limit);
        let undrained = cost.saturating_mul(terms.period_ms()).saturating_sub(drained);
        if undrained > 0 && now.level > 0 {
            self.time_ms = now.time_ms;
            self.level = now.level.saturating_sub(undrained);
        }
    }

    /// The bucket as it stands now, filled up to `level` where it holds less.
    pub(super) fn filled(&self, clock_ms: u64, terms: &Terms, level: u64) -> Gcra {
        let now = self.at(clock_ms, terms);
        Gcra {
            level: now.level.max(level),
            ..now
        }
    }

    /// The bucket as it stands now.
    fn at(&self, clock_ms: u64, terms: &Terms) -> Gcra {
        if self.time_ms > clock_ms.saturating_add(terms.period_ms()) {
            return Gcra {
                time_ms: clock_ms,
                level: 0,
            };
        }
        let time_ms = self.time_ms.max(clock_ms);
        let drained = (time_ms - self.time_ms).saturating_mul(terms.rate.limit);
        Gcra {
            time_ms,
            level: self.level.saturating_sub(drained),
        }
    }
}

fn burst(terms: &Terms) -> u64 {
    match terms.algorithm {
        Algorithm::Gcra { burst: 1.. } if terms.rate.limit == 0 => 0,
        Algorithm::Gcra { burst: burst @ 1.. } => burst,
        _ => terms.rate.limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::algorithm::laws::terms;

    const NOW: u64 = 1_700_000_000_000;

    #[test]
    fn a_wait_that_no_double_holds_is_rounded_as_in_redis() {
        let terms = terms(Algorithm::Gcra { burst: 0 }, 1, 2_195_019_413);
        let full = Gcra {
            time_ms: NOW + 1,
            level: EXACT,
        };
        assert_eq!(full.check(NOW, &terms, 1).reset_ms, EXACT);
        assert_eq!(full.check(NOW - 1, &terms, 1).reset_ms, EXACT + 2);
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_call_for_each_share_of_the_period() {
        let terms = terms(Algorithm::Gcra { burst: 3 }, 60, 60_000);
        let mut bucket = Gcra::default();
        bucket.charge(NOW, &terms, 3);
        let denied = bucket.check(NOW, &terms, 1);
        assert_eq!((denied.allowed, denied.limit), (false, Some(3)));
        assert_eq!((denied.wait_ms, denied.reset_ms), (1_000, 3_000));
        assert!(!bucket.check(NOW + 999, &terms, 1).allowed);
        assert_eq!(bucket.check(NOW + 1_000, &terms, 1).remaining, 1);
    }

    #[test]
    fn without_a_burst_of_its_own_the_bucket_holds_the_n_that_holds() {
        let terms = terms(Algorithm::Gcra { burst: 0 }, 7, 60_000);
        let verdict = Gcra::default().check(NOW, &terms, 8);
        assert_eq!(
            (verdict.limit, verdict.remaining, verdict.wait_ms),
            (Some(7), 7, 60_000)
        );
    }

    #[test]
    fn giving_back_leaves_what_has_drained_meanwhile_to_the_others() {
        let terms = terms(Algorithm::Gcra { burst: 10 }, 60, 60_000);
        let mut bucket = Gcra::default();
        let mark = bucket.charge(NOW, &terms, 2);
        bucket.charge(NOW + 1_000, &terms, 4);
        // 2 + 4 - 1 drained. Without the first call there would be 4; it may be that 1 of it has drained, or none.
        bucket.give_back(NOW + 1_000, &terms, 2, mark);
        assert_eq!(bucket.level, 4 * 60_000);
    }
}
