//! The canonical spelling of a path, in which patterns are compared. The other readings of a path are in
//! [`super::readings`].

use crate::identify::escaped_byte;
use percent_encoding::percent_encode_byte;
use std::borrow::Cow;

/// The path of a request target in its canonical spelling: without query and fragment, unreserved characters decoded,
/// everything that may not occur in a path encoded (in upper case), dot segments resolved (RFC 3986, section
/// 5.2.4), then double slashes merged and a trailing slash dropped; the case kept. It begins with `/` and is ASCII.
///
/// Dots come before slashes, as in Envoy's `normalize_path` and `merge_slashes`: `/a//../b` is `/a/b`.
pub fn normalise(target: &[u8]) -> Cow<'_, [u8]> {
    canonical(path_of(target)).0
}

/// The path of a request target as it was sent: without query and fragment, and without scheme and authority.
pub(crate) fn path_of(target: &[u8]) -> &[u8] {
    let end = target.iter().position(|byte| matches!(byte, b'?' | b'#'));
    let path = end.and_then(|end| target.get(..end)).unwrap_or(target);
    match path.starts_with(b"/") {
        true => path,
        false => after_authority(path),
    }
}

/// The canonical spelling of a path, and whether every server reads the path so: it has no `%`, `;`, `\`, `//` or `/.`.
pub(crate) fn canonical(path: &[u8]) -> (Cow<'_, [u8]>, bool) {
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    if trimmed.is_empty() {
        return (Cow::Borrowed(b"/"), true);
    }
    let (is_canonical, is_plain) = look(trimmed);
    let canonical = match is_canonical {
        true => Cow::Borrowed(trimmed),
        false => Cow::Owned(without_trailing_slash(merged(resolved(&spelled(
            path, &CANONICAL,
        ))))),
    };
    (canonical, is_plain && !trimmed.ends_with(b"/"))
}

/// The path of an absolute target (`http://host/path`); other targets as they are.
fn after_authority(target: &[u8]) -> &[u8] {
    let Some(scheme) = target.windows(3).position(|w| w == b"://") else {
        return target;
    };
    let rest = target.get(scheme + 3..).unwrap_or_default();
    let slash = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
    rest.get(slash..).unwrap_or_default()
}

/// Whether a path is canonical, and whether it is plain, in one pass over its bytes. `%` and segments that begin with a
/// dot may be canonical as well, but need the full check.
fn look(path: &[u8]) -> (bool, bool) {
    let mut previous = b'.';
    let mut all = 0;
    for &byte in path {
        let class = CLASSES.get(usize::from(byte)).copied().unwrap_or(ENCODED);
        all |= class & !DIVIDES;
        if class & DIVIDES != 0 && previous == b'/' {
            all |= NOT_PLAIN | ENCODED;
        }
        previous = byte;
    }
    let is_canonical = all & ENCODED == 0 && path.starts_with(b"/") && previous != b'/';
    (is_canonical, all & NOT_PLAIN == 0)
}

/// A character that is not in a canonical path as it is.
const ENCODED: u8 = 1;
/// A character that not all servers read alike.
const NOT_PLAIN: u8 = 2;
/// A slash or a dot: not all servers read it alike behind a slash.
const DIVIDES: u8 = 4;

/// Of each byte.
#[allow(clippy::indexing_slicing)] // while compiling
const CLASSES: [u8; 256] = {
    let mut classes = [ENCODED; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'/' | b'.' => DIVIDES,
            b'%' | b'\\' => ENCODED | NOT_PLAIN,
            b';' => NOT_PLAIN,
            other if is_path_character(other) => 0,
            _ => ENCODED,
        };
        byte += 1;
    }
    classes
};

pub(crate) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986's `pchar`, without the percent sign.
const fn is_path_character(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
}

/// How the characters of a path are read, before its segments are looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spelling {
    pub decode: Decode,
    /// `\` is a slash.
    pub backslash: bool,
    pub parameters: Parameters,
}

/// Which percent-escapes are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decode {
    Nothing,
    /// Those of unreserved characters.
    Unreserved,
    /// All, those of `/`, `\` and `;` too.
    All,
}

/// What follows a `;` in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parameters {
    /// Part of the segment.
    Kept,
    /// Removed, also where the `;` or the end of the segment was a percent-escape.
    Removed,
    /// Removed before anything is decoded: only a literal `;` begins them, and only a literal slash ends them.
    RemovedFirst,
}

pub(crate) const CANONICAL: Spelling = Spelling {
    decode: Decode::Unreserved,
    backslash: false,
    parameters: Parameters::Kept,
};

