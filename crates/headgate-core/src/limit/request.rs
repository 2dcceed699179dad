//! The context of one request while it is planned: each value is read, normalised and hashed at most once.

use super::keys::{push_address, push_client};
use super::readings::PathReadings;
use super::{bare_host, KeyPart};
use crate::identify::{canonical, cookie, cut_address, push_escaped, push_part, query};
use crate::identify::{Attributes, Client, Digest, Hasher, Identity, Lookup, ShownAddress, Source};
use std::borrow::{Borrow, Cow};
use std::cell::OnceCell;
use std::net::IpAddr;

/// What the limits of a policy read from requests: each header, query parameter and cookie once, by index.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestInputs {
    headers: Vec<String>,
    secrets: Vec<KeyPart>,
    /// The prefix of an IPv4 address in keys, in bits.
    ipv4_prefix: u8,
    ipv6_prefix: u8,
}

impl RequestInputs {
    pub fn new(ipv4_prefix: u8, ipv6_prefix: u8) -> RequestInputs {
        RequestInputs {
            ipv4_prefix,
            ipv6_prefix,
            ..RequestInputs::default()
        }
    }

    /// The index of a header to compare or to take a cost from.
    pub fn header(&mut self, name: &str) -> usize {
        index_of(&mut self.headers, name, str::to_owned)
    }

    /// The index of a part whose value is secret: a header, a query parameter or a cookie.
    pub fn secret(&mut self, part: &KeyPart) -> usize {
        index_of(&mut self.secrets, part, KeyPart::clone)
    }
}

fn index_of<T: Borrow<Q>, Q: PartialEq + ?Sized>(
    list: &mut Vec<T>,
    item: &Q,
    own: impl Fn(&Q) -> T,
) -> usize {
    let found = list.iter().position(|known| known.borrow() == item);
    found.unwrap_or_else(|| {
        list.push(own(item));
        list.len() - 1
    })
}

/// A view of a request that caches what it has read.
pub(crate) struct RequestContext<'a> {
    pub identity: &'a Identity,
    pub hasher: &'a Hasher,
    attributes: &'a dyn Attributes,
    reads: &'a RequestInputs,
    headers: Vec<OnceCell<Lookup<'a>>>,
    secrets: Vec<OnceCell<Option<Digest>>>,
    paths: OnceCell<PathReadings<'a>>,
    method: OnceCell<Cow<'a, [u8]>>,
    host: OnceCell<Vec<u8>>,
    route: OnceCell<Option<Vec<u8>>>,
    address: OnceCell<Option<IpAddr>>,
    /// As written in a key.
    address_part: OnceCell<Vec<u8>>,
    path_part: OnceCell<Vec<u8>>,
    client_lot: OnceCell<u64>,
    address_lot: OnceCell<u64>,
}

