//! Reads values of query parameters and cookies, as pure functions over bytes, and decodes them as servers do. A
//! duplicated name has several values: it is unknown which one the upstream uses.

use percent_encoding::percent_decode;
use std::borrow::Cow;

/// Removes white space at both ends. HTTP knows only spaces and tabs, but upstreams remove more: Python's `strip` takes
/// all white space of Unicode, in text that was UTF-8 or Latin-1.
pub fn trimmed(bytes: &[u8]) -> &[u8] {
    let is_ascii_white = |byte: u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let ascii = cut(bytes, is_ascii_white);
    let is_beyond = |byte: Option<&u8>| byte.is_some_and(|byte| !byte.is_ascii());
    if !is_beyond(ascii.first()) && !is_beyond(ascii.last()) {
        return ascii;
    }
    match std::str::from_utf8(ascii) {
        Ok(text) => text.trim().as_bytes(),
        // NEL and the no-break space of Latin-1.
        Err(_) => cut(ascii, |byte| is_ascii_white(byte) || matches!(byte, 0x85 | 0xa0)),
    }
}

/// Removes such bytes at both ends.
fn cut(bytes: &[u8], is_such: impl Fn(u8) -> bool) -> &[u8] {
    let start = bytes.iter().take_while(|byte| is_such(**byte)).count();
    let rest = bytes.get(start..).unwrap_or_default();
    let end = rest.iter().rev().take_while(|byte| is_such(**byte)).count();
    rest.get(..rest.len() - end).unwrap_or_default()
}

/// Passes each value of a query parameter in a request target (`/path?query#fragment`) to `take`.
///
/// Names and values are read as HTML forms are (WHATWG URL, application/x-www-form-urlencoded): `&` separates,
/// `%XX` is decoded, `+` is a space. So `app%5Fid=a` and `app_id=%61` are the same here, as they are upstream. White
/// space around a value is not part of it.
pub fn query_value<'a>(target: &'a [u8], name: &str, take: &mut dyn FnMut(Cow<'a, [u8]>)) {
    let target = until(target, b'#');
    let Some(start) = target.iter().position(|&b| b == b'?') else {
        return;
    };
    let query = target.get(start + 1..).unwrap_or_default();
    for pair in query.split(|&b| b == b'&') {
        let (key, value) = split_at(pair, b'=');
        if percent_decode(&spaced(key)).eq(name.bytes()) {
            take(narrow(unescaped(spaced(value)), trimmed));
        }
    }
}

/// Passes each value of a cookie in a Cookie header (RFC 6265) to `take`: `;` separates, and names are case-sensitive.
///
/// Double quotes around a value are removed, with `\"`, `\\` and `\ooo` (octal) inside them, then percent-escapes are
/// decoded and white space around it is removed: servers do each of these, and otherwise one session could be written
/// in countless ways. `+` stays a plus.
pub fn each_cookie<'a>(header: &'a [u8], name: &str, take: &mut dyn FnMut(Cow<'a, [u8]>)) {
    for pair in header.split(|&b| b == b';') {
        let (key, value) = split_at(pair, b'=');
        if trimmed(key) != name.as_bytes() {
            continue;
        }
        take(narrow(unescaped(unquoted(trimmed(value))), trimmed));
    }
}

/// A cookie's value without the double quotes around it.
fn unquoted(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
    else {
        return Cow::Borrowed(value);
    };
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    loop {
        rest = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                after
            }
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                out.push(*byte);
                after
            }
            [] => return Cow::Owned(out),
        };
    }
}

/// The bytes before the first `end`.
pub fn until(bytes: &[u8], end: u8) -> &[u8] {
    bytes.split(|&b| b == end).next().unwrap_or_default()
}

/// Narrows a value to a part of itself; without a copy if it is borrowed or unchanged.
pub fn narrow(value: Cow<'_, [u8]>, part: impl FnOnce(&[u8]) -> &[u8]) -> Cow<'_, [u8]> {
    match value {
        Cow::Borrowed(bytes) => Cow::Borrowed(part(bytes)),
        Cow::Owned(bytes) => {
            let part = part(&bytes);
            match part.len() == bytes.len() {
                true => Cow::Owned(bytes),
                false => Cow::Owned(part.to_vec()),
            }
        }
    }
}

/// Both sides of the first `separator`; the second is empty without one.
fn split_at(bytes: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let mut sides = bytes.splitn(2, |&b| b == separator);
    (sides.next().unwrap_or_default(), sides.next().unwrap_or_default())
}

/// Replaces `+` by a space, as in forms; an escaped plus stays escaped.
fn spaced(bytes: &[u8]) -> Cow<'_, [u8]> {
    match bytes.contains(&b'+') {
        true => bytes
            .iter()
            .map(|byte| if *byte == b'+' { b' ' } else { *byte })
            .collect(),
        false => Cow::Borrowed(bytes),
    }
}

/// Decodes percent-escapes; a `%` without two hex digits is kept. Without escapes it does not copy.
pub fn unescaped(value: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match value {
        Cow::Borrowed(bytes) => percent_decode(bytes).into(),
        Cow::Owned(bytes) if bytes.contains(&b'%') => Cow::Owned(percent_decode(&bytes).collect()),
        Cow::Owned(bytes) => Cow::Owned(bytes),
    }
}

