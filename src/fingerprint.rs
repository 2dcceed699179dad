//! Short names for things that callers choose, in maps of one worker: 128 bits under a key that nobody outside knows,
//! so that nobody can make two things meet.

use crate::limit::{Algorithm, Charge, Group};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{BuildHasher, Hasher, RandomState};

pub type Fingerprint = u128;

/// A key of its own for each map.
pub struct Fingerprints(SipHasher13);

impl Fingerprints {
    pub fn new() -> Fingerprints {
        let random = RandomState::new();
        Fingerprints(SipHasher13::new_with_keys(random.hash_one(1), random.hash_one(2)))
    }

    /// Of parts that follow each other: where one ends is not told.
    pub fn of(&self, parts: &[&[u8]]) -> Fingerprint {
        let mut hasher = self.0;
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish128().as_u128()
    }

    /// Of a charge's counter, with all that a verdict on the charge depends on beside the counter's state: its N, period
    /// and burst, the cost.
    pub fn counter(&self, group: &Group, charge: &Charge) -> Option<Fingerprint> {
        let key = group.keys.get(charge.key)?;
        let burst = match charge.algorithm {
            Algorithm::Gcra { burst } => burst,
            _ => 0,
        };
        let need = if charge.later { 1 } else { charge.cost };
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
