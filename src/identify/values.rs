//! Single values out of a query and a Cookie header, as pure functions over bytes. A name that comes twice has no
//! value: nobody can tell which one the upstream takes.

use crate::identify::Lookup;
use std::borrow::Cow;
use std::ops::Range;

/// The value of a query parameter in a request target (`/path?query#fragment`).
///
/// Names and values are read as HTML forms are (WHATWG URL, application/x-www-form-urlencoded): `&` separates,
/// `%XX` is decoded, `+` is a space. So `app%5Fid=a` and `app_id=%61` are the same here, as they are upstream.
pub fn query_value<'a>(target: &'a [u8], name: &str) -> Lookup<'a> {
    let target = until(target, b'#');
    let Some(start) = target.iter().position(|&b| b == b'?') else {
        return Lookup::Absent;
    };
    let query = target.get(start + 1..).unwrap_or_default();
    let pairs = query.split(|&b| b == b'&').map(|pair| split_at(pair, b'='));
    let mut values = pairs
        .filter(|(n, _)| decoded(n).eq(name.bytes()))
        .map(|(_, value)| value);
    match (values.next(), values.next()) {
        (None, _) => Lookup::Absent,
        (Some(value), None) if value.iter().any(|b| matches!(b, b'%' | b'+')) => {
            Lookup::One(Cow::Owned(decoded(value).collect()))
        }
        (Some(value), None) => Lookup::One(Cow::Borrowed(value)),
        _ => Lookup::Several,
    }
}

/// Where in a Cookie header the cookie's value stands; `None` also where the cookie comes twice.
///
/// As RFC 6265 has it: `;` separates, names in their case, a value may stand in double quotes. A value with a
/// backslash is none: servers that unescape it would let one session be written in countless ways.
pub fn cookie_value(header: &[u8], name: &str) -> Option<Range<usize>> {
    let mut start = 0;
    let mut found = None;
    for pair in header.split(|&b| b == b';') {
        let (key, value) = split_at(pair, b'=');
        if key.trim_ascii() == name.as_bytes() {
            if found.is_some() {
                return None;
            }
            let value_start =
                start + pair.len() - value.len() + (value.len() - value.trim_ascii_start().len());
            found = Some((value_start, value.trim_ascii()));
        }
        start += pair.len() + 1;
    }
    let (start, value) = found?;
    let bare = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
    let start = start + usize::from(bare.is_some());
    let value = bare.unwrap_or(value);
    (!value.contains(&b'\\')).then(|| start..start + value.len())
}

/// What stands before the first `end`.
pub fn until(bytes: &[u8], end: u8) -> &[u8] {
    bytes.split(|&b| b == end).next().unwrap_or_default()
}

/// Cuts a value to a range of itself, without a copy.
pub fn narrow(value: Cow<'_, [u8]>, range: Range<usize>) -> Option<Cow<'_, [u8]>> {
    match value {
        Cow::Borrowed(bytes) => bytes.get(range).map(Cow::Borrowed),
        Cow::Owned(mut bytes) => {
            bytes.get(range.clone())?;
            bytes.truncate(range.end);
            bytes.drain(..range.start);
            Some(Cow::Owned(bytes))
        }
    }
}

/// The value of two hex digits.
pub fn hex_pair(high: Option<&u8>, low: Option<&u8>) -> Option<u8> {
    let digit = |byte: Option<&u8>| (*byte? as char).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// Both sides of the first `separator`; the second is empty where there is none.
fn split_at(bytes: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let mut sides = bytes.splitn(2, |&b| b == separator);
    (sides.next().unwrap_or_default(), sides.next().unwrap_or_default())
}

/// Form decoding; a `%` without two hex digits stays as it is.
fn decoded(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *bytes.get(at)?;
        at += 1;
        match byte {
            b'+' => Some(b' '),
            b'%' => match hex_pair(bytes.get(at), bytes.get(at + 1)) {
                Some(value) => {
                    at += 2;
                    Some(value)
                }
                None => Some(b'%'),
            },
            _ => Some(byte),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(target: &str, name: &str) -> String {
        match query_value(target.as_bytes(), name) {
            Lookup::One(value) => String::from_utf8_lossy(&value).into_owned(),
            other => format!("{other:?}"),
        }
    }

    fn cookie<'a>(header: &'a str, name: &str) -> Option<&'a str> {
        cookie_value(header.as_bytes(), name).map(|range| &header[range])
    }

    #[test]
    fn a_query_parameter_is_decoded_like_a_form() {
        for (target, expected) in [
            ("/p?app_id=a", "a"),
            ("/p?x=1&app_id=a&y=2", "a"),
            ("/p?app%5fid=%61", "a"),
            ("/p?app_id=a+b%2Bc%2", "a b+c%2"),
            ("/p?app_id=a=b", "a=b"),
            ("/p?app_id=a?b", "a?b"),
            ("/p?app_id=a#app_id=b", "a"),
            ("/p?app_id", ""),
            ("/p?app_id=a&app_id=a", "Several"),
            ("/p?app_id=a&%61pp_id=b", "Several"),
            ("/p?App_Id=a", "Absent"),
            ("/p#?app_id=a", "Absent"),
            ("/app_id=a", "Absent"),
        ] {
            assert_eq!(query(target, "app_id"), expected, "{target}");
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_exact_name() {
        for (header, expected) in [
            ("sid=a", Some("a")),
            ("x=1; sid=a; y=2", Some("a")),
            ("x=1;sid= a ;y=2", Some("a")),
            ("sid=\"a b\"", Some("a b")),
            ("sid=a=b", Some("a=b")),
            ("sid=\"", Some("\"")),
            ("sid=", Some("")),
            ("sid", Some("")),
            ("sid=\"\\141\"", None),
            ("sid=a; sid=a", None),
            ("SID=a", None),
            ("xsid=a", None),
            ("", None),
        ] {
            assert_eq!(cookie(header, "sid"), expected, "{header}");
        }
    }

    #[test]
    fn narrowing_keeps_what_is_in_range_and_refuses_what_is_not() {
        for value in [Cow::Borrowed(&b"abc"[..]), Cow::Owned(b"abc".to_vec())] {
            assert_eq!(narrow(value.clone(), 1..3).as_deref(), Some(&b"bc"[..]));
            assert_eq!(narrow(value, 1..4), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_them_panic(bytes: Vec<u8>, target in "[/?&=#%+a1]{0,20}", header in "[;= \"\\\\a]{0,20}") {
            for input in [&bytes[..], target.as_bytes(), header.as_bytes()] {
                query_value(input, "a");
                if let Some(range) = cookie_value(input, "a") {
                    prop_assert!(input.get(range).is_some());
                }
            }
        }
    }
}
