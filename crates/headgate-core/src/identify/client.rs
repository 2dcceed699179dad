//! Reads the sources of a request, and turns the first value into what may be shown of it: a digest or plain text.

use super::{cut_address, network, ShownAddress};
use super::{each_cookie, narrow, push_escaped, push_part, query_value, trimmed, Attributes, Digest, Hasher};
use super::{Lookup, Source, SourceKind};
use ipnet::IpNet;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// A client, identified by one source. Displays as `source:value` or `source:hash`, without any secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Client {
    /// The source's name.
    pub source: String,
    /// Its index in the policy's `identify`.
    pub index: usize,
    /// The value, without any secret.
    pub value: ClientValue,
}

/// What may be shown of a client's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientValue {
    /// Not a secret: escaped as in a Redis key ([`push_part`]).
    Plain(String),
    /// A secret: its hash.
    Digest(Digest),
    /// The address, cut to the source's prefix.
    Address(IpNet),
}

/// The caller of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The client that a source identifies.
    Client(Client),
    /// No source yields a value.
    Unknown,
    /// The request has several values for the source of this index in `identify`. Only if `on_ambiguous_client` refuses
    /// such requests; otherwise the next source decides.
    Ambiguous(usize),
}

impl Identity {
    /// The client, if it is identified.
    pub fn client(&self) -> Option<&Client> {
        match self {
            Identity::Client(client) => Some(client),
            Identity::Unknown | Identity::Ambiguous(_) => None,
        }
    }

    /// The index in `identify` of the source that decided.
    pub fn source(&self) -> Option<usize> {
        match self {
            Identity::Client(client) => Some(client.index),
            Identity::Ambiguous(index) => Some(*index),
            Identity::Unknown => None,
        }
    }
}

/// Identifies the client by the first source that yields one non-empty value. A source with several values is skipped,
/// or ends the search if `refuse_ambiguous`.
pub fn identify(
    sources: &[Source],
    attributes: &dyn Attributes,
    hasher: &Hasher,
    refuse_ambiguous: bool,
) -> Identity {
    for (index, source) in sources.iter().enumerate() {
        match source.read(attributes, hasher) {
            SourceValue::Value(value) => {
                return Identity::Client(Client {
                    source: source.name.clone(),
                    index,
                    value,
                })
            }
            SourceValue::Ambiguous if refuse_ambiguous => return Identity::Ambiguous(index),
            SourceValue::Ambiguous | SourceValue::Missing => {}
        }
    }
    Identity::Unknown
}

/// The result of reading a source.
enum SourceValue<T> {
    Value(T),
    Missing,
    /// There are several values.
    Ambiguous,
}

impl<T> SourceValue<T> {
    fn map<U>(self, map: impl FnOnce(T) -> U) -> SourceValue<U> {
        match self {
            SourceValue::Value(value) => SourceValue::Value(map(value)),
            SourceValue::Missing => SourceValue::Missing,
            SourceValue::Ambiguous => SourceValue::Ambiguous,
        }
    }
}

impl<T> From<Option<T>> for SourceValue<T> {
    fn from(value: Option<T>) -> SourceValue<T> {
        value.map_or(SourceValue::Missing, SourceValue::Value)
    }
}

impl<'a> From<Lookup<'a>> for SourceValue<Cow<'a, [u8]>> {
    fn from(values: Lookup<'a>) -> SourceValue<Cow<'a, [u8]>> {
        match values {
            Lookup::Several(_) => SourceValue::Ambiguous,
            one => one.value().into(),
        }
    }
}

impl Source {
    /// The client value for a value that an operator wrote, to compare clients with. It is trimmed like a request's.
    /// `None` if the source can never yield it.
    pub fn client_value(&self, value: &str, hasher: &Hasher) -> Option<ClientValue> {
        let value = std::str::from_utf8(trimmed(value.as_bytes())).unwrap_or(value);
        match self.kind {
            SourceKind::Address {
                ipv4_prefix,
                ipv6_prefix,
            } => {
                let (address, own) = match value.parse::<IpAddr>() {
                    Ok(address) => (address, None),
                    Err(_) => network(value).map(|net| (net.addr(), Some(net)))?,
                };
                let cut = cut_address(address, ipv4_prefix, ipv6_prefix)?;
                let fits = own.is_none_or(|net| net == cut);
                fits.then_some(ClientValue::Address(cut))
            }
            _ if value.is_empty() => None,
            _ => Some(self.show(value.as_bytes(), hasher)),
        }
    }

