//! Digests of the values that were hashed lately. Hashing a caller's key is the longest single piece of the module's
//! work: a tenth of Envoy's time for a denial from memory.

use super::Digest;
use crate::fingerprint::{Fingerprint, Fingerprints};

/// Places for digests: 128 KiB of a worker's memory.
const PLACES: usize = 4_096;

/// One place for each value: what comes to the same place later takes it over. The values themselves, which are
/// secrets, are not kept.
pub struct Known {
    fingerprints: Fingerprints,
    /// Takes memory with the first value.
    places: Vec<Option<(Fingerprint, Digest)>>,
}

impl Known {
    pub fn new() -> Known {
        Known {
            fingerprints: Fingerprints::new(),
            places: Vec::new(),
        }
    }

    /// The value's digest: from its place, or worked out and put there.
    pub fn digest(&mut self, value: &[u8], work_out: impl FnOnce() -> Digest) -> Digest {
        let fingerprint = self.fingerprints.of(&[value]);
        if self.places.is_empty() {
            self.places.resize(PLACES, None);
        }
        let place = self.places.get_mut(fingerprint as usize % PLACES);
        match place.as_deref() {
            Some(Some((known, digest))) if *known == fingerprint => *digest,
            _ => {
                let digest = work_out();
                if let Some(place) = place {
                    *place = Some((fingerprint, digest));
                }
                digest
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_worked_out_once_while_its_place_is_its_own() {
        let (mut known, mut worked_out) = (Known::new(), 0);
        let mut ask = |value: u32| {
            known.digest(&value.to_le_bytes(), || {
                worked_out += 1;
                Digest(u128::from(value).to_be_bytes())
            })
        };
        for _ in 0..100 {
            assert_eq!(ask(1), Digest(1_u128.to_be_bytes()));
        }
        // far more than there are places for
        for value in (0..50_000).chain(0..50_000) {
            assert_eq!(ask(value), Digest(u128::from(value).to_be_bytes()));
        }
        assert!((2 + 90_000..=100_001).contains(&worked_out), "{worked_out}");
        assert_eq!(known.places.len(), PLACES);
    }
}
