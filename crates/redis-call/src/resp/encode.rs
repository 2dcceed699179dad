//! Encodes commands: arrays of bulk strings, appended to the caller's buffer.

/// Appends the header of a command (or any array) with `len` elements.
pub fn array(out: &mut Vec<u8>, len: usize) {
    header(out, b'*', len);
}

/// Appends a bulk string.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends an integer as a bulk string, in decimal.
pub fn bulk_int(out: &mut Vec<u8>, number: impl itoa::Integer) {
    bulk(out, itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a complete command. `args` are its name and its arguments.
pub fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    array(out, args.len());
    for arg in args {
        bulk(out, arg);
    }
}

fn header(out: &mut Vec<u8>, kind: u8, number: usize) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut out = b"before".to_vec();
        command(&mut out, &[b"EVALSHA", b"", b"a\r\nb"]);
        assert_eq!(out, b"before*3\r\n$7\r\nEVALSHA\r\n$0\r\n\r\n$4\r\na\r\nb\r\n");
    }

    #[test]
    fn numbers_are_bulk_strings_with_the_length_of_their_digits() {
        let mut out = Vec::new();
        bulk_int(&mut out, -1_i64);
        bulk_int(&mut out, u64::MAX);
        assert_eq!(out, b"$2\r\n-1\r\n$20\r\n18446744073709551615\r\n");
    }
}
