//! Turns secrets into digests, so that no API key is ever written to a Redis key, a log line or a metric.

use super::digest_cache::DigestCache;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

/// What [`Hasher::key_fingerprint`] hashes.
const FINGERPRINT_OF: &[u8] = b"headgate: fingerprint of the hash key";
/// The bits of a fingerprint. Two keys have the same one with a probability of 1 in 4,096.
const FINGERPRINT_BITS: u32 = 12;

/// 128 bits of a secret's HMAC-SHA-256 (SHA-256 without a key); shown as 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The 32 hex digits.
    pub fn hex(&self) -> [u8; 32] {
        let mut hex = [0; 32];
        // Two digits for each byte: they fit.
        let _ = base16ct::lower::encode(&self.0, &mut hex);
        hex
    }

    /// A number from the first eight bytes: the same for the same value, and uniformly distributed over values.
    pub fn draw(&self) -> u64 {
        (u128::from_be_bytes(self.0) >> 64) as u64
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Hex digits are ASCII, so nothing is lost.
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

/// The text is not 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigestError;

impl fmt::Display for DigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a hash is 32 hex digits, as `headgate hash` prints it")
    }
}

impl std::error::Error for DigestError {}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let valid = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = valid.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(|n| Digest(n.to_be_bytes())).ok_or(DigestError)
    }
}

/// Hashes secrets with the operator's key. The key's state is computed once.
#[derive(Clone)]
pub struct Hasher {
    keyed: Option<Hmac<Sha256>>,
    /// Shared by all clones; `None`: no cache.
    known: Option<Rc<RefCell<DigestCache>>>,
}

impl Hasher {
    /// A hasher with this key. Without a key, or with an empty one, guessable values can be found from their digests.
    pub fn new(key: Option<&[u8]>) -> Hasher {
        let key = key.filter(|key| !key.is_empty());
        // HMAC takes keys of any length (RFC 2104), so there is no error.
        let keyed = key.and_then(|key| Hmac::new_from_slice(key).ok());
        Hasher { keyed, known: None }
    }

    /// Adds a cache of the digests of the last few thousand values.
    pub fn remembering(self) -> Hasher {
        Hasher {
            known: Some(Rc::new(RefCell::new(DigestCache::new()))),
            ..self
        }
    }

    /// Whether there is a key, so that only its owner can reproduce digests.
    pub fn is_keyed(&self) -> bool {
        self.keyed.is_some()
    }

    /// A number that is the same for the same key, so that Envoys with different keys are found: 0 without a key,
    /// otherwise from 1 to 4,096.
    ///
    /// It is shown in metrics, so it must not help to guess the key. It has only 12 bits: of a list of guesses, one in
    /// 4,096 fits by chance, so a list of ten thousand common passwords confirms none of them, and a random key of 128
    /// bits keeps 116 unknown ones. More bits would make two different keys look alike more rarely, and confirm a guess.
    pub fn key_fingerprint(&self) -> u64 {
        match self.is_keyed() {
            true => (self.work_out(FINGERPRINT_OF).draw() >> (64 - FINGERPRINT_BITS)) + 1,
            false => 0,
        }
    }

    /// The first 128 bits of the value's HMAC-SHA-256, or of its SHA-256 without a key.
    pub fn digest(&self, value: &[u8]) -> Digest {
        match &self.known {
            Some(known) => known.borrow_mut().digest(value, || self.work_out(value)),
            None => self.work_out(value),
        }
    }

    fn work_out(&self, value: &[u8]) -> Digest {
        let full: [u8; 32] = match &self.keyed {
            Some(keyed) => keyed.clone().chain_update(value).finalize().into_bytes().into(),
            None => <Sha256 as sha2::Digest>::digest(value).into(),
        };
        let mut first = [0; 16];
        first.iter_mut().zip(full).for_each(|(to, from)| *to = from);
        Digest(first)
    }
}

impl fmt::Debug for Hasher {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("keyed", &self.is_keyed()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_key_it_is_the_start_of_sha256() {
        let digest = Hasher::new(None).digest(b"test");
        assert_eq!(digest.to_string(), "9f86d081884c7d659a2feaa0c55ad015");
        assert_eq!(&digest.hex(), b"9f86d081884c7d659a2feaa0c55ad015");
    }

    #[test]
    fn with_a_key_it_is_the_start_of_hmac_sha256() {
        // RFC 4231, test case 2.
        let digest = Hasher::new(Some(b"Jefe")).digest(b"what do ya want for nothing?");
        assert_eq!(digest.to_string(), "5bdcc146bf60754e6a042426089575c7");
    }

    #[test]
    fn an_empty_key_is_no_key() {
        assert!(!Hasher::new(Some(b"")).is_keyed());
        assert!(Hasher::new(Some(b"k")).is_keyed());
    }

    #[test]
    fn a_digest_reads_back_what_it_shows_and_nothing_else() {
        let digest = Hasher::new(Some(b"k")).digest(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.to_string().to_uppercase().parse(), Ok(digest));
        for wrong in [
            "",
            "9f86",
            "+f86d081884c7d659a2feaa0c55ad015",
            "9f86d081884c7d659a2feaa0c55ad01g",
            "9f86d081884c7d659a2feaa0c55ad0155",
        ] {
            assert_eq!(wrong.parse::<Digest>(), Err(DigestError), "{wrong}");
        }
    }

    #[test]
    fn a_key_has_one_fingerprint_and_few_bits_of_it() {
        let of = |key: &[u8]| Hasher::new(Some(key)).key_fingerprint();
        assert_eq!(Hasher::new(None).key_fingerprint(), 0);
        assert_eq!(of(b""), 0);
        assert_eq!(of(b"k"), of(b"k"));
        // HMAC-SHA-256 of the text above with this key begins with 11a.
        assert_eq!(of(b"k"), 0x11a + 1);
        let all: std::collections::BTreeSet<u64> = (0..20_000_u32).map(|n| of(&n.to_be_bytes())).collect();
        assert!(all.iter().all(|one| (1..=4_096).contains(one)));
        assert!(all.len() > 4_000, "{} of 4,096", all.len());
    }

    #[test]
    fn the_key_is_not_shown() {
        assert_eq!(
            format!("{:?}", Hasher::new(Some(b"secret"))),
            "Hasher { keyed: true }"
        );
    }
}
