//! Reads a cost out of a header.

use crate::identify::Lookup;
use std::num::IntErrorKind;

/// The range of a cost from a header: values outside of it count as its nearest bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CostRange {
    /// The least cost, in units of the quota.
    pub min: u64,
    /// Not below `min`.
    pub max: u64,
}

/// The result of reading a cost header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadCost {
    /// Within its range.
    Cost(u64),
    /// The header is absent.
    Missing,
    /// Negative, not a number, or duplicated.
    Broken,
}

impl CostRange {
    /// Reads a cost header. Only plain decimal digits are a cost: `1.5`, `+5` and `1e3` are broken.
    pub fn read(self, header: &Lookup<'_>) -> ReadCost {
        let digits = match header {
            Lookup::One(value) => value,
            Lookup::Absent => return ReadCost::Missing,
            Lookup::Several(_) => return ReadCost::Broken,
        };
        match plain_number(digits) {
            // A number that overflows is above any maximum.
            Some(cost) => ReadCost::Cost(cost.max(self.min).min(self.max)),
            None => ReadCost::Broken,
        }
    }

    /// The cost to charge: if none could be read, the minimum, but at least 1.
    pub fn charged(self, read: ReadCost) -> u64 {
        match read {
            ReadCost::Cost(cost) => cost,
            ReadCost::Missing | ReadCost::Broken => self.unread(),
        }
    }

    /// The cost of a call without a cost header, and of one whose caller left before the response.
    pub fn unread(self) -> u64 {
        self.min.max(1).min(self.max)
    }
}

/// A number of decimal digits and nothing else; the largest one on overflow.
pub(crate) fn plain_number(text: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text).ok()?;
    if digits.starts_with('+') {
        return None;
    }
    match digits.parse() {
        Ok(number) => Some(number),
        Err(error) => (*error.kind() == IntErrorKind::PosOverflow).then_some(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_digits_within_its_range() {
        let read = |value: &'static str, min| {
            CostRange { min, max: 100 }.read(&Lookup::One(value.as_bytes().into()))
        };
        for (value, min, cost) in [
            ("0", 0, 0),
            ("0", 1, 1),
            ("3", 5, 5),
            ("7", 1, 7),
            ("007", 1, 7),
            ("100", 1, 100),
            ("101", 1, 100),
            ("99999999999999999999999999", 0, 100),
        ] {
            assert_eq!(read(value, min), ReadCost::Cost(cost), "{value:?} from {min}");
        }
        for value in ["", "-5", "+5", "1.5", "1e3", "0x10", "7, 8", "\u{0663}"] {
            assert_eq!(read(value, 1), ReadCost::Broken, "{value:?}");
        }
        let range = CostRange { min: 0, max: 100 };
        assert_eq!(range.read(&Lookup::Absent), ReadCost::Missing);
        assert_eq!(range.read(&Lookup::Several(vec![])), ReadCost::Broken);
    }

    #[test]
    fn a_cost_that_cannot_be_read_is_the_least_but_not_0() {
        for (min, max, cost) in [(0, 100, 1), (1, 100, 1), (5, 100, 5), (0, 0, 0)] {
            let range = CostRange { min, max };
            assert_eq!(range.charged(ReadCost::Broken), cost, "{range:?}");
            assert_eq!(range.charged(ReadCost::Missing), cost, "{range:?}");
        }
        assert_eq!(CostRange { min: 0, max: 100 }.charged(ReadCost::Cost(0)), 0);
    }
}
