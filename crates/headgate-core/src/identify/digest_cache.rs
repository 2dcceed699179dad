//! A cache of digests of recently hashed values. Without it, hashing the caller's key would be the largest part of the
//! module's work: two fifths of its instructions for a denial from memory.

use super::Digest;
use crate::fingerprint::{Fingerprint, Fingerprints};

/// The number of pairs of digests: 192 KiB of a worker's memory.
const PAIRS: usize = 2_048;

/// A two-way cache: each value belongs to one pair, which holds the last two digests. The values themselves are secrets
/// and are not kept.
pub struct DigestCache {
    fingerprints: Fingerprints,
    /// Allocated with the first value.
    pairs: Vec<[Option<(Fingerprint, Digest)>; 2]>,
}

impl DigestCache {
    pub fn new() -> DigestCache {
        DigestCache {
            fingerprints: Fingerprints::new(),
            pairs: Vec::new(),
        }
    }

    /// The digest of the value: from the cache, or computed by `work_out` and cached.
    pub fn digest(&mut self, value: &[u8], work_out: impl FnOnce() -> Digest) -> Digest {
        let fingerprint = self.fingerprints.of(&[value]);
        if self.pairs.is_empty() {
            self.pairs.resize(PAIRS, [None; 2]);
        }
        let Some(pair) = self.pairs.get_mut(fingerprint as usize % PAIRS) else {
            return work_out();
        };
        for (known, digest) in pair.iter().flatten() {
            if *known == fingerprint {
                return *digest;
            }
        }
        let digest = work_out();
        *pair = [Some((fingerprint, digest)), pair[0]];
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_worked_out_once_while_it_has_a_place() {
        let (mut known, mut worked_out) = (DigestCache::new(), 0);
        let mut ask = |value: u32| {
            known.digest(&value.to_le_bytes(), || {
                worked_out += 1;
                Digest(u128::from(value).to_be_bytes())
            })
        };
        for _ in 0..100 {
            assert_eq!(ask(1), Digest(1_u128.to_be_bytes()));
        }
        // far more values than the cache holds
        for value in (0..50_000).chain(0..50_000) {
            assert_eq!(ask(value), Digest(u128::from(value).to_be_bytes()));
        }
        assert!((2 + 90_000..=100_001).contains(&worked_out), "{worked_out}");
        assert_eq!(known.pairs.len(), PAIRS);
    }
}
