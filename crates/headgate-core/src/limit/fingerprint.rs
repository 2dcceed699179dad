//! A counter's short name in maps of one worker.

use super::{Algorithm, Charge, Group};
use crate::fingerprint::{Fingerprint, Fingerprints};

impl Fingerprints {
    /// Of a charge's counter, with all that a verdict on the charge depends on beside the counter's state: its N, period
    /// and burst, the cost.
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
        // In one piece: the hasher takes long about many small ones. The key's length says where the field began.
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
