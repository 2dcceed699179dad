//! Permits of leases: none may be spent twice or after its end.

use super::laws::{CounterStore, PassedCall};
use super::{DecisionRecord, Ledger, RequestRecord};
use crate::time::{Micros, MS};
use headgate_core::limit::algorithm::lease_ms;
use headgate_core::limit::{Algorithm, Charge, Rate, Verdict};
use std::collections::BTreeMap;

/// By engine and counter: the permits taken, in the order in which the engine received them.
pub(super) type Permits = BTreeMap<(usize, Vec<u8>, String), Vec<PermitBatch>>;

pub(super) struct PermitBatch {
    until: Micros,
    left: u64,
    /// The shard and the epoch of its memory.
    epoch: (usize, u32),
}

/// The key of a counter in [`Permits`]. A log has no field in a call.
fn place(engine: usize, key: &[u8], charge: &Charge) -> (usize, Vec<u8>, String) {
    let form = charge.algorithm.form().as_str();
    let field = match charge.algorithm {
        Algorithm::SlidingWindowLog => "",
        _ => &charge.field,
    };
    (engine, key.to_vec(), format!("{field} {form}"))
}

impl Ledger {
    /// Records the permits of a reply to a lease.
    pub(super) fn take_permits(&mut self, engine: usize, tag: u64) {
        let call = &self.calls[&tag];
        let network = self.network.borrow();
        let Some(execution) = call.execution.map(|index| &network.journal.executions[index]) else {
            return;
        };
        let group = &execution.call.group;
        let (Some(charge), Some(verdict)) = (group.charges.first(), execution.result.verdicts.first()) else {
            return;
        };
        if !execution.result.admitted || !verdict.allowed {
            return;
        }
        let limits = &self.engines[engine].policy.limits;
        // The call does not contain the limit. Its period is the longest one of a limit with a lease that fits.
        let period = limits
            .iter()
            .filter_map(|limit| limit.period().filter(|_| limit.lease.is_some()));
        let Some(period) = period.filter(|period| *period <= charge.rate.period).max() else {
            return;
        };
        let rate = Rate {
            period,
            ..charge.rate
        };
        let life = lease_ms(charge.algorithm, rate) * MS;
        let until = match window_ends(execution.at, charge, verdict) {
            Some(end) => end.min(call.made + life),
            None => call.made + life,
        };
        let batch = PermitBatch {
            until,
            left: charge.cost,
            epoch: (execution.shard, execution.epoch),
        };
        *self.taken.entry(engine).or_default() += charge.cost;
        let place = place(engine, &group.keys[charge.key], charge);
        self.permits.entry(place).or_default().push(batch);
    }

    /// Checks that a request that a lease admitted has permits, and spends them.
    pub(super) fn spend_permits(
        &mut self,
        record: &RequestRecord,
        decided: &DecisionRecord,
    ) -> Result<(), (&'static str, String)> {
        if decided.outcome != "allowed" || !decided.passes {
            return Err(("permits", format!("{decided:?}")));
        }
        let now = self.now;
        for group in &record.groups {
            for charge in &group.charges {
                let key = &group.keys[charge.key];
                let batches = self.permits.get_mut(&place(record.engine, key, charge));
                let spendable = |batch: &&mut PermitBatch| now < batch.until && batch.left >= charge.cost;
                let batch = batches.and_then(|batches| batches.iter_mut().find(spendable));
                let Some(batch) = batch else {
                    let key = key.escape_ascii();
                    return Err((
                        "permits",
                        format!("spends a permit of {key} that it does not have"),
                    ));
                };
                batch.left -= charge.cost;
                *self.spent.entry(record.engine).or_default() += charge.cost;
                let epoch = batch.epoch;
                let network = self.network.borrow();
                let clock_us = network.cluster.clock_us(super::shard_of(&network, key), now);
                let pass = PassedCall {
                    store: CounterStore::Redis,
                    epoch,
                    at_us: clock_us,
                    mark: None,
                };
                let limit = &self.engines[record.engine].policy.limits[charge.limit];
                self.passed_costs.note(&pass, group, charge, limit);
            }
        }
        Ok(())
    }
}

/// The end of the window of these permits, rounded to ms; `None`: there are no fixed windows.
fn window_ends(executed: Micros, charge: &Charge, verdict: &Verdict) -> Option<Micros> {
    let ms = match charge.algorithm {
        Algorithm::FixedWindow { .. } => verdict.reset_ms,
        Algorithm::SlidingWindowCounter => verdict.reset_ms.saturating_sub(charge.rate.period.as_millis()),
        Algorithm::SlidingWindowLog | Algorithm::Gcra { .. } => return None,
    };
    Some(executed + ms * MS)
}
