//! Reads the sources of a request and makes of the first value what may be shown of it: a digest, or plain text.

use super::{cookie_value, narrow, push_escaped, push_part, query_value, Attributes, Digest, Hasher};
use super::{Source, SourceKind};
use ipnet::IpNet;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// A caller, told apart by one source. Shown as `source:value or hash`, without any secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Client {
    /// The source's name.
    pub source: String,
    /// Its index in the policy's `identify`.
    pub index: usize,
    pub value: ClientValue,
}

/// What may be shown of a client's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientValue {
    /// No secret: escaped as it stands in a key ([`push_part`]).
    Plain(String),
    Digest(Digest),
    /// The address, cut to the source's prefix.
    Address(IpNet),
}

/// The client by the first source that yields one non-empty value.
pub fn identify(sources: &[Source], attributes: &dyn Attributes, hasher: &Hasher) -> Option<Client> {
    sources.iter().enumerate().find_map(|(index, source)| {
        Some(Client {
            source: source.name.clone(),
            index,
            value: source.read(attributes, hasher)?,
        })
    })
}

/// `10.0.0.0/8`, `2001:db8::/32`; bits beyond the prefix are kept. (The crate's own reader brings one of addresses.)
pub(crate) fn network(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    let is_number = prefix.len() <= 3 && !prefix.starts_with('+');
    let prefix = prefix.parse().ok().filter(|_| is_number)?;
    IpNet::new(address.parse().ok()?, prefix).ok()
}

/// An IPv4-mapped IPv6 address is IPv4; what is beyond the prefix is cut off.
pub(crate) fn cut_address(address: IpAddr, ipv4_prefix: u8, ipv6_prefix: u8) -> Option<IpNet> {
    let address = address.to_canonical();
    let prefix = if address.is_ipv4() {
        ipv4_prefix
    } else {
        ipv6_prefix
    };
    IpNet::new(address, prefix).ok().map(|net| net.trunc())
}

/// An address or a prefix as it is shown: without the prefix's length where that is the whole address.
pub(crate) struct ShownAddress(pub IpNet);

impl fmt::Display for ShownAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl Source {
    /// What a client of this source with this value would be; to compare with, for values that an operator wrote.
    /// `None` where the source cannot yield it.
    pub fn client_value(&self, value: &str, hasher: &Hasher) -> Option<ClientValue> {
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

    /// Whether values may be shown; a composite says so itself, whatever its parts say.
    pub fn is_plain(&self) -> bool {
        self.plain || matches!(self.kind, SourceKind::Address { .. })
    }

    fn read(&self, attributes: &dyn Attributes, hasher: &Hasher) -> Option<ClientValue> {
        match self.kind {
            SourceKind::Address {
                ipv4_prefix,
                ipv6_prefix,
            } => cut_address(attributes.address()?, ipv4_prefix, ipv6_prefix).map(ClientValue::Address),
            _ => Some(self.show(&self.text(attributes)?, hasher)),
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

    /// The value as bytes, extracted; never empty.
    fn text<'a>(&self, attributes: &'a dyn Attributes) -> Option<Cow<'a, [u8]>> {
        let value = match &self.kind {
            SourceKind::Header(name) => attributes.header(name).value()?,
            SourceKind::Cookie(name) => cookie(attributes, name)?,
            SourceKind::Query(name) => query(attributes, name)?,
            SourceKind::Metadata(path) => attributes.metadata(path)?.into(),
            SourceKind::Tls(field) => attributes.tls(*field)?.into(),
            SourceKind::Address {
                ipv4_prefix,
                ipv6_prefix,
            } => {
                let net = cut_address(attributes.address()?, *ipv4_prefix, *ipv6_prefix)?;
                ShownAddress(net).to_string().into_bytes().into()
            }
            SourceKind::All(parts) => joined(parts, attributes)?.into(),
        };
        let value = match &self.extract {
            Some(extract) => {
                let range = extract.find(&value)?;
                narrow(value, range)?
            }
            None => value,
        };
        (!value.is_empty()).then_some(value)
    }
}

/// A cookie's value, not empty; none where the cookie or the header comes twice.
pub(crate) fn cookie<'a>(attributes: &'a dyn Attributes, name: &str) -> Option<Cow<'a, [u8]>> {
    let header = attributes.header("cookie").value()?;
    let range = cookie_value(&header, name).filter(|range| !range.is_empty())?;
    narrow(header, range)
}

/// A query parameter's value, decoded and not empty; none where the parameter comes twice.
pub(crate) fn query<'a>(attributes: &'a dyn Attributes, name: &str) -> Option<Cow<'a, [u8]>> {
    match attributes.header(":path").value()? {
        Cow::Borrowed(target) => query_value(target, name).value(),
        Cow::Owned(target) => query_value(&target, name)
            .value()
            .map(|value| Cow::Owned(value.into_owned())),
    }
}

/// All parts' values, escaped and joined by commas.
fn joined(parts: &[Source], attributes: &dyn Attributes) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push_escaped(&mut out, &part.text(attributes)?);
    }
    Some(out)
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
