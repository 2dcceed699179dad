//! The series of each limit: its verdicts and where they were counted, how much of it was used, and its leases.

use super::meter::{BufferedCounter, Meter};
use super::names::series;
use crate::decision::CountedBy;
use crate::lease::LeaseEvent;
use crate::limit::{OnError, Verdict};

/// A client is near its limit if it has used more than this share of it, in percent.
const NEAR: u64 = 80;

/// This many limits have their series from the start; those of the others are defined with their first call. Envoy's
/// own tables grow by some 35 bytes with each series that a new configuration defines, and do not shrink.
const EAGER: usize = 100;

/// The labels of verdicts: outcome and by; near and used are other metrics.
const SAID: [(&str, &str); 12] = [
    ("allowed", CountedBy::Redis.as_str()),
    ("allowed", CountedBy::Local.as_str()),
    ("allowed", CountedBy::Cache.as_str()),
    ("denied", CountedBy::Redis.as_str()),
    ("denied", CountedBy::Local.as_str()),
    ("denied", CountedBy::Cache.as_str()),
    ("shadow_denied", CountedBy::Redis.as_str()),
    ("shadow_denied", CountedBy::Local.as_str()),
    ("shadow_denied", CountedBy::Cache.as_str()),
    ("failed_open", "none"),
    ("failed_closed", "none"),
    ("allowed", CountedBy::Lease.as_str()),
];
const BY_LEASE: usize = SAID.len() - 1;
const NEAR_LIMIT: usize = SAID.len();
const USED: usize = NEAR_LIMIT + 1;
/// The indices after: leases, permits that they took, and permits that expired unspent.
const LEASES: usize = USED + 1;
const PERMITS: usize = LEASES + 1;
const UNSPENT: usize = PERMITS + 1;
const PER_LIMIT: usize = UNSPENT + 1;

/// The result of one limit of a request.
#[derive(Debug, Clone, Copy)]
pub struct LimitResult {
    /// Index into the policy's limits.
    pub limit: usize,
    /// `false`: in shadow for this client.
    pub enforced: bool,
    /// `None`: it could not be counted.
    pub verdict: Option<Verdict>,
    /// Where the counter was read.
    pub by: CountedBy,
    /// What happens if the limit cannot be counted.
    pub on_error: OnError,
}

/// The series of all limits of a policy.
pub(super) struct LimitSeries {
    instance: String,
    limits: Vec<String>,
    slots: Vec<BufferedCounter>,
}

impl LimitSeries {
    /// Series for alerts exist from the start, at zero.
    pub fn new(instance: &str, limits: Vec<String>, meter: &impl Meter) -> LimitSeries {
        let mut series = LimitSeries {
            instance: instance.to_owned(),
            slots: vec![BufferedCounter::default(); PER_LIMIT * limits.len()],
            limits,
        };
        for limit in 0..series.limits.len().min(EAGER) {
            for said in [0, 3, 6, NEAR_LIMIT, USED] {
                series.define(limit * PER_LIMIT + said, meter);
            }
        }
        series
    }

    /// The name of a limit.
    pub fn name(&self, limit: usize) -> Option<&str> {
        self.limits.get(limit).map(String::as_str)
    }

    pub fn counted(&mut self, counted: &LimitResult) {
        let LimitResult {
            limit,
            enforced,
            verdict,
            by,
            on_error,
        } = *counted;
        let place = match by {
            CountedBy::Redis => 0,
            CountedBy::Local => 1,
            CountedBy::Cache | CountedBy::Lease => 2,
        };
        let said = match verdict {
            Some(verdict) if verdict.allowed && by == CountedBy::Lease => BY_LEASE,
            Some(verdict) if verdict.allowed => place,
            Some(_) if enforced => 3 + place,
            Some(_) => 6 + place,
            None if enforced && on_error == OnError::Deny => 10,
            None => 9,
        };
        self.add(limit, said, 1);
        let Some((verdict, quota)) = verdict.and_then(|verdict| Some((verdict, verdict.limit?))) else {
            return;
        };
        // 0/s has no quota to use
        let used = match quota {
            0 => 100,
            _ => quota.saturating_sub(verdict.remaining).saturating_mul(100) / quota,
        };
        self.add(limit, USED, used);
        if verdict.allowed && used > NEAR {
            self.add(limit, NEAR_LIMIT, 1);
        }
    }

    pub fn leased(&mut self, event: LeaseEvent) {
        match event {
            LeaseEvent::Taken { limit, permits } => {
                self.add(limit, LEASES, 1);
                self.add(limit, PERMITS, permits);
            }
            LeaseEvent::Unspent { limit, permits } => self.add(limit, UNSPENT, permits),
        }
    }

    fn add(&mut self, limit: usize, at: usize, count: u64) {
        if let Some(slot) = self.slots.get_mut(limit * PER_LIMIT + at) {
            slot.pending += count;
        }
    }

    pub fn hand_on(&mut self, meter: &impl Meter) {
        for at in 0..self.slots.len() {
            if self.slots.get(at).is_some_and(|slot| slot.pending > 0) {
                self.define(at, meter);
                if let Some(slot) = self.slots.get_mut(at) {
                    slot.hand_on(meter);
                }
            }
        }
    }

    fn define(&mut self, at: usize, meter: &impl Meter) {
        let name = self.limits.get(at / PER_LIMIT).map_or("", String::as_str);
        let (instance, limit) = (("instance", self.instance.as_str()), ("limit", name));
        let what = at % PER_LIMIT;
        if let Some(slot) = self.slots.get_mut(at) {
            slot.define(meter, || match (what, SAID.get(what)) {
                (_, Some((outcome, by))) => {
                    let labels = [instance, limit, ("outcome", outcome), ("by", by)];
                    series("headgate_decisions_total", &labels)
                }
                (NEAR_LIMIT, _) => series("headgate_near_limit_total", &[instance, limit]),
                (LEASES, _) => series("headgate_leases_total", &[instance, limit]),
                (PERMITS, _) => series("headgate_lease_permits_total", &[instance, limit]),
                (UNSPENT, _) => series("headgate_lease_permits_unspent_total", &[instance, limit]),
                _ => series("headgate_quota_used_percent_total", &[instance, limit]),
            });
        }
    }
}
