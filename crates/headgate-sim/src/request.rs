//! A request in memory, as test code and the native command use it.

use headgate_core::engine::{Exchange, Response};
use headgate_core::headers::Header;
use headgate_core::identify::{Attributes, Headers, TlsField};
use std::net::IpAddr;

/// The attributes of a request, and the changes that the engine makes to it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Headers with names in lower case, including pseudo headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The trusted address of the caller.
    pub address: Option<IpAddr>,
    /// Dynamic metadata: the keys of the path joined by dots, and the value.
    pub metadata: Vec<(String, String)>,
    /// Fields of the caller's certificate.
    pub tls: Vec<(TlsField, String)>,
    /// The name of the route.
    pub route: Option<String>,
    /// The filter state that the engine has set.
    pub filter_state: Vec<(String, Vec<u8>)>,
}

impl Request {
    /// A request with these pseudo headers and nothing else.
    pub fn new(method: &str, target: &str, host: &str) -> Request {
        let mut request = Request::default();
        for (name, value) in [(":method", method), (":path", target), (":authority", host)] {
            request.push(name, value);
        }
        request
    }

    /// Adds a header; `name` in lower case.
    pub fn push(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
    }

    /// A value of the filter state as text, or an empty text.
    pub fn state(&self, name: &str) -> &str {
        let found = self.filter_state.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| std::str::from_utf8(value).unwrap_or_default())
    }
}

impl Headers for Request {
    fn each_value<'a>(&'a self, name: &str, take: &mut dyn FnMut(&'a [u8])) {
        let named = self.headers.iter().filter(|(known, _)| known == name);
        named.for_each(|(_, value)| take(value));
    }

    fn each_header<'a>(&'a self, take: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        self.headers
            .iter()
            .for_each(|(name, value)| take(name.as_bytes(), value));
    }
}

impl Attributes for Request {
    fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn metadata(&self, path: &[String]) -> Option<Vec<u8>> {
        let path = path.join(".");
        let found = self.metadata.iter().find(|(known, _)| *known == path);
        found.map(|(_, value)| value.clone().into_bytes())
    }

    fn tls(&self, field: TlsField) -> Option<Vec<u8>> {
        let found = self.tls.iter().find(|(known, _)| *known == field);
        found.map(|(_, value)| value.clone().into_bytes())
    }

    fn route(&self) -> Option<Vec<u8>> {
        self.route.clone().map(String::into_bytes)
    }
}

impl Exchange for Request {
    fn filter_state(&self, name: &str) -> Option<Vec<u8>> {
        let found = self.filter_state.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    }

    fn set_filter_state(&mut self, name: &str, value: &[u8]) {
        self.filter_state.retain(|(known, _)| known != name);
        self.filter_state.push((name.to_owned(), value.to_vec()));
    }

    fn set_header(&mut self, header: &Header) {
        self.remove_header(header.0);
        self.add_header(header);
    }

    fn add_header(&mut self, header: &Header) {
        self.push(header.0, &header.1.to_string());
    }

    fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(known, _)| known != name);
    }
}

/// The response of an upstream, with the filter state of its request.
pub struct UpstreamResponse<'a> {
    /// The response headers, with names in lower case.
    pub headers: &'a [(String, String)],
    /// The request that it responds to.
    pub request: &'a Request,
}

impl Headers for UpstreamResponse<'_> {
    fn each_value<'a>(&'a self, name: &str, take: &mut dyn FnMut(&'a [u8])) {
        let named = self.headers.iter().filter(|(known, _)| known == name);
        named.for_each(|(_, value)| take(value.as_bytes()));
    }

    fn each_header<'a>(&'a self, take: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        self.headers
            .iter()
            .for_each(|(name, value)| take(name.as_bytes(), value.as_bytes()));
    }
}

impl Response for UpstreamResponse<'_> {
    fn filter_state(&self, name: &str) -> Option<Vec<u8>> {
        Exchange::filter_state(self.request, name)
    }
}