/// The byte of the percent-escape in the first three bytes; `None`: not an escape.
pub fn escaped_byte(bytes: &[u8]) -> Option<u8> {
    // Only escapes decode to one byte.
    let mut decoded = percent_decode(bytes.get(..3)?);
    let byte = decoded.next()?;
    decoded.next().is_none().then_some(byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identify::Lookup;
    use proptest::prelude::*;

    fn shown(found: Lookup<'_>) -> String {
        match found {
            Lookup::One(value) => String::from_utf8_lossy(&value).into_owned(),
            Lookup::Absent => "Absent".to_owned(),
            Lookup::Several(values) => format!("Several {}", values.len()),
        }
    }

    fn query(target: &str, name: &str) -> String {
        let mut found = Lookup::Absent;
        query_value(target.as_bytes(), name, &mut |value| found.add(value));
        shown(found)
    }

    fn cookie(header: &str, name: &str) -> String {
        let mut found = Lookup::Absent;
        each_cookie(header.as_bytes(), name, &mut |value| found.add(value));
        shown(found)
    }

    #[test]
    fn a_query_parameter_is_decoded_like_a_form() {
        for (target, expected) in [
            ("/p?app_id=a", "a"),
            ("/p?x=1&app_id=a&y=2", "a"),
            ("/p?app%5fid=%61", "a"),
            ("/p?app_id=a+b%2Bc%2", "a b+c%2"),
            ("/p?app_id=+a%20", "a"),
            ("/p?app_id=%09a%0d%0A", "a"),
            ("/p?app_id=a=b", "a=b"),
            ("/p?app_id=a?b", "a?b"),
            ("/p?app_id=a#app_id=b", "a"),
            ("/p?app_id", ""),
            ("/p?app_id=a&app_id=a", "Several 2"),
            ("/p?app_id=a&%61pp_id=b", "Several 2"),
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
            ("sid=a", "a"),
            ("x=1; sid=a; y=2", "a"),
            ("x=1;sid= a ;y=2", "a"),
            ("sid=a=b", "a=b"),
            ("sid=", ""),
            ("sid", ""),
            ("sid=a; sid=a", "Several 2"),
            ("sid=a; sid", "Several 2"),
            ("SID=a", "Absent"),
            ("xsid=a", "Absent"),
            ("", "Absent"),
        ] {
            assert_eq!(cookie(header, "sid"), expected, "{header}");
        }
    }

    #[test]
    fn a_cookie_is_decoded_as_servers_decode_it() {
        for (header, expected) in [
            ("sid=\"a b\"", "a b"),
            ("sid=\"", "\""),
            ("sid=\"\"", ""),
            ("sid=\"a", "\"a"),
            (r#"sid="\141\"\\b""#, r#"a"\b"#),
            (r#"sid="\x\18""#, "x18"),
            (r#"sid="a\""#, r"a\"),
            (r"sid=\141", r"\141"),
            ("sid=%61%62", "ab"),
            ("sid=%6", "%6"),
            ("sid=%2561", "%61"),
            ("sid=a+b", "a+b"),
            ("sid=%20a%09", "a"),
            ("sid=\" a \"", "a"),
            ("sid=\"%61\"", "a"),
            ("sid=%22a%22", "\"a\""),
        ] {
            assert_eq!(cookie(header, "sid"), expected, "{header}");
        }
    }

    #[test]
    fn a_value_is_cut_to_its_part_borrowed_or_not() {
        for value in [Cow::Borrowed(&b" bc "[..]), Cow::Owned(b" bc ".to_vec())] {
            assert_eq!(&narrow(value.clone(), trimmed)[..], b"bc");
            assert_eq!(&narrow(value, |_| &[])[..], b"");
        }
        assert_eq!(trimmed(b" \t\r\n\x0b\x0c "), b"");
    }

    #[test]
    fn white_space_of_other_encodings_is_trimmed_too() {
        for spelling in [
            &b"K\xa0"[..],
            b"\x85K",
            b" \xa0 K\x85\t",
            "K\u{a0}".as_bytes(),
            "\u{3000}K \u{2003}".as_bytes(),
        ] {
            assert_eq!(trimmed(spelling), b"K", "{spelling:?}");
        }
        for other in ["\u{e0}", "K\u{e0}", "\u{30a0}", "K\u{200b}"] {
            assert_eq!(trimmed(other.as_bytes()), other.as_bytes(), "{other:?}");
        }
        assert_eq!(trimmed(b"\xe0"), b"\xe0");
        assert_eq!(trimmed(b"\xa0\x85"), b"");
    }

    proptest! {
        #[test]
        fn no_bytes_make_them_panic(bytes: Vec<u8>, target in "[/?&=#%+a1]{0,20}", header in "[;= \"\\\\a1%]{0,20}") {
            for input in [&bytes[..], target.as_bytes(), header.as_bytes()] {
                query_value(input, "a", &mut |_| {});
                each_cookie(input, "a", &mut |_| {});
            }
        }
    }
}
