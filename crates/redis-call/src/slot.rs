//! Redis Cluster's hash slots: which of the 16,384 slots a key belongs to. Which node serves a slot is decided in
//! `streams::slot_map`.

use crc::{Crc, CRC_16_XMODEM};

/// The checksum of the Redis Cluster specification, appendix A ("CRC16/XMODEM", polynomial 0x1021), with a table
/// of 512 bytes that is made at compile time.
static CRC16: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// A hash slot: 0 to 16,383.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashSlot(u16);

impl HashSlot {
    /// The number of slots.
    pub const COUNT: u16 = 16_384;

    /// The slot of a key. Redis hashes the text between the first `{` and the next `}` if it is not empty, else the whole
    /// key (Redis Cluster specification, "Hash tags").
    pub fn of(key: &[u8]) -> HashSlot {
        HashSlot(CRC16.checksum(hash_tag(key)) % Self::COUNT)
    }

    /// The number of the slot, 0 to 16,383.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// The part of a key that is hashed.
fn hash_tag(key: &[u8]) -> &[u8] {
    let tag = key.iter().position(|&b| b == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        rest.get(..rest.iter().position(|&b| b == b'}')?)
    });
    match tag {
        Some(tag) if !tag.is_empty() => tag,
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_specifications() {
        assert_eq!(CRC16.checksum(b"123456789"), 0x31c3);
    }

    #[test]
    fn hash_tags_are_those_of_the_specifications_examples() {
        for (key, tag) in [
            ("{user1000}.following", "user1000"),
            ("{user1000}.followers", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
        ] {
            assert_eq!(hash_tag(key.as_bytes()), tag.as_bytes(), "{key}");
        }
    }

    /// Answers of `CLUSTER KEYSLOT` on Redis 7.0.15.
    #[test]
    fn slots_are_those_that_redis_computes() {
        let recorded: [(&[u8], u16); 24] = [
            (b"123456789", 12739),
            (b"foo", 12182),
            (b"somekey", 11058),
            (b"{user1000}.following", 3443),
            (b"{user1000}.followers", 3443),
            (b"foo{}{bar}", 8363),
            (b"foo{{bar}}zap", 4015),
            (b"foo{bar}{zap}", 5061),
            (b"{", 4092),
            (b"}", 12090),
            (b"{}", 15257),
            (b"{}x", 10595),
            (b"a{", 14311),
            (b"a}b{c", 13587),
            (b"a}b{c}d", 7365),
            (b"", 0),
            (b"{b}", 3300),
            (b"b", 3300),
            ("äöü".as_bytes(), 4805),
            (b"\x01\xff", 11713),
            (b"ratelimit:main:{api_key:9f86d081884c7d659a2feaa0c55ad015}", 8660),
            (b"api_key:9f86d081884c7d659a2feaa0c55ad015", 8660),
            (b"ratelimit:main:{address:203.0.113.7}:login:ring:60000", 7095),
            (b"ratelimit:main:{address:2001%3Adb8%3A%3A/64}", 11398),
        ];
        for (key, slot) in recorded {
            assert_eq!(HashSlot::of(key).get(), slot, "{}", key.escape_ascii());
        }
    }
}
