//! Envoy's URI templates: `*` and `{id}` for one segment, `**` for the rest.

use super::path::normalise;
use super::pattern::PatternError;

/// A path with operators, in the forms of Envoy's `uri_template`:
///
/// - `*`, `{id}` and `{id=*}` fit one segment, `**` and `{rest=**}` fit what is left, also nothing;
/// - text may follow an operator within its segment (`/videos/*.m4s`, `/**.mpd`), but not stand before it;
/// - `{name=videos/*}` is `videos/*`; `**` stands only in the last segment.
///
/// `/search/**` fits `/search` too: a path and the same with a slash are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(Vec<u8>),
    /// One segment that ends so.
    One(Vec<u8>),
    /// The rest, which ends so.
    Rest(Vec<u8>),
}

const ONCE: &str =
    "an operator (*, {id}, **) comes once in a segment, with nothing before it; else write {regex: …}";

impl Template {
    /// `None` where the text has no operator and is a path.
    pub fn parse(text: &str) -> Result<Option<Template>, PatternError> {
        let refuse = |why: &str| Err(PatternError(why.to_owned()));
        if !text.starts_with('/') {
            return refuse("a path begins with /; for the start of a path write /start/**");
        }
        if text.contains(['?', '#']) {
            return refuse("paths are compared without query and fragment; leave out what follows ? or #");
        }
        let plain = without_names(text)?;
        if !plain.contains('*') {
            return Ok(None);
        }
        let path = normalise(plain.as_bytes());
        let segments: Vec<Segment> = path
            .split(|&b| b == b'/')
            .skip(1)
            .map(segment)
            .collect::<Result<_, _>>()?;
        let rest = segments.iter().position(|s| matches!(s, Segment::Rest(_)));
        if rest.is_some_and(|at| at + 1 < segments.len()) {
            return refuse("** stands for all the rest of a path and can only come last");
        }
        Ok(Some(Template { segments }))
    }

    /// Whether it fits a normalised path.
    pub fn matches(&self, path: &[u8]) -> bool {
        let mut rest = if path == b"/" { &[] } else { path };
        for segment in &self.segments {
            if let Segment::Rest(end) = segment {
                return rest.ends_with(end);
            }
            let Some(after) = rest.strip_prefix(b"/") else {
                return false;
            };
            let length = after.iter().position(|&b| b == b'/').unwrap_or(after.len());
            let (current, following) = after.split_at_checked(length).unwrap_or((after, &[]));
            let fits = match segment {
                Segment::Literal(literal) => current == literal,
                Segment::One(end) => current.len() > end.len() && current.ends_with(end),
                Segment::Rest(_) => true,
            };
            if !fits {
                return false;
            }
            rest = following;
        }
        rest.is_empty()
    }
}

/// Each `{name}` as `*`, each `{name=pattern}` as the pattern.
fn without_names(text: &str) -> Result<String, PatternError> {
    let refuse = |why: &str| Err(PatternError(why.to_owned()));
    let mut out = String::with_capacity(text.len());
    let mut names: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(open);
        out.push_str(before);
        let Some((variable, after)) = from.strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
            return refuse(
                "has a brace without its partner; write {id} for one segment, %7B for a brace itself",
            );
        };
        let (name, pattern) = variable.split_once('=').unwrap_or((variable, "*"));
        let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || !name.bytes().all(valid) || pattern.is_empty() || pattern.contains('{') {
            return refuse("a variable is {name} or {name=pattern}, with letters, digits and _ in its name");
        }
        if names.contains(&name) {
            return refuse("has two variables of one name; give each its own, or write *");
        }
        if !out.ends_with('/') || after.starts_with('*') {
            return refuse(ONCE);
        }
        names.push(name);
        out.push_str(pattern);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn segment(text: &[u8]) -> Result<Segment, PatternError> {
    let (operator, end) = match text {
        [b'*', b'*', end @ ..] => (Segment::Rest as fn(Vec<u8>) -> Segment, end),
        [b'*', end @ ..] => (Segment::One as fn(Vec<u8>) -> Segment, end),
        literal => (Segment::Literal as fn(Vec<u8>) -> Segment, literal),
    };
    if end.contains(&b'*') {
        return Err(PatternError(ONCE.to_owned()));
    }
    Ok(operator(end.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(template: &str, path: &str) -> bool {
        Template::parse(template)
            .unwrap()
            .unwrap()
            .matches(path.as_bytes())
    }

    #[test]
    fn an_operator_fits_as_in_envoy() {
        for (template, yes, no) in [
            ("/*", &["/a", "/a.b"][..], &["/", "/a/b"][..]),
            (
                "/*/login",
                &["/a/login"],
                &["/login", "/a/b/login", "/a/login/b", "/a/xlogin"],
            ),
            (
                "/users/{id}",
                &["/users/7"],
                &["/users", "/users/7/x", "/Users/7"],
            ),
            ("/users/{id=*}/x", &["/users/7/x"], &["/users/x"]),
            (
                "/search/**",
                &["/search", "/search/a", "/search/a/b"],
                &["/searching", "/a/search"],
            ),
            ("/**", &["/", "/a", "/a/b"], &[]),
            ("/v/{rest=**}", &["/v", "/v/a/b"], &["/w"]),
            (
                "/videos/{language=lang/*}/*",
                &["/videos/lang/en/v.m4s"],
                &["/videos/lang/en", "/videos/x/en/v"],
            ),
            (
                "/videos/*.m4s",
                &["/videos/1.m4s"],
                &["/videos/.m4s", "/videos/1.mp4", "/videos/a/1.m4s"],
            ),
            ("/**.mpd", &["/a/b.mpd", "/c.mpd"], &["/a/b.mp4"]),
            ("/{a}/{b}.vtt/", &["/x/y.vtt"], &["/x/y"]),
            ("/%6cogin//*", &["/login/x"], &["/login"]),
        ] {
            for path in yes {
                assert!(fits(template, path), "{template} should fit {path}");
            }
            for path in no {
                assert!(!fits(template, path), "{template} should not fit {path}");
            }
        }
    }

    #[test]
    fn a_path_without_operators_is_none() {
        assert_eq!(Template::parse("/login"), Ok(None));
        assert_eq!(Template::parse("/%2A"), Ok(None));
    }

    #[test]
    fn other_forms_are_refused_with_a_remedy() {
        for (template, remedy) in [
            ("login", "begins with /"),
            ("", "begins with /"),
            ("/a?b", "leave out"),
            ("/a#b", "leave out"),
            ("/**/a", "only come last"),
            ("/{x=**}/a", "only come last"),
            ("/v*", "nothing before it"),
            ("/v{id}", "nothing before it"),
            ("/*-*", "once in a segment"),
            ("/***", "once in a segment"),
            ("/{a}*", "once in a segment"),
            ("/{a}{b}", "once in a segment"),
            ("/{a", "without its partner"),
            ("/a}", "without its partner"),
            ("/{}", "is {name}"),
            ("/{=*}", "is {name}"),
            ("/{a=}", "is {name}"),
            ("/{a-b}", "is {name}"),
            ("/{a={b}}", "is {name}"),
            ("/{a}/{a}", "two variables"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.0.contains(remedy), "{template}: {error}");
        }
    }
}
