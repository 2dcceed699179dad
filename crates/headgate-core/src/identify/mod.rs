//! Identifies the client of a request. Sources are tried in order; the first that yields one non-empty value identifies
//! the client. Limits are not decided here.

mod address;
mod attributes;
mod client;
mod digest_cache;
mod escape;
mod extract;
mod hasher;
mod metadata;
mod values;

#[cfg(test)]
pub(crate) use crate::fixtures::FakeRequest;
pub use address::{canonical, cut_address, ShownAddress};
pub(crate) use address::{canonical_net, network};
pub use attributes::{Attributes, Headers, Lookup};
pub(crate) use client::{cookie, query};
pub use client::{identify, Client, ClientValue, Identity};
pub use escape::{push_escaped, push_part, LONGEST_PART};
pub(crate) use extract::whole;
pub use extract::Extract;
pub use hasher::{Digest, DigestError, Hasher};
pub use metadata::metadata_text;
pub use values::{each_cookie, narrow, query_value, trimmed, until};
pub(crate) use values::{escaped_byte, unescaped};

/// One way to identify clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Unique. The default is the kind; for headers, the header's name with `_` for `-`. Only an address source may be
    /// called `address`.
    pub name: String,
    /// What it reads.
    pub kind: SourceKind,
    /// A regex with one group that matches the whole value; the trimmed group is the value. Never on an address.
    pub extract: Option<Extract>,
    /// The values are not secret and may appear in keys and logs.
    pub plain: bool,
}

/// What a source reads.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceKind {
    /// Lower case.
    Header(String),
    /// The cookie of this name.
    Cookie(String),
    /// The query parameter of this name.
    Query(String),
    /// The path within the request's dynamic metadata, the filter's name first.
    Metadata(Vec<String>),
    /// A field of the caller's certificate.
    Tls(TlsField),
    /// The trusted address of the caller, cut to these prefixes.
    Address {
        /// In bits, 0 to 32.
        ipv4_prefix: u8,
        /// In bits, 0 to 128.
        ipv6_prefix: u8,
    },
    /// A composite: it yields a value only if every part does. The parts' values are escaped as in a key and joined by
    /// commas, as in `acme,alice`.
    All(Vec<Source>),
}

/// The certificate field that identifies the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsField {
    /// The first URI in the subject alternative name.
    UriSan,
    /// The first DNS name in the subject alternative name.
    DnsSan,
    /// The subject.
    Subject,
}
