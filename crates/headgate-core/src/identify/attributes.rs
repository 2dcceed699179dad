//! What the core reads of a request. The shell implements it on the proxy-wasm host, tests on a struct.

use crate::identify::{trimmed, TlsField};
use std::borrow::Cow;
use std::net::IpAddr;

/// The values of a header, a cookie or a query parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// There is no value.
    Absent,
    /// The single value.
    One(Cow<'a, [u8]>),
    /// The name is duplicated: all values, in order. None of them is the single value.
    Several(Vec<Cow<'a, [u8]>>),
}

impl<'a> Lookup<'a> {
    /// The single value, if there is one and it is not empty.
    pub fn value(self) -> Option<Cow<'a, [u8]>> {
        match self {
            Lookup::One(value) if !value.is_empty() => Some(value),
            _ => None,
        }
    }

    /// All values.
    pub fn values(&self) -> &[Cow<'a, [u8]>] {
        match self {
            Lookup::Absent => &[],
            Lookup::One(value) => std::slice::from_ref(value),
            Lookup::Several(values) => values,
        }
    }

    /// Notes one more value.
    pub fn add(&mut self, value: Cow<'a, [u8]>) {
        *self = match std::mem::replace(self, Lookup::Absent) {
            Lookup::Absent => Lookup::One(value),
            Lookup::One(first) => Lookup::Several(vec![first, value]),
            Lookup::Several(mut values) => {
                values.push(value);
                Lookup::Several(values)
            }
        };
    }
}

/// The headers of a request or a response. Values are bytes: the sender may send any.
pub trait Headers {
    /// Passes each value of a name to `take`, in order and unchanged. `name` is lower case; pseudo headers (`:path`,
    /// `:method`, `:authority`) are headers here.
    fn each_value<'a>(&'a self, name: &str, take: &mut dyn FnMut(&'a [u8]));

    /// Passes each header to `take`, in order: the name in lower case, and the value unchanged.
    fn each_header<'a>(&'a self, take: &mut dyn FnMut(&'a [u8], &'a [u8]));

    /// A header's values. White space around a value is not part of it (RFC 9110, section 5.5); over HTTP/2 and HTTP/3
    /// it reaches the filter nevertheless, and is removed here.
    fn header(&self, name: &str) -> Lookup<'_> {
        let mut found = Lookup::Absent;
        self.each_value(name, &mut |value| found.add(Cow::Borrowed(trimmed(value))));
        found
    }
}

/// A request as Envoy sees it.
pub trait Attributes: Headers {
    /// The client address by Envoy's own X-Forwarded-For rules, without a port.
    fn address(&self) -> Option<IpAddr>;
    /// A value in the request's dynamic metadata: a text, or a number or a boolean as text.
    fn metadata(&self, path: &[String]) -> Option<Vec<u8>>;
    /// From the peer's verified certificate.
    fn tls(&self, field: TlsField) -> Option<Vec<u8>>;
    /// Envoy's name of the route.
    fn route(&self) -> Option<Vec<u8>>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::FakeRequest;

    #[test]
    fn white_space_around_a_header_is_not_part_of_it() {
        for spelling in ["K", "K ", " K", "K\t", "\t K \t", "\u{b}K\r\n"] {
            let request = FakeRequest::default().with(&[("x-api-key", spelling)]);
            assert_eq!(
                request.header("x-api-key"),
                Lookup::One(b"K".as_slice().into()),
                "{spelling:?}"
            );
        }
        let empty = FakeRequest::default().with(&[("x-api-key", " \t")]);
        assert_eq!(empty.header("x-api-key").value(), None);
    }

    #[test]
    fn a_header_that_comes_twice_has_all_its_values() {
        let request = FakeRequest::default().with(&[("x", "a"), ("y", "-"), ("x", " b "), ("x", "")]);
        let values = request.header("x");
        assert_eq!(values.values(), [&b"a"[..], b"b", b""]);
        assert_eq!(values.value(), None);
        assert_eq!(request.header("z"), Lookup::Absent);
    }
}
