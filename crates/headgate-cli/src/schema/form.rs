//! The forms of texts as regular expressions, and what to write if a text does not match.
//!
//! The expressions use only syntax that JSON Schema (ECMA-262), Kubernetes (RE2) and Rust read in the same way. An
//! expression may match texts that the reader refuses, but it must match every text that the reader accepts.

use headgate_core::config::{show_millis, TextForm};
use headgate_core::limit::{Period, MAX_LIMIT};

/// The form that a text must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// A valid text matches this expression.
    pub fits: String,
    /// A valid text does not match this expression.
    pub except: Option<String>,
    /// What a person should write.
    pub remedy: String,
    /// An invalid text, for tests.
    #[cfg_attr(not(test), allow(dead_code))]
    pub wrong: &'static str,
}

const NAME: &str = "[A-Za-z0-9._-]{1,64}";
const TOKEN: &str = "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}";
/// The characters that the reader trims at the end of a number: any character that is not visible ASCII may be white
/// space.
const GAP: &str = "[^!-~]*";
const CONTROL: &str = r"\x00-\x1f\x7f-\x9f";

impl Pattern {
    fn new(fits: impl Into<String>, wrong: &'static str, remedy: &str) -> Pattern {
        Pattern {
            fits: fits.into(),
            except: None,
            remedy: remedy.to_owned(),
            wrong,
        }
    }

    fn except(self, except: impl Into<String>) -> Pattern {
        Pattern {
            except: Some(except.into()),
            ..self
        }
    }

