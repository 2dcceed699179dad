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
