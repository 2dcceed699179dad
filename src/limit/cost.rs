//! Reads a cost out of a header.

use super::Cost;
use crate::identify::Lookup;

impl Cost {
    /// What a cost header says, at most `max`; 1 where it is missing, negative or broken, or comes twice. Only
    /// plain decimal digits are a cost: `1.5`, `+5` and `1e3` are broken.
    pub fn read(header: &Lookup<'_>, max: u64) -> u64 {
        let Lookup::One(value) = header else {
            return 1.min(max);
        };
        let digits = value.trim_ascii();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return 1.min(max);
        }
        // What does not fit is above any maximum.
        let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        digits.iter().fold(0, add).min(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_digits_up_to_the_maximum_and_else_1() {
        for (value, cost) in [
            ("0", 0),
            ("7", 7),
            (" 7 ", 7),
            ("007", 7),
            ("100", 100),
            ("101", 100),
            ("99999999999999999999999999", 100),
            ("", 1),
            ("-5", 1),
            ("+5", 1),
            ("1.5", 1),
            ("1e3", 1),
            ("0x10", 1),
            ("7, 8", 1),
            ("\u{0663}", 1),
        ] {
            assert_eq!(
                Cost::read(&Lookup::One(value.as_bytes().into()), 100),
                cost,
                "{value:?}"
            );
        }
        assert_eq!(Cost::read(&Lookup::Absent, 100), 1);
        assert_eq!(Cost::read(&Lookup::Several, 100), 1);
    }
}
