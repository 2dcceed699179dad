//! Permits that a worker takes in advance for busy counters, and spends on requests without asking Redis.
//!
//! Decides which counters are busy, when to take permits and how many, and whether a request is answered from such
//! permits: only if each of its counters has a permit. Permits are charged when they are taken, so the law of each
//! algorithm holds if they are spent in time; the module `lease` of [`crate::limit::algorithm`] has the proof. Unspent
//! permits are not refunded.

mod account;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use crate::by_number::{ByFingerprint, ByNumber};
use crate::fingerprint::{Fingerprint, Fingerprints};
use crate::limit::algorithm::lease_ms;
use crate::limit::{Algorithm, Charge, Group, Percent, Period, Rate, Verdict};
use crate::model::Policy;
use crate::redis::resp::Value;
use crate::redis::CallError;
use crate::results::{group_result, GroupResult};
use account::{Account, Bounds};
use std::time::{Duration, Instant};

/// The smallest lease, in requests. A smaller one is not worth its call.
pub const LEAST: u64 = 4;

/// The largest number of counters that are watched at the same time.
const MAX_ACCOUNTS: usize = 4_096;

/// How often idle counters are dropped.
const SWEEP: Duration = Duration::from_secs(1);

/// How long no lease is requested after a failed call.
const PAUSE: Duration = Duration::from_secs(1);

/// An event that metrics count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEvent {
    /// A call took this many permits of the limit with this index.
    Taken {
        /// Index into the policy's limits.
        limit: usize,
        /// The number of permits.
        permits: u64,
    },
    /// This many permits expired unspent.
    Unspent {
        /// Index into the policy's limits.
        limit: usize,
        /// The number of permits.
        permits: u64,
    },
}

/// A call to send in [`Mode::Lease`](crate::script::Mode): the counter, and the permits to take from it.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseRequest {
    /// The counter, with the permits as the cost of its charge.
    pub group: Group,
    id: Fingerprint,
    calls: u64,
}

/// The leases of one worker.
pub struct LeaseBook {
    /// By limit: the share of N, and the period as configured; `None`: no lease.
    limits: Vec<Option<(Percent, Period)>>,
    fingerprints: Fingerprints,
    accounts: ByFingerprint<Account>,
    /// The counters of the last request, in the order of its charges.
    looked_at: Vec<Fingerprint>,
    /// Calls in flight, by the number that the caller chose, with the time at which they were sent, or an earlier one.
    under_way: ByNumber<(Instant, LeaseRequest)>,
    events: Vec<LeaseEvent>,
    sweep_at: Option<Instant>,
}

impl LeaseBook {
    /// No leases yet, for the limits of this policy.
    pub fn new(policy: &Policy) -> LeaseBook {
        let lease = |limit: &crate::limit::Limit| Some((limit.lease?, limit.period()?));
        LeaseBook {
            limits: policy.limits.iter().map(lease).collect(),
            fingerprints: Fingerprints::new(),
            accounts: ByFingerprint::default(),
            looked_at: Vec::new(),
            under_way: ByNumber::default(),
            events: Vec::new(),
            sweep_at: None,
        }
    }

    /// Answers a request from unspent permits: returns a verdict for each charge, in their order. `None`: a counter has
    /// no permit, and nothing was spent.
    pub fn spend(&mut self, now: Instant, groups: &[Group]) -> Option<Vec<Verdict>> {
        if self.accounts.is_empty() {
            return None;
        }
        self.looked_at.clear();
        for (group, charge) in charges(groups) {
            let id = self.fingerprints.counter(group, charge)?;
            let account = self.accounts.get_mut(&id)?;
            account.expire(now, &mut self.events);
            if !account.has_permits() {
                return None;
            }
            self.looked_at.push(id);
        }
        let mut verdicts = Vec::with_capacity(self.looked_at.len());
        for id in &self.looked_at {
            verdicts.push(self.accounts.get_mut(id)?.spend(now)?);
        }
        Some(verdicts)
    }

    /// Notes a request that is sent to Redis, to find busy counters. Ignores requests that leases cannot answer.
    pub fn note(&mut self, now: Instant, groups: &[Group]) {
        self.looked_at.clear();
        if charges(groups).any(|(_, charge)| self.bounds(charge).is_none()) {
            return;
        }
        self.sweep_at.get_or_insert(now + SWEEP);
        for (group, charge) in charges(groups) {
            let Some((id, bounds)) = self.fingerprints.counter(group, charge).zip(self.bounds(charge)) else {
                continue;
            };
            if self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(&id) {
                continue;
            }
            let new = || Account::new(now, charge.limit, charge.cost);
            self.accounts.entry(id).or_insert_with(new).note(now, &bounds);
            self.looked_at.push(id);
        }
    }

