//! Fingerprints of counters, for maps of one worker.

use super::{Algorithm, Charge, Group};
use crate::fingerprint::{Fingerprint, Fingerprints};

impl Fingerprints {
    /// The fingerprint of a charge's counter. It includes everything that a verdict depends on beside the counter's
    /// state: N, period, burst and cost.
    pub fn counter(&self, group: &Group, charge: &Charge) -> Option<Fingerprint> {
        let key = group.keys.get(charge.key)?;
        let burst = match charge.algorithm {
            Algorithm::Gcra { burst } => burst,
            _ => 0,
        };
        let need = if charge.charged_on_response {
            1
        } else {
            charge.cost
        };
        // Written in one piece, as the hasher is slow with many small ones. The key's length marks where the field
        // begins.
        let numbers = [
            key.len() as u64,
            charge.limit as u64,
            charge.rate.limit,
            charge.rate.period.as_millis(),
            burst,
            need,
        ];
        let numbers = numbers.map(u64::to_le_bytes);
        Some(self.of(&[key, charge.field.as_bytes(), numbers.as_flattened()]))
    }
}
