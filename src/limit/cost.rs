//! Reads a cost out of a header.

use super::Cost;
use crate::identify::Lookup;

/// What a header says of a cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadCost {
    /// At most the maximum.
    Cost(u64),
    Missing,
    /// Negative, no number, or there twice.
    Broken,
}

impl ReadCost {
    /// The cost to charge: 1 where none could be read, at most `max`.
    pub fn or_one(self, max: u64) -> u64 {
        match self {
            ReadCost::Cost(cost) => cost,
            ReadCost::Missing | ReadCost::Broken => 1.min(max),
        }
    }
}

impl Cost {
    /// Reads a cost header; what is above `max` is `max`. Only plain decimal digits are a cost: `1.5`, `+5` and `1e3`
    /// are broken.
    pub fn read(header: &Lookup<'_>, max: u64) -> ReadCost {
        let value = match header {
            Lookup::One(value) => value,
            Lookup::Absent => return ReadCost::Missing,
            Lookup::Several(_) => return ReadCost::Broken,
        };
        let digits = value.trim_ascii();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return ReadCost::Broken;
        }
        // What does not fit is above any maximum.
        let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        ReadCost::Cost(digits.iter().fold(0, add).min(max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_digits_up_to_the_maximum_and_else_1() {
        let read = |value: &'static str| Cost::read(&Lookup::One(value.as_bytes().into()), 100);
        for (value, cost) in [
            ("0", 0),
            ("7", 7),
            (" 7 ", 7),
            ("007", 7),
            ("100", 100),
            ("101", 100),
            ("99999999999999999999999999", 100),
        ] {
            assert_eq!(read(value), ReadCost::Cost(cost), "{value:?}");
        }
        for value in ["", "-5", "+5", "1.5", "1e3", "0x10", "7, 8", "\u{0663}"] {
            assert_eq!(read(value), ReadCost::Broken, "{value:?}");
        }
        assert_eq!(Cost::read(&Lookup::Absent, 100), ReadCost::Missing);
        assert_eq!(Cost::read(&Lookup::Several(vec![]), 100), ReadCost::Broken);
    }

    #[test]
    fn a_cost_that_cannot_be_read_is_1_within_the_maximum() {
        assert_eq!(ReadCost::Broken.or_one(100), 1);
        assert_eq!(ReadCost::Missing.or_one(0), 0);
        assert_eq!(ReadCost::Cost(7).or_one(100), 7);
    }
}
