//! GCRA: a bucket that every call fills by its cost, and that drains steadily.
//!
//! **Law.** The bucket holds `burst` requests and drains N of them each period; a call passes if and only if its cost
//! still fits. (The generic cell rate algorithm of ITU-T I.371 as a leaky bucket: a token bucket seen from the other
//! side.) In whole numbers: a request is `period` units, the bucket drains N units each ms.
//!
//! **Other terms.** A level is never more than a full bucket of the terms under which it is read. One that was stored
//! under a larger N or burst is read as if the bucket had drained for some ms more: the fewest after which it is not
//! above full. So a call of cost c waits at most c × period / N, as at a full bucket. The skipped time does not drain
//! the stored level: a call under the larger N still sees it, since one client may have several N at once (overrides by
//! CIDR, two configurations during a deployment).
//!
//! **Charges after the call** (costs from the response) may overdraw the bucket, and later calls wait for that. Such a
//! call passes with 1 left and costs a full bucket at most: the level is at most two full buckets less a request, and
//! the wait of a call of cost 1 is at most the time in which a full bucket drains. Charges above that are dropped: if
//! several calls are in flight at once, the costs of all but one may be lost, as those of a fixed window are at its
//! end.
//!
//! **Giving back.** The mark holds the time of the charge, and how long the level before it takes to drain. Within that
//! time the whole charge is refunded, and the bucket is as if it had never been charged. What drains later may be part
//! of this charge, and is not refunded.
//!
//! **Error.** None: in any span of t ms at most burst + N × t / period are admitted. At its start the bucket is not
//! below empty, at its end not above full, and in between it drained N × t. What differs from that:
//!
//! - Costs from the response overdraw, as above.
//! - If calls have several N, each reads the drain since the call before it by its own N. Calls of the largest N keep
//!   the bound, plus less than what drains in 1 ms for each other call in between.
//! - Refunds leave too much counted if other calls came after that time, or after 16 s, or while the bucket was above
//!   full: up to the charge. Without such calls, less than what drains in 1 ms.
//! - If charges that will be refunded overlap in time, each is part of the level before the others. So too little may
//!   be counted: at most the sum of their costs, until the bucket is empty.

use super::{signed, Algorithm, Terms, Verdict, EXACT};

/// How full the bucket was after its last call. All zero: nothing counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gcra {
    /// Unix ms.
    pub time_ms: u64,
    /// In units of a request divided by the period in ms; at most 2⁵³.
    pub level: u64,
}

/// The level of the bucket under a call's terms.
struct BucketLevel {
    /// Unix ms; ahead of the clock if the stored time is.
    now_ms: u64,
    /// At most [`most`].
    level: u64,
    /// By how many ms of drain the level is lower than what is stored.
    skipped_ms: u64,
}

/// The bits of a mark that hold how many ms the level before the charge takes to drain.
const HELD_BITS: u32 = 14;

/// The other bits of a mark: the time of the charge in unix ms, which wraps around every 17 years.
const TIME_BITS: u32 = 39;

impl Gcra {
    /// `least`: the lowest level to assume, in units.
    pub(super) fn check(&self, clock_ms: u64, terms: &Terms, need: u64, least: u64) -> Verdict {
        let (limit, period) = (drain(terms), terms.period_ms());
        let burst = burst(terms);
        let now = self.read(clock_ms, terms, least);
        // A bucket that does not drain before the clock has come to its time. A sum above 2⁵³ is rounded as Redis's Lua
        // rounds it, so that both stores give the same result.
        let ahead = now.now_ms.saturating_sub(clock_ms);
        let drained = |level: u64| (level.div_ceil(limit) as f64 + ahead as f64) as u64;
        let room = |requests: u64| requests.saturating_mul(period);
        let left = (signed(room(burst)) - signed(now.level)).div_euclid(signed(period));
        let reset = if now.level > 0 { drained(now.level) } else { 0 };
        Verdict::new(burst, left, need, period, reset, || {
            drained(now.level.saturating_sub(room(burst - need)))
        })
    }

