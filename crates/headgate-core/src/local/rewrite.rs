//! One bucket: loads the counters of a call, writes them back, and evicts others if it grows too large.

use super::bucket::{push, slots, CounterTimes, StoredCounter};
use super::{ChargedCounter, PendingWrite, TOUCH_MS};
use crate::limit::algorithm::State;

/// The largest bucket, in bytes.
pub(super) const LARGEST: usize = 64 << 10;

/// This fraction of the counters, the most recently used, is not evicted.
const RECENT: usize = 4;

/// The change in the number of counters by writing a bucket.
pub(super) struct Delta {
    pub added: u64,
    pub over: u64,
    pub evicted: u64,
}

/// Sets every counter to its stored state.
pub(super) fn load(counters: &mut [ChargedCounter<'_>], bytes: &[u8]) {
    for counter in counters.iter_mut() {
        let form = counter.state.form();
        counter.write = None;
        let slot = slots(bytes).find(|slot| slot.id == counter.id);
        let state = slot.and_then(|slot| slot.state(form));
        counter.kept = slot.filter(|_| state.is_some()).map(|slot| slot.times);
        counter.state = state.unwrap_or_else(|| State::new(form));
    }
}

/// If nothing is to be written, notes occasionally that the counters were used.
pub(super) fn touch(counters: &mut [ChargedCounter<'_>], now_ms: u64) {
    if counters.iter().any(|counter| counter.write.is_some()) {
        return;
    }
    for counter in counters {
        if let Some(kept) = counter.kept {
            let due = now_ms.saturating_sub(kept.used) >= TOUCH_MS && kept.ends > now_ms;
            counter.write = due.then_some(PendingWrite {
                ends: kept.ends,
                deny_until: kept.deny_until,
            });
        }
    }
}

/// The new bucket: with the written counters, without expired ones, and within its bounds.
pub(super) fn rewrite(bytes: &[u8], counters: &[ChargedCounter<'_>], now_ms: u64) -> (Vec<u8>, Delta) {
    let mut out = Vec::with_capacity(bytes.len() + 64 * counters.len());
    let (mut added, mut over) = (0, 0);
    for slot in slots(bytes) {
        let same = counters
            .iter()
            .find(|counter| counter.id == slot.id && counter.write.is_some());
        match same {
            Some(counter) => over += u64::from(counter.kept.is_none()),
            None if slot.is_over(now_ms) => over += 1,
            None => out.extend_from_slice(slot.bytes),
        }
    }
    let others = out.len();
    for counter in counters {
        if let Some(PendingWrite { ends, deny_until }) = counter.write {
            let times = CounterTimes {
                ends,
                used: now_ms,
                deny_until,
            };
            push(&mut out, counter.id, times, &counter.state);
            added += u64::from(counter.kept.is_none());
        }
    }
    let evicted = trim(&mut out, others, now_ms);
    (out, Delta { added, over, evicted })
}

/// Evicts counters in the first `others` bytes until the bucket is within its bounds. Returns how many.
fn trim(out: &mut Vec<u8>, mut others: usize, now_ms: u64) -> u64 {
    let mut evicted = 0;
    while out.len() > LARGEST {
        let old = out.get(..others).unwrap_or_default();
        let Some(StoredCounter { id, bytes, .. }) = victim(slots(old), |slot| slot.denies(now_ms)) else {
            break;
        };
        let size = bytes.len();
        let before = slots(old).take_while(|slot| slot.id != id);
        let start = before.map(|slot| slot.bytes.len()).sum::<usize>();
        out.drain(start..start + size);
        others -= size;
        evicted += 1;
    }
    evicted
}

/// Which of these is evicted first; they are in the order of their last use.
pub(super) fn victim<T>(counters: impl Iterator<Item = T> + Clone, denies: impl Fn(&T) -> bool) -> Option<T> {
    let all = counters.clone().count();
    let old = all - all.div_ceil(RECENT);
    let harmless = counters.clone().take(old).find(|counter| !denies(counter));
    harmless.or_else(|| counters.clone().next())
}
