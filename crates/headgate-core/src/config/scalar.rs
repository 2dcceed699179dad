//! Values that are written as text: shares, durations, names. Checks their form only.

use crate::config::node::Node;
use crate::config::shown::shown;
use crate::limit::Percent;
use std::ops::RangeInclusive;
use std::time::Duration;

impl<'a> Node<'a> {
    /// A share: `10%`, `0.5%`, with at most two decimals, up to 100%.
    pub fn percent(&self) -> Option<Percent> {
        if self.value().is_number() {
            self.fail(&format!("wrong type; write \"{}%\"", shown(self.value())));
            return None;
        }
        let percent = parse_percent(self.text("a share such as 10%")?);
        if percent.is_none() {
            self.fail("not a share; write 0% to 100%, with at most two decimals");
        }
        percent
    }

    /// A duration within `range` (of milliseconds).
    pub fn duration(&self, range: RangeInclusive<u64>) -> Option<Duration> {
        if self.value().is_number() {
            let number = shown(self.value());
            self.fail(&format!("has no unit; write \"{number}ms\" or \"{number}s\""));
            return None;
        }
        match parse_millis(self.text("a duration such as 100ms or 1.5s")?) {
            Some(millis) if range.contains(&millis) => return Some(Duration::from_millis(millis)),
            Some(_) => self.fail(&format!(
                "out of range; write {} to {}",
                show_millis(*range.start()),
                show_millis(*range.end())
            )),
            None => self.fail("not a duration; write a number with ms, s or m, such as 100ms or 1.5s"),
        }
        None
    }

    /// A name: `[A-Za-z0-9._-]{1,64}`.
    pub fn name(&self) -> Option<&'a str> {
        let name = self.text("a name")?;
        if !is_name(name) {
            self.fail(NAME_REMEDY);
            return None;
        }
        Some(name)
    }

    /// A header's name (an RFC 9110 token), in lower case.
    pub fn header_name(&self) -> Option<String> {
        let name = self.text("a header's name")?;
        if !is_token(name) {
            self.fail(HEADER_REMEDY);
            return None;
        }
        Some(name.to_ascii_lowercase())
    }

    /// A text that is not empty, at most 256 bytes and without control characters.
    pub fn short_text(&self, expected: &str) -> Option<&'a str> {
        let text = self.text(expected)?;
        if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
            self.fail(&format!(
                "write {expected}: 1 to 256 bytes without control characters"
            ));
            return None;
        }
        Some(text)
    }
}

pub(super) const NAME_REMEDY: &str = "not a name; use 1 to 64 letters, digits and . _ -";
pub(super) const HEADER_REMEDY: &str = "not a header's name; use letters, digits and -";

pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// RFC 9110, 5.6.2: the form of methods, header names and cookie names.
pub(super) fn is_token(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn parse_percent(text: &str) -> Option<Percent> {
    let points = parse_decimal(text.strip_suffix('%')?.trim_end(), 2)?;
    Percent::from_basis_points(u16::try_from(points).ok()?)
}

fn parse_millis(text: &str) -> Option<u64> {
    let split = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at_checked(split)?;
    let unit_millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    // Thousandths of the unit are whole milliseconds, or are refused.
    let millis = parse_decimal(number.trim_end(), 3)?.checked_mul(unit_millis)?;
    (millis % 1_000 == 0).then_some(millis / 1_000)
}

/// A duration as a policy writes it.
pub fn show_millis(millis: u64) -> String {
    match millis {
        0 => "0s".to_owned(),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ => format!("{millis}ms"),
    }
}

/// `12.5` with three places is 12,500. No sign, no exponent; `None` if it is invalid or overflows.
fn parse_decimal(text: &str, places: usize) -> Option<u64> {
    let (whole, fraction) = match text.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (text, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > places || !digits(whole) || !digits(fraction) {
        return None;
    }
    format!("{whole}{fraction:0<places$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_to_two_decimals() {
        for (text, points) in [
            ("0%", 0),
            ("10%", 1_000),
            ("0.5%", 50),
            ("12.34%", 1_234),
            ("100%", 10_000),
        ] {
            assert_eq!(
                parse_percent(text).map(Percent::basis_points),
                Some(points),
                "{text}"
            );
        }
        for text in [
            "",
            "%",
            "10",
            "-1%",
            "100.01%",
            "1000%",
            "1.234%",
            "1e1%",
            ".5%",
            "1.%",
            "99999999999999999999%",
        ] {
            assert_eq!(parse_percent(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_whole_milliseconds() {
        for (text, millis) in [
            ("1ms", 1),
            ("100ms", 100),
            ("1s", 1_000),
            ("1.5s", 1_500),
            ("0.001s", 1),
            ("1m", 60_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_millis(text), Some(millis), "{text}");
        }
        for text in [
            "",
            "s",
            "1",
            "-1s",
            "1.5ms",
            "0.0001s",
            "1h",
            "1e3ms",
            "1 sec",
            "99999999999999999999s",
        ] {
            assert_eq!(parse_millis(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_one_to_sixty_four_plain_characters() {
        assert!(is_name("a.B_9-") && is_name(&"a".repeat(64)));
        assert!(
            !is_name("") && !is_name(&"a".repeat(65)) && !is_name("a b") && !is_name("é") && !is_name("a/b")
        );
    }
}
