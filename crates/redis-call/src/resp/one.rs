//! Exactly one: where several commands or replies at once would be somebody else's.

use super::{Decoder, Value};

/// How many bulk strings these bytes are, and nothing besides; `None`: they are something else.
pub fn bulks(mut bytes: &[u8]) -> Option<usize> {
    let mut count = 0;
    while !bytes.is_empty() {
        let rest = bytes.strip_prefix(b"$")?;
        let end = rest.iter().position(|byte| *byte == b'\r')?;
        let len: usize = std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()?;
        let body = rest.get(end..)?.strip_prefix(b"\r\n")?;
        bytes = body.get(len..)?.strip_prefix(b"\r\n")?;
        count += 1;
    }
    Some(count)
}

/// The one reply that these bytes are; `None`: a part of one, more than one, or none at all.
pub fn reply(bytes: &[u8]) -> Option<Value> {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    let value = decoder.next().ok()??;
    decoder.is_drained().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_strings_are_counted_and_anything_else_among_them_is_noticed() {
        assert_eq!(bulks(b""), Some(0));
        assert_eq!(bulks(b"$1\r\na\r\n$0\r\n\r\n$4\r\n$\r\n*\r\n"), Some(3));
        for bytes in [
            &b"$1\r\na\r\nX"[..],
            b"$2\r\na\r\n",
            b"$1\r\nab\r\n",
            b"$-1\r\n",
            b"*1\r\n$1\r\na\r\n",
            b"$1\r\na\r\n*1\r\n$4\r\nPING\r\n",
            b"$18446744073709551615\r\n\r\n",
            b"$",
        ] {
            assert_eq!(bulks(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_reply_is_whole_and_alone() {
        assert_eq!(reply(b":1\r\n"), Some(Value::Int(1)));
        for bytes in [&b""[..], b":1", b":1\r\n:2\r\n", b":1\r\n:", b"HTTP/1.1 400\r\n"] {
            assert_eq!(reply(bytes), None, "{}", bytes.escape_ascii());
        }
    }
}
