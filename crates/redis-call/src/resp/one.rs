//! Checks for exactly one command or reply: a second one would be taken for the reply to another call.

use super::{Decoder, Value};

/// The number of bulk strings in `bytes`; `None`: there is anything else in them.
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

/// The single reply in `bytes`; `None`: an incomplete reply, more than one, or invalid bytes.
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
    fn only_sequences_of_bulk_strings_are_counted() {
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
