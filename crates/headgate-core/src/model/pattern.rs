//! What `match` compares with: paths, hosts and header values, compiled once at configuration.

use super::path::normalise;
use super::template::Template;
use crate::identify::{trimmed, whole};
use regex_lite::Regex;
use std::fmt;

/// A path condition over one reading of a path: exact, or with `*`, `{id}` and `**`, or a regex over the whole path.
#[derive(Debug, Clone)]
pub struct PathPattern {
    text: String,
    form: PathForm,
}

#[derive(Debug, Clone)]
enum PathForm {
    Exact(Vec<u8>),
    Template(Template),
    Regex(Regex),
}

/// A host without a port, compared in any case: exact or `*.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    /// In lower case; the part after the `*`, if there is one.
    text: String,
    wildcard: bool,
}

/// A header's value: exact, `*` (present) or a regex over the whole value.
#[derive(Debug, Clone)]
pub struct ValuePattern {
    text: String,
    form: ValueForm,
}

#[derive(Debug, Clone)]
enum ValueForm {
    Exact,
    Present,
    Regex(Regex),
}

/// How the literals of a path pattern are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Case {
    /// Byte by byte.
    Exact,
    /// ASCII letters in any case.
    #[default]
    Ignored,
}

impl Case {
    /// Nearly all paths are in the pattern's case: that is compared first, and a byte that differs in more than case
    /// ends the comparison.
    pub(super) fn eq(self, literal: &[u8], text: &[u8]) -> bool {
        if literal.len() != text.len() {
            return false;
        }
        let mut pairs = literal.iter().zip(text);
        literal == text || (self == Case::Ignored && pairs.all(|(a, b)| a.eq_ignore_ascii_case(b)))
    }

    /// What follows the literal at the start of a text.
    pub(super) fn strip_prefix<'t>(self, literal: &[u8], text: &'t [u8]) -> Option<&'t [u8]> {
        let (start, rest) = text.split_at_checked(literal.len())?;
        self.eq(literal, start).then_some(rest)
    }

    /// Most ends are empty, and comparing an empty slice is not free with some C libraries.
    pub(super) fn ends_with(self, text: &[u8], end: &[u8]) -> bool {
        let at = text.len().checked_sub(end.len());
        end.is_empty()
            || at
                .and_then(|at| text.get(at..))
                .is_some_and(|tail| self.eq(end, tail))
    }
}

/// Why a pattern cannot be compiled; the text is for its author and contains the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError(pub String);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatternError {}

impl PathPattern {
    /// An exact path, or a template in the forms of Envoy's `uri_template`:
    ///
    /// - `*`, `{id}` and `{id=*}` match one segment, `**` and `{rest=**}` match the rest, which may be empty;
    /// - text may follow an operator within its segment (`/videos/*.m4s`, `/**.mpd`), but not precede it;
    /// - `{name=videos/*}` is `videos/*`; `**` is only allowed in the last segment.
    ///
    /// It is normalised like a request's path: `/login/` is `/login`, so `/search/**` matches `/search` too.
    ///
    /// # Errors
    /// What is wrong with the text, for its author.
    pub fn template(text: &str) -> Result<Self, PatternError> {
        let form = match Template::parse(text)? {
            Some(template) => PathForm::Template(template),
            None => PathForm::Exact(normalise(text.as_bytes()).into_owned()),
        };
        Ok(PathPattern {
            text: text.to_owned(),
            form,
        })
    }

    /// A regex that has to match the whole normalised path.
    ///
    /// # Errors
    /// Why the regex is not valid.
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        Ok(PathPattern {
            text: text.to_owned(),
            form: PathForm::Regex(whole(text).map_err(PatternError)?),
        })
    }

    /// Whether it fits a path in the spelling of [`normalise`], or one of its other readings. `case` is how its literals
    /// are compared; a regex is as it was written.
    pub fn matches(&self, path: &[u8], case: Case) -> bool {
        match &self.form {
            PathForm::Exact(exact) => case.eq(exact, path),
            PathForm::Template(template) => template.matches(path, case),
            PathForm::Regex(regex) => std::str::from_utf8(path).is_ok_and(|path| regex.is_match(path)),
        }
    }

    /// The text that a matching path has in a key: the path of an exact pattern, or the text of any other pattern.
    pub fn counted(&self) -> &[u8] {
        match &self.form {
            PathForm::Exact(exact) => exact,
            PathForm::Template(_) | PathForm::Regex(_) => self.text.as_bytes(),
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        let regex = |p: &Self| matches!(p.form, PathForm::Regex(_));
        self.text == other.text && regex(self) == regex(other)
    }
}

impl Eq for PathPattern {}

impl HostPattern {
    /// Parses `api.example.com` or `*.example.com`.
    ///
    /// # Errors
    /// What is wrong with the text, for its author.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (wildcard, host) = match text.strip_prefix('*') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let advice = "write a host (api.example.com) or a host with *. in front (*.example.com)";
        let name = if wildcard {
            host.strip_prefix('.').unwrap_or_default()
        } else {
            host
        };
        if name.is_empty() || name.contains(['*', '/', ' ']) {
            return Err(PatternError(format!("is not a host; {advice}")));
        }
        if bare_host(host.as_bytes()) != host.as_bytes() {
            return Err(PatternError(format!(
                "hosts are compared without a port and a trailing dot; {advice}"
            )));
        }
        Ok(HostPattern {
            text: host.to_ascii_lowercase(),
            wildcard,
        })
    }

    /// Whether it fits a host as [`bare_host`] leaves it; `*.example.com` fits `a.b.example.com`, not `example.com`.
    pub fn matches(&self, host: &[u8]) -> bool {
        let text = self.text.as_bytes();
        if !self.wildcard {
            return host.eq_ignore_ascii_case(text);
        }
        let split = host.len().checked_sub(text.len()).filter(|&at| at > 0);
        let end = split.and_then(|at| host.get(at..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(text))
    }
}