    /// `None`: every text is valid, as far as an expression can decide.
    pub fn of(form: TextForm) -> Option<Pattern> {
        Some(match form {
            TextForm::Any | TextForm::Regex => return None,
            TextForm::NotEmpty => Pattern::new(r"[\s\S]", "", "write a text that is not empty"),
            TextForm::Short => Pattern::new(format!("^[^{CONTROL}]{{1,256}}$"), "", "write 1 to 256 bytes without control characters"),
            TextForm::Name => Pattern::new(format!("^{NAME}$"), "a b", NAME_REMEDY),
            TextForm::RateName => {
                let remedy = format!("{NAME_REMEDY}, and not unlimited");
                Pattern::new(format!("^{NAME}$"), "unlimited", &remedy).except("^unlimited$")
            }
            TextForm::Token => Pattern::new(format!("^{TOKEN}$"), "a b", "use letters, digits and -"),
            TextForm::Rate => {
                // Any other name may be a name in `rates`.
                let name = "[0-9]*[A-Za-z._-][A-Za-z0-9._-]*";
                Pattern::new(format!("^ *({}|{name}) *$", rate()), "5/x", RATE_REMEDY)
            }
            TextForm::PlainRate => Pattern::new(format!("^ *({}|unlimited) *$", rate()), "5/x", RATE_REMEDY),
            TextForm::Share => Pattern::new(share(), "101%", "write 0% to 100%, with at most two decimals"),
            TextForm::PositiveShare => {
                Pattern::new(share(), "0%", "write 0.01% to 100%").except(zero("%"))
            }
            TextForm::KeyPrefix => Pattern::new(
                "^[A-Za-z0-9._:/-]{1,64}$",
                "a{b}",
                "use 1 to 64 letters, digits and . _ - : /",
            ),
            TextForm::Service => {
                let port = number(1, u64::from(u16::MAX));
                Pattern::new(
                    format!(r"^[!-~]*(\|[!-~]*|[!-~]:\+?{port})$"),
                    "redis.dns",
                    "write a service with its port, as in redis.dns:6379",
                )
                .except(r#"[?&=#"']"#)
            }
            TextForm::Body => Pattern::new(body(), "{client}", "placeholders are {limit}, {remaining}, {retry_after} and {name}"),
            TextForm::MediaType => Pattern::new(
                format!("^{TOKEN}/{TOKEN} *(;[ -~]*)?$"),
                "json",
                "write one such as application/json",
            ),
            TextForm::Path => Pattern::new("^/[^?#]*$", "login", "a path begins with /, and has no query and fragment"),
            TextForm::Host => Pattern::new(
                r"^(\*\.)?[^*/ ]*[^*/ .]$",
                "example.com:80",
                "write a host (api.example.com) or a host with *. in front (*.example.com)",
            )
            .except(r"^(\*\.)?[^:]*:[0-9]*$|\]:[0-9]*$"),
            TextForm::Value => Pattern::new(r"^[\s\S]*$", " web", "leave out the white space around it")
                .except(r"^[\x09-\x0d\x20]|[\x09-\x0d\x20]$"),
            TextForm::Extract => Pattern::new(r"\(", ".+", "put ( ) around the part that names the client"),
            TextForm::KeyPart => Pattern::new(
                format!("^(client|address|path|method|host|route|(header|cookie):{TOKEN}|query:[^{CONTROL}]+)$"),
                "ip",
                "write one of client, address, path, method, host, route, header:NAME, query:NAME, cookie:NAME",
            ),
            TextForm::Network => {
                let (octet, ipv4, ipv6) = (number(0, 255), number(0, 32), number(0, 128));
                let hex = "[0-9A-Fa-f:.]*";
                Pattern::new(
                    format!(r"^(({octet}\.){{3}}{octet}/{ipv4}|{hex}:{hex}/{ipv6})$"),
                    "10.0.0.0/33",
                    "write one such as 10.0.0.0/8 or 2001:db8::/32",
                )
            }
            TextForm::Hash => Pattern::new("^[0-9A-Fa-f]{32}$", "9f86", "write 32 hex digits, as headgate hash prints them"),
        })
    }
}

const NAME_REMEDY: &str = "use 1 to 64 letters, digits and . _ -";
const RATE_REMEDY: &str = "write N/period, such as 100/minute or 10/30s; periods are in s, m, h or d";

/// A whole number in this range, in decimal digits. Leading zeros are allowed; `least` is 0 or 1.
fn number(least: u64, most: u64) -> String {
    let digits = most.to_string();
    let length = digits.len();
    let rest = |count: usize| match count {
        0 => String::new(),
        1 => "[0-9]".to_owned(),
        _ => format!("[0-9]{{{count}}}"),
    };
    let between = |from: u8, to: u8| match from == to {
        true => char::from(from).to_string(),
        false => format!("[{}-{}]", char::from(from), char::from(to)),
    };
    let mut forms = vec![digits.clone()];
    for (index, digit) in digits.bytes().enumerate() {
        let lowest = if index == 0 { b'1' } else { b'0' };
        if digit > lowest {
            let prefix = digits.get(..index).unwrap_or_default();
            forms.push(format!(
                "{prefix}{}{}",
                between(lowest, digit - 1),
                rest(length - index - 1)
            ));
        }
    }
    match length {
        1 => {}
        2 => forms.push("[1-9]".to_owned()),
        _ => forms.push(format!("[1-9][0-9]{{0,{}}}", length - 2)),
    }
    let forms = format!("0*({})", forms.join("|"));
    match least {
        0 => format!("({forms}|0+)"),
        _ => forms,
    }
}

/// `N/period`.
fn rate() -> String {
    let most = Period::MAX.as_millis() / 1_000;
    let units = [
        (1, "s|sec|seconds?"),
        (60, "m|min|minutes?"),
        (3_600, "h|hours?"),
        (86_400, "d|days?"),
    ];
    let periods = units.map(|(seconds, names)| format!("({} *)?({names})", number(1, most / seconds)));
    format!("{} */ *({})", number(0, MAX_LIMIT), periods.join("|"))
}

fn share() -> String {
    format!(r"^0*(100(\.00?)?|[0-9]{{1,2}}(\.[0-9]{{1,2}})?){GAP}%$")
}

/// Zero, with this unit.
pub(crate) fn zero(unit: &str) -> String {
    format!("^[0.]+{GAP}({unit})$")
}

/// A duration in this range of milliseconds.
pub(crate) fn duration(least: u64, most: u64) -> Pattern {
    let remedy = format!("write {} to {}", show_millis(least), show_millis(most));
    let units = [(1, "ms"), (1_000, "s"), (60_000, "m")].map(|(millis, unit)| {
        let whole = most / millis;
        // Thousandths of a millisecond do not exist.
        let fraction = if millis == 1 {
            r"(\.0{1,3})?"
        } else {
            r"(\.[0-9]{1,3})?"
        };
        let exact = if most.is_multiple_of(millis) {
            r"(\.0{1,3})?"
        } else {
            fraction
        };
        let below = match whole.checked_sub(1) {
            Some(below) => format!("{}{fraction}|", number(0, below)),
            None => String::new(),
        };
        format!("({below}{}{exact}){GAP}{unit}", number(0, whole))
    });
    let pattern = Pattern::new(format!("^({})$", units.join("|")), "999999m", &remedy);
    match least {
        0 => pattern,
        _ => pattern.except(zero("ms|s|m")),
    }
}

/// Text with placeholders: a word in braces must be one of four; other braces are plain text.
fn body() -> String {
    let known = "limit|remaining|retry_after|name";
    format!(r"^[^{{]*(\{{(({known})?\}}[^{{]*|[A-Za-z_]*[^A-Za-z_{{}}][^{{]*|[A-Za-z_]*))*$")
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex_lite::Regex;

    fn fits(pattern: &Pattern, text: &str) -> bool {
        let found = |regex: &str| {
            Regex::new(regex)
                .unwrap_or_else(|error| panic!("{regex}: {error}"))
                .is_match(text)
        };
        found(&pattern.fits) && !pattern.except.as_deref().is_some_and(found)
    }

    #[test]
    fn numbers_end_where_their_range_does() {
        for (least, most) in [
            (0, 0),
            (1, 1),
            (0, 9),
            (1, 10),
            (0, 32),
            (1, 366),
            (0, 1_005),
            (1, 8_784),
        ] {
            let regex = Regex::new(&format!("^{}$", number(least, most))).unwrap();
            for value in 0..=most * 10 + 11 {
                let expected = (least..=most).contains(&value);
                assert_eq!(
                    regex.is_match(&value.to_string()),
                    expected,
                    "{value} in {least} to {most}"
                );
                assert_eq!(
                    regex.is_match(&format!("00{value}")),
                    expected,
                    "00{value} in {least} to {most}"
                );
            }
        }
    }

    #[test]
    fn durations_end_where_their_range_does() {
        let (timeout, age) = (duration(1, 10_000), duration(0, 3_600_000));
        for text in [
            "1ms", "10000ms", "0.001s", "9.999s", "10s", "10.000s", "0.1m", "1.0ms", "007 ms",
        ] {
            assert!(fits(&timeout, text), "{text}");
        }
        for text in [
            "0ms", "0s", "0.000s", "10001ms", "10.5s", "1m", "1.5ms", "1.0005s", "2h", "5", "s", ".5s", "-1s",
        ] {
            assert!(!fits(&timeout, text), "{text}");
        }
        assert!(fits(&age, "0s") && fits(&age, "3600s") && fits(&age, "60m") && fits(&age, "59.999m"));
        assert!(!fits(&age, "3601s") && !fits(&age, "61m"));
    }
}
