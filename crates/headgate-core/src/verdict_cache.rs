//! Caches which counters deny, and until when, so that a caller who is over a limit does not cost a call to Redis.
//!
//! Exact: if a counter denied a call that was sent at t, with a wait of w, it denies every equal call before t + w,
//! whatever else is counted meanwhile. Quota that becomes free early (a live override, a reset, a refund, lost data) is
//! noticed after `max_age` at the latest.

use crate::by_number::ByFingerprint;
use crate::fingerprint::{Fingerprint, Fingerprints};
use crate::limit::{Charge, Group, Verdict};
use crate::model::VerdictCacheSettings;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

struct Denial {
    /// When the call may pass.
    until: Instant,
    /// When Redis is to be asked again.
    stale_at: Instant,
    /// When the whole quota is back.
    reset_at: Instant,
    limit: Option<u64>,
    remaining: u64,
}

/// The cached denials of one worker.
pub struct VerdictCache {
    max_age: Duration,
    entries: usize,
    fingerprints: Fingerprints,
    denials: ByFingerprint<Denial>,
    /// In the order of insertion: the oldest becomes stale first.
    order: VecDeque<(Instant, Fingerprint)>,
}

impl VerdictCache {
    /// Without entries, or with a `max_age` of zero, it caches nothing.
    pub fn new(settings: &VerdictCacheSettings) -> VerdictCache {
        VerdictCache {
            max_age: settings.max_age,
            entries: settings.entries,
            fingerprints: Fingerprints::new(),
            denials: ByFingerprint::default(),
            order: VecDeque::new(),
        }
    }

    /// The cached denial of a call: the verdict that Redis would give, with its waits as of `now`.
    pub fn denied(&self, now: Instant, group: &Group, charge: &Charge) -> Option<Verdict> {
        if self.denials.is_empty() || !charge.enforced {
            return None;
        }
        let denial = self.denials.get(&self.fingerprints.counter(group, charge)?)?;
        let wait_ms = millis_until(now, denial.until);
        (denial.stale_at > now && wait_ms > 0).then_some(Verdict {
            allowed: false,
            limit: denial.limit,
            remaining: denial.remaining,
            reset_ms: millis_until(now, denial.reset_at),
            wait_ms,
        })
    }

    /// Caches the verdict on a call that was sent at `sent`, if it is a denial.
    pub fn note(&mut self, sent: Instant, group: &Group, charge: &Charge, verdict: &Verdict) {
        if verdict.allowed || !charge.enforced || self.entries == 0 || self.max_age.is_zero() {
            return;
        }
        let Some(fingerprint) = self.fingerprints.counter(group, charge) else {
            return;
        };
        self.tidy(sent);
        let stale_at = sent + self.max_age;
        let denial = Denial {
            until: sent + Duration::from_millis(verdict.wait_ms),
            stale_at,
            reset_at: sent + Duration::from_millis(verdict.reset_ms),
            limit: verdict.limit,
            remaining: verdict.remaining,
        };
        if self.denials.insert(fingerprint, denial).is_none() || self.order.len() < self.entries {
            self.order.push_back((stale_at, fingerprint));
        }
    }

    /// The number of cached denials, including expired ones.
    pub fn len(&self) -> usize {
        self.denials.len()
    }

    /// Whether nothing is cached.
    pub fn is_empty(&self) -> bool {
        self.denials.is_empty()
    }

    /// Drops stale entries, and the oldest if the cache is full.
    fn tidy(&mut self, now: Instant) {
        while let Some((stale_at, fingerprint)) = self.order.front().copied() {
            if stale_at > now && self.denials.len() < self.entries && self.order.len() < 2 * self.entries {
                return;
            }
            self.order.pop_front();
            // A later verdict on the same counter is further back.
            if self
                .denials
                .get(&fingerprint)
                .is_some_and(|denial| denial.stale_at <= stale_at)
            {
                self.denials.remove(&fingerprint);
            }
        }
    }
}

