//! A map by numbers that nobody outside can choose: counted up by ourselves, or keyed hashes already. The standard
//! hasher's defence is not needed for them, and costs a tenth of a request's time in the module.

use crate::fingerprint::Fingerprint;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub type ByNumber<T> = HashMap<u64, T, BuildHasherDefault<Spread>>;
pub type ByFingerprint<T> = HashMap<Fingerprint, T, BuildHasherDefault<Spread>>;

/// Spreads a number's low bits over all of a hash.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spread(u64);

/// 2^64 by the golden ratio, odd (Knuth, The Art of Computer Programming, 6.4): neighbours end far apart.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0.rotate_left(8) ^ u64::from(*byte));
        }
    }

    fn write_u128(&mut self, number: u128) {
        self.write_u64((number >> 64) as u64 ^ number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(GOLDEN);
    }
}
