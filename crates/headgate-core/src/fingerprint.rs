//! Fingerprints of values that callers choose, for maps of one worker: keyed hashes of 128 bits. The key is random and
//! secret, so callers cannot construct collisions.

use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{BuildHasher, Hasher, RandomState};

pub type Fingerprint = u128;

/// Makes fingerprints under a random key. Each map has its own.
pub struct Fingerprints(SipHasher13);

impl Fingerprints {
    pub fn new() -> Fingerprints {
        let random = RandomState::new();
        Fingerprints(SipHasher13::new_with_keys(random.hash_one(1), random.hash_one(2)))
    }

    /// The fingerprint of concatenated parts: the boundaries between them are not part of it.
    pub fn of(&self, parts: &[&[u8]]) -> Fingerprint {
        let mut hasher = self.0;
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish128().as_u128()
    }
}