/// A path with every character in its one spelling, and a slash in front. Its segments are as they were.
pub(crate) fn spelled(path: &[u8], how: &Spelling) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 8);
    let has_slash = path.starts_with(b"/") || (how.backslash && path.starts_with(b"\\"));
    if !has_slash {
        out.push(b'/');
    }
    let mut in_parameters = false;
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match first {
            b'%' => escaped_byte(rest),
            _ => None,
        };
        rest = match escaped {
            Some(_) => after.get(2..).unwrap_or_default(),
            None => after,
        };
        // A kept escape is a character of the segment; a stray percent sign is a literal one.
        let (byte, stays) = match escaped {
            Some(byte) => match how.decode {
                Decode::Nothing => (byte, true),
                Decode::Unreserved => (byte, !is_unreserved(byte)),
                Decode::All => (byte, false),
            },
            None => (first, false),
        };
        let divides = escaped.is_none() || how.parameters != Parameters::RemovedFirst;
        let is_slash = !stays && (byte == b'/' || (byte == b'\\' && how.backslash));
        match byte {
            _ if is_slash && (divides || !in_parameters) => {
                in_parameters = false;
                out.push(b'/');
            }
            _ if in_parameters => {}
            b';' if !stays && divides && how.parameters != Parameters::Kept => in_parameters = true,
            _ if !stays && is_path_character(byte) => out.push(byte),
            _ => out.extend_from_slice(percent_encode_byte(byte).as_bytes()),
        }
    }
    out
}

/// Resolves dot segments; empty segments count as segments.
pub(crate) fn resolved(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    for segment in path.strip_prefix(b"/").unwrap_or(path).split(|&b| b == b'/') {
        match segment {
            b"." => {}
            b".." => {
                let parent = out.iter().rposition(|&b| b == b'/').unwrap_or(0);
                out.truncate(parent);
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    out
}

/// Double slashes merged.
pub(crate) fn merged(mut path: Vec<u8>) -> Vec<u8> {
    path.dedup_by(|next, previous| *next == b'/' && *previous == b'/');
    path
}

/// One trailing slash dropped; the root is `/`.
pub(crate) fn without_trailing_slash(mut path: Vec<u8>) -> Vec<u8> {
    if path.ends_with(b"/") {
        path.pop();
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spelled(target: &str) -> String {
        String::from_utf8(normalise(target.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn the_spellings_of_a_path_have_one_canonical_form() {
        for spelling in [
            "/login",
            "/login/",
            "//login",
            "/%6cogin",
            "/%6Cogin",
            "/./login",
            "/a/../login",
            "/a/%2e%2E/login",
            "/../login",
            "/login/.",
            "/login/a/..",
            "/login?x",
            "/login#x",
            "/login#x?y",
            "/login/?x=/a/../b",
            "login",
            "http://example.com/login",
        ] {
            assert_eq!(spelled(spelling), "/login", "{spelling}");
        }
    }

    #[test]
    fn different_paths_stay_different() {
        for (target, expected) in [
            ("/", "/"),
            ("", "/"),
            ("?x", "/"),
            ("//", "/"),
            ("/..", "/"),
            ("http://example.com", "/"),
            ("/Login", "/Login"),
            ("/%2flogin", "/%2Flogin"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a;b=c,d:@!$&'()*+", "/a;b=c,d:@!$&'()*+"),
            ("/a%3Bb", "/a%3Bb"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/..."),
            ("/a//../b", "/a/b"),
            ("/a b{c}", "/a%20b%7Bc%7D"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/100%", "/100%25"),
            ("/%%36c", "/%256c"),
            ("/%zz%0", "/%25zz%250"),
            ("/\0\r\n", "/%00%0D%0A"),
            ("*", "/*"),
        ] {
            assert_eq!(spelled(target), expected, "{target:?}");
        }
    }

    #[test]
    fn an_ordinary_path_is_not_copied() {
        for target in ["/api/v1/users/7?x=y", "/login/", "/"] {
            assert!(
                matches!(normalise(target.as_bytes()), Cow::Borrowed(_)),
                "{target}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_canonical_path_is_its_own_spelling(bytes: Vec<u8>, text in "[/.%2eEfF6cC?#a*]{0,24}") {
            for input in [&bytes[..], text.as_bytes()] {
                let once = normalise(input).into_owned();
                prop_assert!(once.starts_with(b"/") && once.is_ascii());
                prop_assert!(once.len() == 1 || !once.ends_with(b"/"));
                prop_assert!(!once.windows(2).any(|w| w == b"//"));
                prop_assert!(!once.split(|&b| b == b'/').any(|s| s == b"." || s == b".."));
                prop_assert_eq!(&normalise(&once)[..], &once[..]);
            }
        }
    }
}
