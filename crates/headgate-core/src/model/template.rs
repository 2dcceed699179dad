//! Envoy's URI templates: `*` and `{id}` for one segment, `**` for the rest.

use super::path::normalise;
use super::pattern::{Case, PatternError};

/// A path with operators, in the forms of Envoy's `uri_template`; [`super::PathPattern::template`] lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    /// The end of every path that matches: excludes most others at once.
    end: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// One segment or several, each with its slash in front.
    Literal(Vec<u8>),
    /// One segment with this end.
    One(Vec<u8>),
    /// The rest of the path, with this end.
    Rest(Vec<u8>),
}

const ONCE: &str =
    "a segment has one operator (*, {id}, **) at most, with nothing before it; otherwise write {regex: …}";

impl Template {
    /// `None` if the text has no operator: it is a plain path.
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
        let mut pieces: Vec<Piece> = Vec::new();
        for segment in path.split(|&b| b == b'/').skip(1) {
            if let Some(Piece::Rest(_)) = pieces.last() {
                return refuse("** matches the rest of a path and must be last");
            }
            match (piece(segment)?, pieces.last_mut()) {
                (Piece::Literal(more), Some(Piece::Literal(literal))) => literal.extend(more),
                (piece, _) => pieces.push(piece),
            }
        }
        let end = match pieces.last() {
            Some(Piece::Literal(end) | Piece::One(end) | Piece::Rest(end)) => end.clone(),
            None => Vec::new(),
        };
        Ok(Some(Template { pieces, end }))
    }

    /// Whether it matches one reading of a path.
    pub fn matches(&self, path: &[u8], case: Case) -> bool {
        if !case.ends_with(path, &self.end) {
            return false;
        }
        let mut rest = if path == b"/" { &[] } else { path };
        for piece in &self.pieces {
            let after = match piece {
                Piece::Literal(literal) => case.strip_prefix(literal, rest),
                Piece::One(end) => after_one(rest, end, case),
                Piece::Rest(end) => return case.ends_with(rest, end),
            };
            match after {
                Some(after @ ([] | [b'/', ..])) => rest = after,
                _ => return false,
            }
        }
        rest.is_empty()
    }
}

/// The path after one segment that has this end and is longer than it.
fn after_one<'a>(path: &'a [u8], end: &[u8], case: Case) -> Option<&'a [u8]> {
    let from = path.strip_prefix(b"/")?;
    let length = from.iter().position(|&b| b == b'/').unwrap_or(from.len());
    let (segment, after) = from.split_at_checked(length)?;
    (segment.len() > end.len() && case.ends_with(segment, end)).then_some(after)
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
            return refuse("has an unpaired brace; write {id} for one segment, or %7B for a brace");
        };
        let (name, pattern) = variable.split_once('=').unwrap_or((variable, "*"));
        let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || !name.bytes().all(valid) || pattern.is_empty() || pattern.contains('{') {
            return refuse("a variable is {name} or {name=pattern}, with letters, digits and _ in its name");
        }
        if names.contains(&name) {
            return refuse("has two variables with the same name; give each its own, or write *");
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

/// One segment, without its slash.
fn piece(segment: &[u8]) -> Result<Piece, PatternError> {
    let (operator, end) = match segment {
        [b'*', b'*', end @ ..] => (Piece::Rest as fn(Vec<u8>) -> Piece, end),
        [b'*', end @ ..] => (Piece::One as fn(Vec<u8>) -> Piece, end),
        literal => (Piece::Literal as fn(Vec<u8>) -> Piece, literal),
    };
    if end.contains(&b'*') {
        return Err(PatternError(ONCE.to_owned()));
    }
    match operator(end.to_vec()) {
        Piece::Literal(literal) => Ok(Piece::Literal([b"/", &literal[..]].concat())),
        piece => Ok(piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(template: &str, path: &str) -> bool {
        Template::parse(template)
            .unwrap()
            .unwrap()
            .matches(path.as_bytes(), Case::Exact)
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
    fn literals_fit_in_any_case_where_it_is_ignored() {
        let fits = |template: &str, path: &str| {
            let template = Template::parse(template).unwrap().unwrap();
            template.matches(path.as_bytes(), Case::Ignored)
                && !template.matches(path.as_bytes(), Case::Exact)
        };
        for (template, path) in [
            ("/users/{id}", "/USERS/7"),
            ("/*/login", "/a/LogIn"),
            ("/search/**", "/Search"),
            ("/videos/*.m4s", "/videos/1.M4S"),
            ("/**.mpd", "/a/b.MPD"),
        ] {
            assert!(
                fits(template, path),
                "{template} should fit {path} where case is ignored alone"
            );
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
            ("/**/a", "must be last"),
            ("/{x=**}/a", "must be last"),
            ("/v*", "nothing before it"),
            ("/v{id}", "nothing before it"),
            ("/*-*", "one operator"),
            ("/***", "one operator"),
            ("/{a}*", "one operator"),
            ("/{a}{b}", "one operator"),
            ("/{a", "unpaired brace"),
            ("/a}", "unpaired brace"),
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
