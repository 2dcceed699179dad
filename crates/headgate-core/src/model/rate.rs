//! Rates: how many requests in which period; parses texts like `100/minute` and `10/30s`.

use std::fmt;

/// A span of time in whole milliseconds, 1 s to 366 d.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(u64);

impl Period {
    /// 366 days.
    pub const MAX: Period = Period(366 * 86_400_000);

    /// `None` out of range.
    pub fn from_millis(millis: u64) -> Option<Period> {
        (1_000..=Period::MAX.0)
            .contains(&millis)
            .then_some(Period(millis))
    }

    /// In ms.
    pub fn as_millis(self) -> u64 {
        self.0
    }
}

/// `limit` requests each `period`; `limit` is 0 (always deny) to 10⁹, and their product at most 2⁵³ ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// N, in requests (or units of cost).
    pub limit: u64,
    /// The time in which N requests may pass.
    pub period: Period,
}

/// The quota that a limit grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// N requests each period.
    Limited(Rate),
    /// Everything passes, and nothing is counted.
    Unlimited,
}

/// Why a rate does not parse; the text is for its author and contains the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateError(pub String);

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The most requests (or units of cost) that a rate may grant a period.
pub const MAX_LIMIT: u64 = 1_000_000_000;

/// N × period in ms stays exact in Lua's doubles up to here.
const MAX_PRODUCT: u64 = 1 << 53;

impl Quota {
    /// Parses `N/period` (`100/minute`, `10/30s`, `0/s`) or `unlimited`; spaces around each part are fine, other white
    /// space is not: a rate may be its limit's name, which appears in headers.
    ///
    /// # Errors
    /// What is wrong with the text, and what to write.
    ///
    /// ```
    /// use headgate_core::limit::Quota;
    /// assert_eq!(Quota::parse("300/5m"), Quota::parse("300 / 300 seconds"));
    /// assert!(Quota::parse("100/fortnight").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Quota, RateError> {
        let text = text.trim_matches(' ');
        if text == "unlimited" {
            return Ok(Quota::Unlimited);
        }
        let Some((limit, period)) = text.split_once('/') else {
            return fail("no period; write N/period, such as 100/minute, or unlimited");
        };
        let limit = parse_limit(limit.trim_end_matches(' '))?;
        let period = parse_period(period.trim_start_matches(' '))?;
        if limit.saturating_mul(period.as_millis()) > MAX_PRODUCT {
            return fail("N times the period in ms is above 2^53; lower N or shorten the period");
        }
        Ok(Quota::Limited(Rate { limit, period }))
    }

    /// N; `None` if unlimited.
    pub fn limit(self) -> Option<u64> {
        match self {
            Quota::Limited(rate) => Some(rate.limit),
            Quota::Unlimited => None,
        }
    }
}

fn fail<T>(text: impl Into<String>) -> Result<T, RateError> {
    Err(RateError(text.into()))
}

fn parse_limit(text: &str) -> Result<u64, RateError> {
    if text.is_empty() {
        return fail("no N before the slash; write N/period, such as 100/minute");
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return fail(format!(
            "{} is not a whole number of requests; write N/period, such as 100/minute",
            quoted(text)
        ));
    }
    match text.parse() {
        Ok(limit) if limit <= MAX_LIMIT => Ok(limit),
        _ => fail("N is at most 1,000,000,000; for no limit write unlimited"),
    }
}

/// A unit with a whole multiple before it, or none: `minute`, `30s`, `5 minutes`.
fn parse_period(text: &str) -> Result<Period, RateError> {
    let split = text.bytes().take_while(u8::is_ascii_digit).count();
    let (multiple, unit) = text.split_at_checked(split).unwrap_or(("", text));
    let unit = unit.trim_start_matches(' ');
    let unit_millis: u64 = match unit {
        "s" | "sec" | "second" | "seconds" => 1_000,
        "m" | "min" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        "" => return fail("no unit in the period; use s, m, h or d, such as 100/minute or 10/30s"),
        _ if unit.starts_with(['.', ',']) && !multiple.is_empty() => {
            return fail("a period is a whole multiple of its unit; write 90s for 1.5m");
        }
        _ => return fail(format!("unknown period {}; use s, m, h or d", quoted(unit))),
    };
    let multiple: u64 = match multiple {
        "" => 1,
        // An overflow is out of range below.
        digits => digits.parse().unwrap_or(u64::MAX),
    };
    match Period::from_millis(multiple.saturating_mul(unit_millis)) {
        Some(period) => Ok(period),
        None => fail("a period must be 1 s to 366 d"),
    }
}

