//! Who is calling: sources tried in order, the first that yields one non-empty value names the client.
//! How many calls a client may make is not decided here.

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

/// One way to tell callers apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Unique; the kind where the configuration gave no name (a header's own name, `-` as `_`, for headers).
    /// Only an address may be called `address`.
    pub name: String,
    pub kind: SourceKind,
    /// A regex with one group over the whole value; its group, without white space around it, is the value. Never on an
    /// address.
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
        /// 0 to 32.
        ipv4_prefix: u8,
        /// 0 to 128.
        ipv6_prefix: u8,
    },
    /// Each part yields a value, or the composite yields none. Its value is its parts', escaped as in a key and
    /// joined by commas: unambiguous, and people can write it (`acme,alice`).
    All(Vec<Source>),
}

/// What names the peer in its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsField {
    UriSan,
    DnsSan,
    Subject,
}
