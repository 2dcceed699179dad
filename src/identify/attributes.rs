//! What the core may ask of a request. The shell implements it on the proxy-wasm host, tests on a struct.

use crate::identify::TlsField;
use std::borrow::Cow;
use std::net::IpAddr;

/// The values of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<'a> {
    Absent,
    One(Cow<'a, [u8]>),
    /// The header came more than once: no single value can be told.
    Several,
}

impl<'a> Lookup<'a> {
    /// The one value that is there and not empty.
    pub fn value(self) -> Option<Cow<'a, [u8]>> {
        match self {
            Lookup::One(value) if !value.is_empty() => Some(value),
            _ => None,
        }
    }
}

/// A request as Envoy sees it. Every value is bytes: callers send what they like.
pub trait Attributes {
    /// `name` is lower case; pseudo headers (`:path`, `:method`, `:authority`) are headers here.
    fn header(&self, name: &str) -> Lookup<'_>;
    /// The address that Envoy trusts by its own X-Forwarded-For rules, without a port.
    fn address(&self) -> Option<IpAddr>;
    /// A string (or number, as text) in the request's dynamic metadata.
    fn metadata(&self, path: &[String]) -> Option<Vec<u8>>;
    /// From the peer's verified certificate.
    fn tls(&self, field: TlsField) -> Option<Vec<u8>>;
    /// Envoy's name of the route.
    fn route(&self) -> Option<Vec<u8>>;
}

/// A request made up for a test.
#[cfg(test)]
#[derive(Debug, Clone, Default)]
pub struct FakeRequest {
    pub headers: Vec<(String, Vec<u8>)>,
    pub address: Option<IpAddr>,
    pub metadata: Vec<(Vec<String>, Vec<u8>)>,
    pub tls: Vec<(TlsField, Vec<u8>)>,
    pub route: Option<Vec<u8>>,
}

#[cfg(test)]
impl FakeRequest {
    /// From one address, with these headers.
    pub fn new(address: &str, headers: &[(&str, &str)]) -> FakeRequest {
        FakeRequest {
            address: address.parse().ok(),
            ..Default::default()
        }
        .with(headers)
    }

    pub fn with(mut self, headers: &[(&str, &str)]) -> FakeRequest {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        self.headers.extend(headers);
        self
    }
}

#[cfg(test)]
impl Attributes for FakeRequest {
    fn header(&self, name: &str) -> Lookup<'_> {
        let mut values = self
            .headers
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Lookup::Absent,
            (Some(value), None) => Lookup::One(Cow::Borrowed(value)),
            _ => Lookup::Several,
        }
    }

    fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn metadata(&self, path: &[String]) -> Option<Vec<u8>> {
        let found = self.metadata.iter().find(|(p, _)| p == path);
        found.map(|(_, value)| value.clone())
    }

    fn tls(&self, field: TlsField) -> Option<Vec<u8>> {
        let found = self.tls.iter().find(|(f, _)| *f == field);
        found.map(|(_, value)| value.clone())
    }

    fn route(&self) -> Option<Vec<u8>> {
        self.route.clone()
    }
}