/// Whole milliseconds, rounded down: a caller is never held back longer than Redis would.
fn millis_until(now: Instant, at: Instant) -> u64 {
    at.saturating_duration_since(now).as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, charge, rate};
    use crate::limit::Algorithm;

    fn cache(entries: usize) -> VerdictCache {
        VerdictCache::new(&VerdictCacheSettings {
            max_age: Duration::from_secs(1),
            entries,
        })
    }

    fn group(key: &str) -> Group {
        let charge = charge(0, Algorithm::SlidingWindowCounter, rate(10, 60_000));
        fixtures::group(key, vec![charge])
    }

    fn spent(wait_ms: u64) -> Verdict {
        Verdict {
            allowed: false,
            limit: Some(10),
            remaining: 0,
            reset_ms: wait_ms + 5,
            wait_ms,
        }
    }

    fn after(now: Instant, ms: u64) -> Instant {
        now + Duration::from_millis(ms)
    }

    #[test]
    fn a_denial_is_valid_from_sending_until_its_wait_ends() {
        let (mut cache, group, sent) = (cache(9), group("a"), Instant::now());
        let charge = &group.charges[0];
        cache.note(sent, &group, charge, &spent(500));
        let known = cache.denied(after(sent, 100), &group, charge).unwrap();
        assert_eq!((known.wait_ms, known.reset_ms, known.limit), (400, 405, Some(10)));
        assert!(cache.denied(after(sent, 499), &group, charge).is_some());
        assert_eq!(cache.denied(after(sent, 500), &group, charge), None);
    }

    #[test]
    fn what_may_have_freed_quota_is_noticed_after_max_age() {
        let (mut cache, group, sent) = (cache(9), group("a"), Instant::now());
        cache.note(sent, &group, &group.charges[0], &spent(60_000));
        assert!(cache
            .denied(after(sent, 999), &group, &group.charges[0])
            .is_some());
        assert_eq!(cache.denied(after(sent, 1_000), &group, &group.charges[0]), None);
    }

    #[test]
    fn a_cached_denial_applies_only_to_the_same_counter_and_cost() {
        let (mut cache, denied, sent) = (cache(9), group("a"), Instant::now());
        cache.note(sent, &denied, &denied.charges[0], &spent(500));
        let changes: [fn(&mut Charge); 5] = [
            |charge| charge.cost = 0,
            |charge| charge.rate.limit = 11,
            |charge| charge.field = "y:fixed:60000".into(),
            |charge| charge.algorithm = Algorithm::Gcra { burst: 3 },
            |charge| charge.enforced = false,
        ];
        for change in changes {
            let mut charge = denied.charges[0].clone();
            change(&mut charge);
            assert_eq!(cache.denied(sent, &denied, &charge), None, "{charge:?}");
        }
        assert_eq!(cache.denied(sent, &group("b"), &denied.charges[0]), None);
    }

    #[test]
    fn what_was_allowed_or_in_shadow_is_not_remembered() {
        let (mut cache, mut group, sent) = (cache(9), group("a"), Instant::now());
        cache.note(
            sent,
            &group,
            &group.charges[0],
            &Verdict {
                allowed: true,
                ..spent(0)
            },
        );
        group.charges[0].enforced = false;
        cache.note(sent, &group, &group.charges[0], &spent(500));
        assert!(cache.is_empty());
    }

    #[test]
    fn it_stays_within_its_bound_and_keeps_the_newest() {
        let (mut cache, sent) = (cache(3), Instant::now());
        for n in 0..1_000 {
            let group = group(&n.to_string());
            cache.note(after(sent, n / 10), &group, &group.charges[0], &spent(60_000));
            assert!(cache.len() <= 3 && cache.order.len() <= 6, "{n}");
            assert!(
                cache
                    .denied(after(sent, n / 10), &group, &group.charges[0])
                    .is_some(),
                "{n}"
            );
        }
        let group = group("999");
        for n in 0..1_000 {
            cache.note(after(sent, 100 + n), &group, &group.charges[0], &spent(60_000));
            assert!(
                cache
                    .denied(after(sent, 101 + n), &group, &group.charges[0])
                    .is_some(),
                "{n}"
            );
            assert!(cache.order.len() <= 6, "{n}");
        }
    }
}
