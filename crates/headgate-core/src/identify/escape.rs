//! Escapes values for Redis keys: different values give different keys, every key has exactly one hash tag, and keys
//! are short, whatever the caller sent.

use crate::identify::Hasher;
use percent_encoding::{percent_encode, AsciiSet, CONTROLS};

/// The longest value, in bytes before escaping, that is written to a key without hashing.
pub const LONGEST_PART: usize = 64;

/// Appends one part of a key: `%`, `~`, `:`, `{`, `}`, `,`, `=`, controls and bytes over 7E as `%XX`; a value over
/// [`LONGEST_PART`] as `~` and the 32 hex digits of its hash.
pub fn push_part(out: &mut Vec<u8>, value: &[u8], hasher: &Hasher) {
    if value.len() > LONGEST_PART {
        out.push(b'~');
        out.extend_from_slice(&hasher.digest(value).hex());
    } else {
        push_escaped(out, value);
    }
}

/// Appends the escaped value, however long it is.
pub fn push_escaped(out: &mut Vec<u8>, value: &[u8]) {
    for piece in percent_encode(value, ESCAPED) {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// Every [`AsciiSet`] includes the bytes over 7E.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b'%')
    .add(b'~')
    .add(b':')
    .add(b'{')
    .add(b'}')
    .add(b',')
    .add(b'=');

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(value: &[u8]) -> String {
        let mut out = Vec::new();
        push_part(&mut out, value, &Hasher::new(None));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_would_end_a_part_or_a_tag_is_escaped() {
        assert_eq!(part(b"plain-1_2.3/x y"), "plain-1_2.3/x y");
        assert_eq!(part(b"%~:{},="), "%25%7E%3A%7B%7D%2C%3D");
        assert_eq!(part(b"\0\r\n\x1f\x7f\x80\xff"), "%00%0D%0A%1F%7F%80%FF");
    }

    #[test]
    fn any_long_value_is_hashed() {
        assert_eq!(part(&[b'a'; 64]).len(), 64);
        assert_eq!(part(&[b'a'; 65]), "~635361c48bb9eab14198e76ea8ab7f1a");
        assert_eq!(part(&[b'a'; 60_000]).len(), 33);
    }

    proptest! {
        #[test]
        fn two_values_never_make_the_same_part(a: Vec<u8>, b: Vec<u8>) {
            prop_assert_eq!(a == b, part(&a) == part(&b));
        }
    }
}
