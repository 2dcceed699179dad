//! Gives the engine access to the request and the response of the effective context. The results of host calls are
//! cached.

use super::host::{self, HeaderMap};
use crate::engine::{Exchange, Response};
use crate::headers::Header;
use crate::identify::{metadata_text, Attributes, Headers, TlsField};
use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};

/// A request. Its headers are read on first use: most requests that have waited do not need them again.
pub struct HostRequest {
    headers: OnceCell<HeaderMap>,
    address: OnceCell<Option<IpAddr>>,
}

impl HostRequest {
    pub fn new() -> HostRequest {
        HostRequest {
            headers: OnceCell::new(),
            address: OnceCell::new(),
        }
    }

    fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| HeaderMap::read(host::Map::Request))
    }

    /// In builds for tests: panics if a header requests it.
    #[cfg(feature = "fault-injection")]
    pub fn panic_if_requested(&self) {
        if let Some(value) = self.header("x-headgate-fault-injection").value() {
            crate::fault_injection::panic_on(&value, b"headgate-fault-filter");
        }
    }
}

impl Headers for HostRequest {
    fn each_value<'a>(&'a self, name: &str, take: &mut dyn FnMut(&'a [u8])) {
        self.headers().each_value(name, take);
    }

    fn each_header<'a>(&'a self, take: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        self.headers().each_header(take);
    }
}

impl Attributes for HostRequest {
    fn address(&self) -> Option<IpAddr> {
        *self.address.get_or_init(|| {
            let text = host::property(b"source\0address")?;
            let text = std::str::from_utf8(&text).ok()?;
            text.parse::<SocketAddr>()
                .map(|socket| socket.ip())
                .or_else(|_| text.parse())
                .ok()
        })
    }

    fn metadata(&self, path: &[String]) -> Option<Vec<u8>> {
        // A path that is only the name of a filter leads to an object, not to a text.
        let (key, holder) = path.split_last().filter(|(_, holder)| !holder.is_empty())?;
        metadata_text(metadata(path)?, key, || metadata(holder))
    }

    fn tls(&self, field: TlsField) -> Option<Vec<u8>> {
        host::property(match field {
            TlsField::UriSan => b"connection\0uri_san_peer_certificate".as_slice(),
            TlsField::DnsSan => b"connection\0dns_san_peer_certificate".as_slice(),
            TlsField::Subject => b"connection\0subject_peer_certificate".as_slice(),
        })
    }

    fn route(&self) -> Option<Vec<u8>> {
        host::property(b"xds\0route_name")
    }
}

impl Exchange for HostRequest {
    fn filter_state(&self, name: &str) -> Option<Vec<u8>> {
        host::property(name.as_bytes())
    }

    fn set_filter_state(&mut self, name: &str, value: &[u8]) {
        host::set_filter_state(name, value);
    }

    fn set_header(&mut self, header: &Header) {
        host::set_header(host::Map::Request, header);
    }

    fn add_header(&mut self, header: &Header) {
        host::add_header(host::Map::Request, header);
    }

    fn remove_header(&mut self, name: &str) {
        host::remove_header(host::Map::Request, name);
    }
}

/// A response.
pub struct HostResponse(HeaderMap);

impl HostResponse {
    pub fn read() -> HostResponse {
        HostResponse(HeaderMap::read(host::Map::Response))
    }
}

impl Headers for HostResponse {
    fn each_value<'a>(&'a self, name: &str, take: &mut dyn FnMut(&'a [u8])) {
        self.0.each_value(name, take);
    }

    fn each_header<'a>(&'a self, take: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        self.0.each_header(take);
    }
}

impl Response for HostResponse {
    fn filter_state(&self, name: &str) -> Option<Vec<u8>> {
        host::property(name.as_bytes())
    }
}

fn metadata(path: &[String]) -> Option<Vec<u8>> {
    let mut property = b"metadata\0filter_metadata".to_vec();
    for part in path {
        property.push(0);
        property.extend_from_slice(part.as_bytes());
    }
    host::property(&property)
}

/// Removes the headers whose names fit; `all` are the headers of `map`. The host removes all values of a name at once.
pub fn remove_from(map: host::Map, all: &HeaderMap, fits: impl Fn(&[u8]) -> bool) {
    for (name, _) in all.iter().filter(|(name, _)| fits(name)) {
        if let Ok(name) = std::str::from_utf8(name) {
            host::remove_header(map, name);
        }
    }
}
