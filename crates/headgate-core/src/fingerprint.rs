//! Short names for things that callers choose, in maps of one worker: 128 bits under a key that nobody outside knows,
//! so that nobody can make two things meet.

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
}