    /// The lease requests to send now for the counters of the last request, after [`spend`](LeaseBook::spend) or
    /// [`note`](LeaseBook::note). Report each as [`sent`](LeaseBook::sent) or [`unsent`](LeaseBook::unsent).
    pub fn lease_requests(&mut self, now: Instant, groups: &[Group]) -> Vec<LeaseRequest> {
        let mut lease_requests = Vec::new();
        for ((group, charge), at) in charges(groups).zip(0..) {
            let (Some(id), Some(bounds)) = (self.looked_at.get(at).copied(), self.bounds(charge)) else {
                break;
            };
            let calls = self
                .accounts
                .get_mut(&id)
                .map(|account| account.take(now, &bounds));
            if let (Some(calls @ 1..), Some(key)) = (calls, group.keys.get(charge.key)) {
                let charge = Charge {
                    key: 0,
                    cost: charge.cost.saturating_mul(calls),
                    ..charge.clone()
                };
                let group = Group {
                    keys: vec![key.clone()],
                    charges: vec![charge],
                };
                lease_requests.push(LeaseRequest { group, id, calls });
            }
        }
        lease_requests
    }

    /// The lease request is in flight as `call`; `now`: when it was sent, or earlier.
    pub fn sent(&mut self, now: Instant, call: u64, lease_request: LeaseRequest) {
        self.under_way.insert(call, (now, lease_request));
    }

    /// The lease request could not be sent.
    pub fn unsent(&mut self, now: Instant, lease_request: &LeaseRequest) {
        if let Some(account) = self.accounts.get_mut(&lease_request.id) {
            account.failed(now + PAUSE);
        }
    }

    /// The call of a lease request has ended with this reply.
    pub fn settle(
        &mut self,
        now: Instant,
        call: u64,
        reply: Result<Value, CallError>,
    ) -> Option<GroupResult> {
        let (sent, lease_request) = self.under_way.remove(&call)?;
        let result = group_result(&lease_request.group, reply);
        let charge = lease_request.group.charges.first()?;
        let life = self.life(charge)?;
        let account = self.accounts.get_mut(&lease_request.id)?;
        match &result {
            Ok(reply) => {
                let verdict = reply.verdicts.first()?;
                if reply.charged(0).is_some() {
                    let until = sent + life.min(window_left(charge, verdict).unwrap_or(life));
                    account.taken(sent, until, lease_request.calls, verdict, &mut self.events);
                    account.expire(now, &mut self.events);
                } else {
                    account.refused(sent, verdict);
                }
            }
            Err(_) => account.failed(now + PAUSE),
        }
        Some(result)
    }

    /// The number of watched counters.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether no counter is watched.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// The number of calls in flight.
    pub fn calls(&self) -> usize {
        self.under_way.len()
    }

    /// When [`LeaseBook::sweep`] is due; `None`: no counter is watched.
    pub fn due(&self) -> Option<Instant> {
        self.sweep_at
    }

    /// Drops idle counters.
    pub fn sweep(&mut self, now: Instant) {
        if self.sweep_at.is_none_or(|at| at > now) {
            return;
        }
        let events = &mut self.events;
        self.accounts.retain(|_, account| {
            account.expire(now, events);
            !account.is_idle(now, SWEEP)
        });
        self.sweep_at = (!self.accounts.is_empty()).then_some(now + SWEEP);
    }

    /// The events since the last call.
    pub fn events(&mut self) -> std::vec::Drain<'_, LeaseEvent> {
        self.events.drain(..)
    }

    /// The bounds of a lease for the charge's counter; `None`: leases are not used for it.
    fn bounds(&self, charge: &Charge) -> Option<Bounds> {
        let (share, _) = (*self.limits.get(charge.limit)?)?;
        let capacity = match charge.algorithm {
            Algorithm::Gcra { burst } if burst > 0 => burst,
            _ => charge.rate.limit,
        };
        let permits = capacity.saturating_mul(u64::from(share.basis_points()))
            / u64::from(Percent::FULL.basis_points());
        let most = permits.checked_div(charge.cost)?;
        let leasable =
            !charge.charged_on_response && charge.live.is_none() && charge.rate.limit > 0 && most >= LEAST;
        let life = self.life(charge).filter(|life| leasable && !life.is_zero())?;
        Some(Bounds { most, life })
    }

    fn life(&self, charge: &Charge) -> Option<Duration> {
        let (_, period) = (*self.limits.get(charge.limit)?)?;
        let rate = Rate {
            period,
            ..charge.rate
        };
        Some(Duration::from_millis(lease_ms(charge.algorithm, rate)))
    }
}

fn charges(groups: &[Group]) -> impl Iterator<Item = (&Group, &Charge)> {
    groups
        .iter()
        .flat_map(|group| group.charges.iter().map(move |charge| (group, charge)))
}

/// The remaining time of the window in which a lease was taken, rounded down to whole ms; `None`: the algorithm has no
/// such window.
fn window_left(charge: &Charge, verdict: &Verdict) -> Option<Duration> {
    let ms = match charge.algorithm {
        Algorithm::FixedWindow { .. } => verdict.reset_ms,
        // The whole quota is available again when the next window has ended.
        Algorithm::SlidingWindowCounter => verdict.reset_ms.saturating_sub(charge.rate.period.as_millis()),
        Algorithm::SlidingWindowLog | Algorithm::Gcra { .. } => return None,
    };
    Some(Duration::from_millis(ms.saturating_sub(1)))
}