impl<'a> RequestContext<'a> {
    pub fn new(
        attributes: &'a dyn Attributes,
        identity: &'a Identity,
        reads: &'a RequestInputs,
        hasher: &'a Hasher,
    ) -> RequestContext<'a> {
        RequestContext {
            identity,
            hasher,
            attributes,
            reads,
            headers: reads.headers.iter().map(|_| OnceCell::new()).collect(),
            secrets: reads.secrets.iter().map(|_| OnceCell::new()).collect(),
            paths: OnceCell::new(),
            method: OnceCell::new(),
            host: OnceCell::new(),
            route: OnceCell::new(),
            address: OnceCell::new(),
            address_part: OnceCell::new(),
            path_part: OnceCell::new(),
            client_lot: OnceCell::new(),
            address_lot: OnceCell::new(),
        }
    }

    pub fn client(&self) -> Option<&'a Client> {
        self.identity.client()
    }

    /// The readings of the path.
    pub fn paths(&self) -> &PathReadings<'a> {
        self.paths.get_or_init(|| {
            let mut target: Option<&[u8]> = None;
            self.attributes
                .each_value(":path", &mut |value| target = target.or(Some(value)));
            PathReadings::of(target.unwrap_or(b"/"))
        })
    }

    /// In upper case, as servers read it.
    pub fn method(&self) -> &[u8] {
        self.method.get_or_init(|| {
            let method = self.attributes.header(":method").value().unwrap_or_default();
            match method.iter().any(u8::is_ascii_lowercase) {
                true => Cow::Owned(method.to_ascii_uppercase()),
                false => method,
            }
        })
    }

    /// The method in keys: HEAD counts as GET, as most servers handle both alike.
    pub fn counted_method(&self) -> &[u8] {
        match self.method() {
            b"HEAD" => b"GET",
            method => method,
        }
    }

    /// In lower case, without its port.
    pub fn host(&self) -> &[u8] {
        self.host.get_or_init(|| {
            let authority = self.attributes.header(":authority").value().unwrap_or_default();
            bare_host(&authority).to_ascii_lowercase()
        })
    }

    pub fn route(&self) -> Option<&[u8]> {
        self.route.get_or_init(|| self.attributes.route()).as_deref()
    }

    /// A header by its index in [`RequestInputs`].
    pub fn header(&self, index: usize) -> &Lookup<'a> {
        let read = || {
            self.reads
                .headers
                .get(index)
                .map(|name| self.attributes.header(name))
        };
        match self.headers.get(index) {
            Some(cell) => cell.get_or_init(|| read().unwrap_or(Lookup::Absent)),
            None => &Lookup::Absent,
        }
    }

    /// The whole address; IPv4 embedded in IPv6 is IPv4.
    pub fn address(&self) -> Option<IpAddr> {
        *self
            .address
            .get_or_init(|| self.attributes.address().map(canonical))
    }

    /// Appends the address, cut to its prefix; nothing without an address.
    pub fn push_address(&self, out: &mut Vec<u8>) {
        let part = self.address_part.get_or_init(|| {
            let cut = |ip| cut_address(ip, self.reads.ipv4_prefix, self.reads.ipv6_prefix);
            let mut part = Vec::new();
            if let Some(net) = self.address().and_then(cut) {
                push_escaped(&mut part, ShownAddress(net).to_string().as_bytes());
            }
            part
        });
        out.extend_from_slice(part);
    }

    /// Appends the path itself as a part of a key.
    pub fn push_path(&self, out: &mut Vec<u8>) {
        let part = self.path_part.get_or_init(|| {
            let mut part = Vec::new();
            push_part(&mut part, self.paths().counted(), self.hasher);
            part
        });
        out.extend_from_slice(part);
    }

    /// A number that is always the same for a caller: from the client, or from the address if `by_address` or if the
    /// client is not identified.
    pub fn lot(&self, by_address: bool, sources: &[Source]) -> u64 {
        let mut caller = Vec::new();
        match self.client().filter(|_| !by_address) {
            Some(client) => *self.client_lot.get_or_init(|| {
                push_client(&mut caller, client, sources);
                self.hasher.digest(&caller).draw()
            }),
            None => *self.address_lot.get_or_init(|| {
                push_address(&mut caller, self);
                self.hasher.digest(&caller).draw()
            }),
        }
    }

    /// Appends the hash of a secret value by its index in [`RequestInputs`]; nothing unless there is a single value.
    pub fn push_secret(&self, index: usize, out: &mut Vec<u8>) {
        let read = || {
            let value = match self.reads.secrets.get(index)? {
                KeyPart::Header(name) => self.attributes.header(name).value(),
                KeyPart::Query(name) => query(self.attributes, name).value(),
                KeyPart::Cookie(name) => cookie(self.attributes, name).value(),
                _ => None,
            };
            value.map(|value| self.hasher.digest(&value))
        };
        if let Some(digest) = self.secrets.get(index).and_then(|cell| *cell.get_or_init(read)) {
            out.extend_from_slice(&digest.hex());
        }
    }
}