/// A host without its port and the trailing dot of an absolute name; an IPv6 address keeps its brackets.
pub fn bare_host(authority: &[u8]) -> &[u8] {
    let digits = authority.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let before = authority.len() - digits;
    let host = match before
        .checked_sub(1)
        .and_then(|colon| authority.split_at_checked(colon))
    {
        Some((host, [b':', ..])) if host.ends_with(b"]") || !host.contains(&b':') => host,
        _ => authority,
    };
    host.strip_suffix(b".").unwrap_or(host)
}

impl ValuePattern {
    /// Exact, or `*` for any value.
    ///
    /// # Errors
    /// White space around the text: it is never part of a header's value.
    pub fn exact(text: &str) -> Result<Self, PatternError> {
        if trimmed(text.as_bytes()).len() < text.len() {
            let why = "has white space around it, which is never part of a header's value; leave it out";
            return Err(PatternError(why.to_owned()));
        }
        let form = if text == "*" {
            ValueForm::Present
        } else {
            ValueForm::Exact
        };
        Ok(ValuePattern {
            text: text.to_owned(),
            form,
        })
    }

    /// A regex that has to match the whole value; bytes that are not UTF-8 are read as U+FFFD.
    ///
    /// # Errors
    /// Why the regex is not valid.
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        Ok(ValuePattern {
            text: text.to_owned(),
            form: ValueForm::Regex(whole(text).map_err(PatternError)?),
        })
    }

    /// Whether it fits one value.
    pub fn matches(&self, value: &[u8]) -> bool {
        match &self.form {
            ValueForm::Present => true,
            ValueForm::Exact => value == self.text.as_bytes(),
            ValueForm::Regex(regex) => regex.is_match(&String::from_utf8_lossy(value)),
        }
    }
}

impl PartialEq for ValuePattern {
    fn eq(&self, other: &Self) -> bool {
        let regex = |p: &Self| matches!(p.form, ValueForm::Regex(_));
        self.text == other.text && regex(self) == regex(other)
    }
}

impl Eq for ValuePattern {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_exact_path_is_read_as_a_request_is() {
        let login = PathPattern::template("/%6Cogin/").unwrap();
        assert!(login.matches(b"/login", Case::Exact) && !login.matches(b"/login/x", Case::Ignored));
        assert!(login.matches(b"/LOGIN", Case::Ignored) && !login.matches(b"/LOGIN", Case::Exact));
        assert_eq!((login.text(), login.counted()), ("/%6Cogin/", &b"/login"[..]));
    }

    #[test]
    fn a_path_regex_fits_the_whole_path() {
        let pattern = PathPattern::regex("/v[0-9]+|/x").unwrap();
        let fits = |path: &str| pattern.matches(path.as_bytes(), Case::Ignored);
        assert!(fits("/v12") && fits("/x") && !fits("/v12/a") && !fits("/a/x"));
        assert!(
            !fits("/V12"),
            "as it was written, also where literals are compared in any case"
        );
        assert!(PathPattern::regex("/(").is_err());
    }

    #[test]
    fn a_host_fits_in_any_case_and_without_its_port() {
        let fits = |pattern: &str, host: &str| {
            HostPattern::parse(pattern)
                .unwrap()
                .matches(bare_host(host.as_bytes()))
        };
        assert!(fits("API.example.com", "api.Example.com:8443"));
        assert!(fits("api.example.com", "api.example.com."));
        assert!(!fits("example.com", "api.example.com"));
        assert!(fits("*.example.com", "a.b.EXAMPLE.com:80"));
        assert!(!fits("*.example.com", "example.com"));
        assert!(!fits("*.example.com", ".example.com"));
        assert!(!fits("*.example.com", "aexample.com"));
        assert!(fits("[::1]", "[::1]:8080") && fits("[::1]", "[::1]"));
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            "*example.com",
            "a.*.com",
            "example.com:80",
            "example.com.",
            "a/b",
            "a b",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_fits_exactly_by_presence_or_by_regex() {
        let exact = ValuePattern::exact("web").unwrap();
        assert!(exact.matches(b"web") && !exact.matches(b"Web"));
        assert!(ValuePattern::exact("*").unwrap().matches(b""));
        assert!(ValuePattern::exact(" web").is_err(), "it would never fit");
        let regex = ValuePattern::regex("a+|b").unwrap();
        assert!(regex.matches(b"aaa") && regex.matches(b"b") && !regex.matches(b"ab"));
        assert!(ValuePattern::regex(".*").unwrap().matches(b"\xff"));
    }

    #[test]
    fn a_regex_is_not_the_exact_text() {
        assert_ne!(
            ValuePattern::exact("a").unwrap(),
            ValuePattern::regex("a").unwrap()
        );
        assert_ne!(
            PathPattern::template("/a").unwrap(),
            PathPattern::regex("/a").unwrap()
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_them_panic(bytes: Vec<u8>, host in "[a:.0-9\\[\\]]{0,12}", text in "\\PC{0,12}") {
            bare_host(&bytes);
            bare_host(host.as_bytes());
            if let Ok(pattern) = HostPattern::parse(&text) {
                pattern.matches(&bytes);
            }
            if let Ok(pattern) = PathPattern::template(&text) {
                pattern.matches(&bytes, Case::Ignored);
            }
        }
    }
}
