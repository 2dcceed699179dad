//! A second copy of the local counters of each Envoy. An Envoy must admit what fits, and deny the rest.

use super::{DecisionRecord, Ledger, RequestEnd, RequestRecord};
use crate::model::Model;
use headgate_core::limit::{Algorithm, Charge, Group, OnError, Verdict};
use headgate_core::local::LONGEST_LOG;
use headgate_core::model::{Policy, Store};

/// If more requests are decided at once, some are carried out later, in an order that is not recorded.
const MOST_AT_ONCE: usize = 60;

/// The local counters of each Envoy.
#[derive(Default)]
pub(super) struct LocalCounters {
    envoys: Vec<Model>,
    /// The order of decisions is unknown, or counters are evicted: nothing is compared.
    pub unreliable: bool,
}

impl LocalCounters {
    /// The counters for requests that arrive at these times (µs).
    pub fn new(envoys: usize, times: &[u64]) -> LocalCounters {
        let crowd = |times: &[u64]| times[MOST_AT_ONCE] - times[0] < 300_000;
        LocalCounters {
            envoys: vec![Model::default(); envoys],
            unreliable: times.windows(MOST_AT_ONCE + 1).any(crowd),
        }
    }
}

impl Ledger {
    /// Compares a decision by local counters; `verdicts`: the verdict of Redis on each charge.
    pub(super) fn compare_local(
        &mut self,
        record: &RequestRecord,
        decided: &DecisionRecord,
        verdicts: &[Option<Verdict>],
    ) -> Result<(), (&'static str, String)> {
        let known = &self.engines[record.engine];
        let (envoy, policy) = (known.envoy, known.policy.clone());
        if self.local_counters.unreliable || policy.local.max_counters < 100 {
            self.local_counters.unreliable = true;
            return Ok(());
        }
        let clock_us = self.clock.unix_us(self.now);
        let groups = counted_here(&policy, record, verdicts);
        let counters = &mut self.local_counters.envoys[envoy];
        let fits = groups
            .iter()
            .all(|group| counters.check(group, clock_us, false).0);
        let charges = record.groups.iter().flat_map(|group| &group.charges);
        let denied = charges
            .zip(verdicts)
            .any(|(charge, verdict)| charge.enforced && verdict.is_some_and(|verdict| !verdict.allowed));
        if decided.passes {
            for group in &groups {
                counters.count(group, clock_us, false);
            }
        }
        match decided.passes == (fits && !denied) {
            true => Ok(()),
            false => Err(("local", format!("{decided:?}, but fits is {fits}"))),
        }
    }

    /// Charges the costs of a request that this Envoy counted.
    pub(super) fn charge_local_counters(&mut self, caller: usize, end: RequestEnd) {
        let due = self.due_of(caller, end);
        let Some(record) = self.requests[caller].as_ref() else {
            return;
        };
        let known = &self.engines[record.engine];
        let by_local = record
            .decided
            .as_ref()
            .is_some_and(|decided| decided.by == "local");
        if !by_local || self.local_counters.unreliable {
            return;
        }
        let (envoy, policy) = (known.envoy, known.policy.clone());
        let clock_us = self.clock.unix_us(self.now);
        for group in &due {
            let charges = group.charges.iter().filter(|charge| counts(&policy, charge));
            let charges = charges.filter_map(|charge| here(&policy, charge)).collect();
            let group = Group {
                keys: group.keys.clone(),
                charges,
            };
            self.local_counters.envoys[envoy].charge(&group, clock_us);
        }
    }
}

fn counts(policy: &Policy, charge: &Charge) -> bool {
    policy.store == Store::Local || policy.limits[charge.limit].on_error == OnError::Local
}

/// The groups that Redis did not count, with the charges that the Envoy counts locally.
fn counted_here(policy: &Policy, record: &RequestRecord, verdicts: &[Option<Verdict>]) -> Vec<Group> {
    let mut verdicts = verdicts.iter();
    let mut groups = Vec::new();
    for group in &record.groups {
        let own: Vec<_> = verdicts.by_ref().take(group.charges.len()).collect();
        if own.iter().any(|verdict| verdict.is_some()) {
            continue;
        }
        let charges = group.charges.iter().filter(|charge| counts(policy, charge));
        groups.push(Group {
            keys: group.keys.clone(),
            charges: charges.filter_map(|charge| here(policy, charge)).collect(),
        });
    }
    groups
}

/// A charge as the local store counts it; `None`: only a live override would limit it.
fn here(policy: &Policy, charge: &Charge) -> Option<Charge> {
    if charge.live.as_ref().is_some_and(|live| live.unlimited) {
        return None;
    }
    let share = u64::from(policy.local.share.basis_points());
    let part = |n: u64| (n * share / 10_000).max(n.min(1));
    let mut charge = charge.clone();
    charge.live = None;
    charge.rate.limit = part(charge.rate.limit);
    match &mut charge.algorithm {
        Algorithm::Gcra { burst } => *burst = part(*burst),
        algorithm @ Algorithm::SlidingWindowLog if charge.rate.limit > LONGEST_LOG => {
            *algorithm = Algorithm::SlidingWindowCounter;
        }
        _ => {}
    }
    Some(charge)
}
