//! The request of the effective context, as the core may ask of it. What costs a host call is asked once.

use super::host::{self, HeaderMap};
use crate::identify::{metadata_text, Attributes, Headers, TlsField};
use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};

pub struct RequestAttributes {
    headers: HeaderMap,
    address: OnceCell<Option<IpAddr>>,
}

impl RequestAttributes {
    pub fn read() -> RequestAttributes {
        RequestAttributes {
            headers: HeaderMap::read(host::Map::Request),
            address: OnceCell::new(),
        }
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

impl Headers for RequestAttributes {
    fn each_value<'a>(&'a self, name: &str, take: &mut dyn FnMut(&'a [u8])) {
        self.headers.each_value(name, take);
    }
}

impl Attributes for RequestAttributes {
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
        // What the name of a filter alone leads to is an object.
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
        route()
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

/// The name of the route of the effective context's request.
pub fn route() -> Option<Vec<u8>> {
    host::property(b"xds\0route_name")
}
