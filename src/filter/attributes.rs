//! The request of the effective context, as the core may ask of it. What costs a host call is asked once.

use super::host::{self, HeaderMap};
use crate::identify::{Attributes, Headers, TlsField};
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
        let mut property = b"metadata\0filter_metadata".to_vec();
        for part in path {
            property.push(0);
            property.extend_from_slice(part.as_bytes());
        }
        host::property(&property).and_then(as_text)
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

/// The name of the route of the effective context's request.
pub fn route() -> Option<Vec<u8>> {
    host::property(b"xds\0route_name")
}

/// Text is what it is. A number comes as the eight bytes of a double, with nothing to say so; but no text has control
/// characters in it, and nearly every number has. So have lists, objects and booleans, which are nobody's name.
fn as_text(value: Vec<u8>) -> Option<Vec<u8>> {
    if !value.iter().any(u8::is_ascii_control) {
        return Some(value);
    }
    let number = f64::from_le_bytes(value.try_into().ok()?);
    // Whole ones apart, as in the configuration: `42`, not `42.0`; std's own spelling of floats is 10 KiB of module.
    let text = match number as i64 {
        whole if whole as f64 == number => whole.to_string(),
        _ => serde_json::Number::from_f64(number)?.to_string(),
    };
    Some(text.into_bytes())
}