    /// Whether values may be shown. A composite has its own `plain`, independent of its parts.
    pub fn is_plain(&self) -> bool {
        self.plain || matches!(self.kind, SourceKind::Address { .. })
    }

    fn read(&self, attributes: &dyn Attributes, hasher: &Hasher) -> SourceValue<ClientValue> {
        match self.kind {
            SourceKind::Address {
                ipv4_prefix,
                ipv6_prefix,
            } => attributes
                .address()
                .and_then(|address| cut_address(address, ipv4_prefix, ipv6_prefix))
                .map(ClientValue::Address)
                .into(),
            _ => self.text(attributes).map(|text| self.show(&text, hasher)),
        }
    }

    fn show(&self, value: &[u8], hasher: &Hasher) -> ClientValue {
        if !self.is_plain() {
            return ClientValue::Digest(hasher.digest(value));
        }
        let mut shown = Vec::with_capacity(value.len().min(super::LONGEST_PART));
        push_part(&mut shown, value, hasher);
        // Escaped text is ASCII, so nothing is lost.
        ClientValue::Plain(String::from_utf8(shown).unwrap_or_default())
    }

    /// The extracted value as bytes: not empty, and without surrounding white space.
    fn text<'a>(&self, attributes: &'a dyn Attributes) -> SourceValue<Cow<'a, [u8]>> {
        let owned = |value: Vec<u8>| narrow(value.into(), trimmed);
        let value = match &self.kind {
            SourceKind::Header(name) => attributes.header(name).into(),
            SourceKind::Cookie(name) => cookie(attributes, name).into(),
            SourceKind::Query(name) => query(attributes, name).into(),
            SourceKind::Metadata(path) => attributes.metadata(path).map(owned).into(),
            SourceKind::Tls(field) => attributes.tls(*field).map(owned).into(),
            SourceKind::Address {
                ipv4_prefix,
                ipv6_prefix,
            } => attributes
                .address()
                .and_then(|address| cut_address(address, *ipv4_prefix, *ipv6_prefix))
                .map(|net| ShownAddress(net).to_string().into_bytes().into())
                .into(),
            SourceKind::All(parts) => joined(parts, attributes).map(Cow::Owned),
        };
        let SourceValue::Value(value) = value else {
            return value;
        };
        let value = match &self.extract {
            Some(extract) => narrow(value, |value| trimmed(extract.find(value).unwrap_or_default())),
            None => value,
        };
        Some(value).filter(|value| !value.is_empty()).into()
    }
}

/// The values of a cookie, decoded. Several `Cookie` headers are one list.
pub(crate) fn cookie<'a>(attributes: &'a dyn Attributes, name: &str) -> Lookup<'a> {
    let mut found = Lookup::Absent;
    attributes.each_value("cookie", &mut |header| {
        each_cookie(header, name, &mut |value| found.add(value));
    });
    found
}

/// The values of a query parameter, decoded.
pub(crate) fn query<'a>(attributes: &'a dyn Attributes, name: &str) -> Lookup<'a> {
    let mut found = Lookup::Absent;
    attributes.each_value(":path", &mut |target| {
        query_value(target, name, &mut |value| found.add(value));
    });
    found
}

/// The values of all parts, escaped and joined by commas. A missing part outweighs an ambiguous one: the composite has
/// no value then.
fn joined(parts: &[Source], attributes: &dyn Attributes) -> SourceValue<Vec<u8>> {
    let mut out = Vec::new();
    let mut ambiguous = false;
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        match part.text(attributes) {
            SourceValue::Value(value) => push_escaped(&mut out, &value),
            SourceValue::Ambiguous => ambiguous = true,
            SourceValue::Missing => return SourceValue::Missing,
        }
    }
    match ambiguous {
        true => SourceValue::Ambiguous,
        false => SourceValue::Value(out),
    }
}

impl fmt::Display for ClientValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientValue::Plain(text) => f.write_str(text),
            ClientValue::Digest(digest) => digest.fmt(f),
            ClientValue::Address(net) => ShownAddress(*net).fmt(f),
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.value)
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