    /// Returns the mark.
    pub(super) fn charge(&mut self, clock_ms: u64, terms: &Terms, cost: u64, least: u64) -> u64 {
        let limit = drain(terms);
        let now = self.read(clock_ms, terms, least);
        let filled = now.level.saturating_add(cost.saturating_mul(terms.period_ms()));
        let level = filled.min(most(terms));
        // With what was skipped the level is above full again. So the time is when it was full, and the next call
        // under these terms skips as much.
        let back = match now.skipped_ms > 0 && now.now_ms == clock_ms {
            true => (most(terms) - level) / limit,
            false => 0,
        };
        let stored = now.skipped_ms.saturating_add(back).saturating_mul(limit);
        self.time_ms = now.now_ms.saturating_sub(back);
        self.level = level.saturating_add(stored).min(EXACT);
        let held = (now.level / limit).saturating_add(back).min(low(HELD_BITS));
        (self.time_ms & low(TIME_BITS)) << HELD_BITS | held
    }

    /// Refunds all but what may have drained of this charge.
    pub(super) fn give_back(&mut self, clock_ms: u64, terms: &Terms, cost: u64, mark: u64) {
        let (time, held) = (mark >> HELD_BITS, mark & low(HELD_BITS));
        let since = self.time_ms.wrapping_sub(time) & low(TIME_BITS);
        let is_older = since > low(TIME_BITS - 1);
        if is_older || self.time_ms > clock_ms.saturating_add(terms.period_ms()) {
            return;
        }
        let passed = since.saturating_add(clock_ms.saturating_sub(self.time_ms));
        let drained = passed.saturating_sub(held).saturating_mul(terms.rate.limit);
        let filled = cost.saturating_mul(terms.period_ms());
        self.level = self.level.saturating_sub(filled.saturating_sub(drained));
    }

    /// How long the stored level has an effect under these terms or a larger N, in ms from now.
    pub(super) fn lasts_ms(&self, clock_ms: u64, terms: &Terms) -> u64 {
        let empty_ms = self.time_ms.saturating_add(self.level.div_ceil(drain(terms)));
        empty_ms.saturating_sub(clock_ms)
    }

    fn read(&self, clock_ms: u64, terms: &Terms, least: u64) -> BucketLevel {
        if self.time_ms > clock_ms.saturating_add(terms.period_ms()) {
            return BucketLevel {
                now_ms: clock_ms,
                level: least,
                skipped_ms: 0,
            };
        }
        let limit = drain(terms);
        let now_ms = self.time_ms.max(clock_ms);
        let undrained = self
            .level
            .saturating_sub((now_ms - self.time_ms).saturating_mul(limit));
        let skipped_ms = self.level.saturating_sub(most(terms)).div_ceil(limit);
        let (level, skipped_ms) = match undrained.checked_sub(skipped_ms.saturating_mul(limit)) {
            Some(level) => (level, skipped_ms),
            None => (0, undrained.div_ceil(limit)),
        };
        BucketLevel {
            now_ms,
            level: level.max(least),
            skipped_ms,
        }
    }
}

/// The time of a charge in unix ms, from its mark; `near`: a time within 8 years of it.
pub(super) fn marked_ms(mark: u64, near: u64) -> u64 {
    let span = low(TIME_BITS) + 1;
    let half = span / 2;
    let ahead = (mark >> HELD_BITS).wrapping_sub(near.wrapping_sub(half)) & low(TIME_BITS);
    near.saturating_add(ahead).saturating_sub(half)
}

/// How many units drain in each ms.
fn drain(terms: &Terms) -> u64 {
    terms.rate.limit.max(1)
}

fn burst(terms: &Terms) -> u64 {
    match terms.algorithm {
        Algorithm::Gcra { burst: 1.. } if terms.rate.limit == 0 => 0,
        Algorithm::Gcra { burst: burst @ 1.. } => burst,
        _ => terms.rate.limit,
    }
}

/// The highest level under these terms, in units.
fn most(terms: &Terms) -> u64 {
    let full = burst(terms).saturating_mul(terms.period_ms());
    match terms.overdraws {
        true => full
            .saturating_mul(2)
            .saturating_sub(terms.period_ms())
            .min(EXACT),
        false => full,
    }
}

/// A mask of the lowest `bits` bits.
fn low(bits: u32) -> u64 {
    (1 << bits) - 1
}

#[cfg(test)]
#[path = "gcra_tests.rs"]
mod tests;
