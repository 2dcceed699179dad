//! The source of all random choices in a world: a seed, or the bytes of a fuzzer.

use fastrand::Rng;
use std::ops::RangeInclusive;

/// Draws numbers. The same seed, or the same bytes, always gives the same draws.
#[derive(Debug, Clone)]
pub struct Choices {
    bytes: Vec<u8>,
    next: usize,
    rng: Rng,
}

impl Choices {
    /// Draws from a generator with this seed.
    pub fn seeded(seed: u64) -> Choices {
        Choices {
            bytes: Vec::new(),
            next: 0,
            rng: Rng::with_seed(seed),
        }
    }

    /// Uses the bytes first, so that a fuzzer changes one choice by changing one byte. After the last byte it uses a
    /// generator seeded with a hash of the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Choices {
        // FNV-1a (Fowler, Noll, Vo).
        let seed = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        Choices {
            bytes: bytes.to_vec(),
            next: 0,
            rng: Rng::with_seed(seed),
        }
    }

    /// A number from 0 to `count` - 1, or 0 if `count` is 0.
    pub fn below(&mut self, count: u64) -> u64 {
        if count <= 1 {
            return 0;
        }
        let width = (u64::BITS - (count - 1).leading_zeros()).div_ceil(8) as usize;
        match self.bytes.get(self.next..self.next + width) {
            Some(bytes) => {
                self.next += width;
                let number = bytes
                    .iter()
                    .fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
                number % count
            }
            None => {
                self.next = self.bytes.len();
                self.rng.u64(..count)
            }
        }
    }

    /// A random number of the range, both ends included.
    pub fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = range.into_inner();
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// `true` with this probability in percent, 0 to 100.
    pub fn percent(&mut self, percent: u64) -> bool {
        percent > 0 && self.below(100) < percent
    }

    /// A random element. `all` must not be empty.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// An index below `count`, or 0 if `count` is 0.
    pub fn index(&mut self, count: usize) -> usize {
        self.below(count as u64) as usize
    }

    /// A separate generator, for code that draws its own numbers.
    pub fn fork(&mut self) -> Rng {
        let seed = self.below(u64::MAX);
        Rng::with_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_source_gives_the_same_draws() {
        let draws =
            |mut choices: Choices| -> Vec<u64> { (1..50).map(|n| choices.below(n * 1_000)).collect() };
        assert_eq!(draws(Choices::seeded(7)), draws(Choices::seeded(7)));
        assert_ne!(draws(Choices::seeded(7)), draws(Choices::seeded(8)));
        assert_eq!(
            draws(Choices::from_bytes(b"abc")),
            draws(Choices::from_bytes(b"abc"))
        );
        assert_ne!(
            draws(Choices::from_bytes(b"abc")),
            draws(Choices::from_bytes(b"abd"))
        );
    }

    #[test]
    fn bytes_are_used_one_after_the_other() {
        let mut choices = Choices::from_bytes(&[5, 1, 2, 255]);
        assert_eq!(choices.below(10), 5);
        assert_eq!(choices.below(65_536), 0x0102);
        assert_eq!(choices.below(256), 255);
        assert!((3..=9).contains(&choices.between(3..=9)));
    }
}
