//! Who is calling: sources tried in order, the first that yields one non-empty value names the client.

mod attributes;

pub use attributes::{Attributes, Lookup};

/// 128 bits of a secret's HMAC-SHA-256 (SHA-256 without a key); shown as 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 16]);

/// One way to tell callers apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Unique; the kind where the configuration gave no name (a header's own name, `-` as `_`, for headers).
    pub name: String,
    pub kind: SourceKind,
    /// A regex with one group over the whole value; its group is the value.
    pub extract: Option<Extract>,
    /// The values are no secret and may stand in keys and logs as they are.
    pub plain: bool,
}

/// Where a source reads.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceKind {
    /// Lower case.
    Header(String),
    Cookie(String),
    Query(String),
    /// The path within the request's dynamic metadata, the filter's name first.
    Metadata(Vec<String>),
    Tls(TlsField),
    Address {
        ipv4_prefix: u8,
        ipv6_prefix: u8,
    },
    /// Each part yields a value, or the composite yields none.
    All(Vec<Source>),
}

/// What names the peer in its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsField {
    UriSan,
    DnsSan,
    Subject,
}

/// A compiled `extract`.
#[derive(Debug, Clone)]
pub struct Extract {
    text: String,
}

impl Extract {
    /// The error is for the person who wrote the regex and names the remedy.
    pub fn parse(text: &str) -> Result<Extract, String> {
        Ok(Extract {
            text: text.to_owned(),
        })
    }
}

impl PartialEq for Extract {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
