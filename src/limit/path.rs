//! One spelling for each path, so that no other spelling slips past a limit. What a path means is not decided here.

use crate::identify::{hex_pair, push_percent, until};
use std::borrow::Cow;

/// The path of a request target in its one spelling: without query and fragment, unreserved characters decoded,
/// everything that may not stand in a path encoded (in upper case), dot segments resolved (RFC 3986, section
/// 5.2.4), then double slashes merged and a trailing slash dropped; the case kept. It begins with `/` and is ASCII.
///
/// Dots come before slashes, as in Envoy's `normalize_path` and `merge_slashes`: `/a//../b` is `/a/b`.
pub fn normalise(target: &[u8]) -> Cow<'_, [u8]> {
    let path = until(until(target, b'#'), b'?');
    let path = if path.starts_with(b"/") {
        path
    } else {
        after_authority(path)
    };
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    if trimmed.is_empty() {
        return Cow::Borrowed(b"/");
    }
    if is_normal(trimmed) {
        return Cow::Borrowed(trimmed);
    }
    Cow::Owned(merged(resolved(path)))
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

/// Whether nothing is to be done, at the price of one look at each byte; `%` and dotted segments may be in order
/// as well, but need a closer look.
fn is_normal(path: &[u8]) -> bool {
    let mut previous = b'.';
    for &byte in path {
        let fits = match byte {
            b'/' => previous != b'/',
            b'.' => previous != b'/',
            b'%' => false,
            _ => may_stand(byte),
        };
        if !fits {
            return false;
        }
        previous = byte;
    }
    path.starts_with(b"/") && previous != b'/'
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986's `pchar`, without the percent sign.
fn may_stand(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
}

/// Each segment in its one spelling, dot segments resolved; empty segments are segments still.
fn resolved(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len() + 8);
    for segment in path.strip_prefix(b"/").unwrap_or(path).split(|&b| b == b'/') {
        let start = out.len();
        out.push(b'/');
        push_spelled(&mut out, segment);
        match out.get(start..) {
            Some(b"/.") => out.truncate(start),
            Some(b"/..") => {
                out.truncate(start);
                let parent = out.iter().rposition(|&b| b == b'/').unwrap_or(0);
                out.truncate(parent);
            }
            _ => {}
        }
    }
    out
}

fn push_spelled(out: &mut Vec<u8>, segment: &[u8]) {
    let mut at = 0;
    while let Some(&byte) = segment.get(at) {
        at += 1;
        match byte {
            b'%' => match hex_pair(segment.get(at), segment.get(at + 1)) {
                Some(value) => {
                    at += 2;
                    if is_unreserved(value) {
                        out.push(value);
                    } else {
                        push_percent(out, value);
                    }
                }
                // A stray percent sign is one in the text.
                None => push_percent(out, b'%'),
            },
            _ if may_stand(byte) => out.push(byte),
            _ => push_percent(out, byte),
        }
    }
}

/// Double slashes merged, the trailing one dropped.
fn merged(mut path: Vec<u8>) -> Vec<u8> {
    path.dedup_by(|next, previous| *next == b'/' && *previous == b'/');
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
    fn every_spelling_of_a_path_is_the_same_path() {
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
        fn a_normal_path_is_its_own_spelling(bytes: Vec<u8>, text in "[/.%2eEfF6cC?#a*]{0,24}") {
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