/// The text in quotes, control characters escaped, cut so that a message stays a line.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> (u64, u64) {
        match Quota::parse(text) {
            Ok(Quota::Limited(rate)) => (rate.limit, rate.period.as_millis()),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn error(text: &str) -> String {
        Quota::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn every_unit_is_known_in_short_and_in_full() {
        for (unit, millis) in [
            ("s sec second seconds", 1_000),
            ("m min minute minutes", 60_000),
            ("h hour hours", 3_600_000),
            ("d day days", 86_400_000),
        ] {
            for unit in unit.split(' ') {
                assert_eq!(rate(&format!("7/{unit}")), (7, millis));
                assert_eq!(rate(&format!("7/3{unit}")), (7, 3 * millis));
            }
        }
    }

    #[test]
    fn spaces_around_each_part_change_nothing() {
        assert_eq!(rate("  10 / 30 s "), rate("10/30s"));
        assert_eq!(rate("5 / 5 minutes"), (5, 300_000));
        assert_eq!(Quota::parse(" unlimited "), Ok(Quota::Unlimited));
    }

    #[test]
    fn nothing_and_everything_can_be_granted() {
        assert_eq!(rate("0/s"), (0, 1_000));
        assert_eq!(Quota::parse("unlimited"), Ok(Quota::Unlimited));
    }

    #[test]
    fn the_borders_of_each_range_are_inside() {
        assert_eq!(rate("1000000000/s"), (1_000_000_000, 1_000));
        assert_eq!(rate("1/366d"), (1, 366 * 86_400_000));
        // 2^53 / 1000 = 9,007,199,254,740.992: with N at 10⁹ the period is what can pass it.
        assert_eq!(rate("1000000000/9007s"), (1_000_000_000, 9_007_000));
        assert_eq!(rate("284836/366d"), (284_836, 366 * 86_400_000));
    }

    #[test]
    fn each_error_says_what_to_write() {
        for (text, piece) in [
            ("100/fortnight", "unknown period \"fortnight\"; use s, m, h or d"),
            ("100/week", "unknown period \"week\""),
            ("10/500ms", "unknown period \"ms\""),
            ("100/Minute", "unknown period \"Minute\""),
            ("10/-5s", "unknown period \"-5s\""),
            ("1/2/s", "unknown period \"/s\""),
            ("100", "no period; write N/period"),
            ("", "no period"),
            ("Unlimited", "or unlimited"),
            ("100/", "no unit in the period"),
            ("100/30", "no unit in the period"),
            ("/minute", "no N before the slash"),
            ("ten/minute", "\"ten\" is not a whole number"),
            ("-5/minute", "\"-5\" is not a whole number"),
            ("+5/minute", "\"+5\" is not a whole number"),
            ("5\t/s", "is not a whole number"),
            ("5/\u{a0}s", "unknown period"),
            ("5/s\n", "unknown period"),
            ("1.5/s", "\"1.5\" is not a whole number"),
            ("10/1.5m", "whole multiple"),
            ("1000000001/s", "at most 1,000,000,000"),
            ("99999999999999999999999/s", "at most 1,000,000,000"),
            ("10/0s", "1 s to 366 d"),
            ("10/367d", "1 s to 366 d"),
            ("10/99999999999999999999999d", "1 s to 366 d"),
            ("1000000000/9008s", "2^53"),
            ("284837/366d", "2^53"),
        ] {
            let error = error(text);
            assert!(error.contains(piece), "{text}: {error}");
        }
    }

    #[test]
    fn a_message_never_carries_a_whole_huge_rate() {
        assert!(error(&format!("1/{}", "é".repeat(10_000))).chars().count() < 120);
    }
}
