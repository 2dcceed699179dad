//! What `match` compares with: paths, hosts and header values, compiled once at configuration.

use super::path::normalise;
use super::template::Template;
use crate::identify::whole;
use regex_lite::Regex;
use std::fmt;

/// A path condition over a normalised path: exact, or with `*`, `{id}` and `**`, or a regex over the whole path.
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
    /// In lower case; after the `*` where there is one.
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

/// Why a pattern cannot be compiled; the text is for the person who wrote it and names the remedy.
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
    /// - `*`, `{id}` and `{id=*}` fit one segment, `**` and `{rest=**}` fit what is left, also nothing;
    /// - text may follow an operator within its segment (`/videos/*.m4s`, `/**.mpd`), but not stand before it;
    /// - `{name=videos/*}` is `videos/*`; `**` stands only in the last segment.
    ///
    /// It is read as a request's path is: `/login/` is `/login`, and so `/search/**` fits `/search` too.
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

    /// A regex that has to fit the whole normalised path.
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        Ok(PathPattern {
            text: text.to_owned(),
            form: PathForm::Regex(whole(text).map_err(PatternError)?),
        })
    }

    /// Whether it fits a path as [`normalise`] leaves it.
    pub fn matches(&self, path: &[u8]) -> bool {
        match &self.form {
            PathForm::Exact(exact) => exact == path,
            PathForm::Template(template) => template.matches(path),
            PathForm::Regex(regex) => std::str::from_utf8(path).is_ok_and(|path| regex.is_match(path)),
        }
    }

    /// Whether it fits one path only.
    pub fn is_exact(&self) -> bool {
        matches!(self.form, PathForm::Exact(_))
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
    pub fn exact(text: &str) -> Result<Self, PatternError> {
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

    /// A regex that has to fit the whole value; bytes that are not UTF-8 stand as U+FFFD.
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        Ok(ValuePattern {
            text: text.to_owned(),
            form: ValueForm::Regex(whole(text).map_err(PatternError)?),
        })
    }

    /// Whether it fits the header's values: one; or several, of which none can be told, so that only `*` fits.
    pub fn matches(&self, value: &crate::identify::Lookup<'_>) -> bool {
        use crate::identify::Lookup;
        match (&self.form, value) {
            (_, Lookup::Absent) => false,
            (ValueForm::Present, _) => true,
            (_, Lookup::Several) => false,
            (ValueForm::Exact, Lookup::One(value)) => **value == *self.text.as_bytes(),
            (ValueForm::Regex(regex), Lookup::One(value)) => regex.is_match(&String::from_utf8_lossy(value)),
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
    use crate::identify::Lookup;
    use proptest::prelude::*;

    #[test]
    fn an_exact_path_is_read_as_a_request_is() {
        let login = PathPattern::template("/%6Cogin/").unwrap();
        assert!(login.is_exact() && login.matches(b"/login"));
        assert!(!login.matches(b"/login/x") && !login.matches(b"/Login"));
        assert_eq!(login.text(), "/%6Cogin/");
    }

    #[test]
    fn a_path_regex_fits_the_whole_path() {
        let pattern = PathPattern::regex("/v[0-9]+|/x").unwrap();
        assert!(pattern.matches(b"/v12") && pattern.matches(b"/x") && !pattern.is_exact());
        assert!(!pattern.matches(b"/v12/a") && !pattern.matches(b"/a/x"));
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
    fn a_header_fits_exactly_by_presence_or_by_regex() {
        let one = |value: &'static str| Lookup::One(value.as_bytes().into());
        let exact = ValuePattern::exact("web").unwrap();
        assert!(exact.matches(&one("web")) && !exact.matches(&one("Web")));
        let present = ValuePattern::exact("*").unwrap();
        assert!(present.matches(&one("")) && present.matches(&Lookup::Several));
        let regex = ValuePattern::regex("a+|b").unwrap();
        assert!(regex.matches(&one("aaa")) && regex.matches(&one("b")) && !regex.matches(&one("ab")));
        assert!(ValuePattern::regex(".*")
            .unwrap()
            .matches(&Lookup::One(b"\xff"[..].into())));
        for pattern in [&exact, &present, &regex] {
            assert!(!pattern.matches(&Lookup::Absent));
        }
        assert!(!exact.matches(&Lookup::Several) && !regex.matches(&Lookup::Several));
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
                pattern.matches(&bytes);
            }
        }
    }
}
