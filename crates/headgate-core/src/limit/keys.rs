//! The Redis keys of a limit's counters: hash tags, own keys and fields, as the contract defines them.

use super::request::{RequestContext, RequestInputs};
use super::KeyPart;
use crate::identify::{push_part, Client, ClientValue, Hasher, Source, SourceKind};

/// The name of an address in a key, whatever its source is called: a client identified by address and a limit by
/// address share one tag.
const ADDRESS: &str = "address";

/// The parts of a limit's key, by their place.
#[derive(Debug, Clone)]
pub(crate) struct KeyLayout {
    pub tag: Tag,
    /// The parts after the client's tag, in the order of `key`.
    pub beside: Vec<CompiledKeyPart>,
}

/// The hash tag: keys with the same tag are in one slot of Redis Cluster.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tag {
    Client,
    Address,
    /// `<component>=` and the part, in the order of `key`.
    Parts(Vec<(Vec<u8>, CompiledKeyPart)>),
}

/// A part of a key, with its name looked up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum CompiledKeyPart {
    Address,
    Path,
    Method,
    Host,
    Route,
    /// Index in [`RequestInputs`].
    Secret(usize),
}

impl KeyLayout {
    pub fn new(key: &[KeyPart], reads: &mut RequestInputs, hasher: &Hasher) -> KeyLayout {
        let parts: Vec<CompiledKeyPart> = key
            .iter()
            .filter_map(|part| CompiledKeyPart::new(part, reads))
            .collect();
        if key.contains(&KeyPart::Client) {
            return KeyLayout {
                tag: Tag::Client,
                beside: parts,
            };
        }
        let tag = match parts[..] {
            [CompiledKeyPart::Address] => Tag::Address,
            _ => Tag::Parts(
                key.iter()
                    .map(|part| component(part, hasher))
                    .zip(parts)
                    .collect(),
            ),
        };
        KeyLayout {
            tag,
            beside: Vec::new(),
        }
    }

    /// Whether the key is the address alone.
    pub fn by_address(&self) -> bool {
        match &self.tag {
            Tag::Client => false,
            Tag::Address => true,
            Tag::Parts(parts) => parts.iter().any(|(_, part)| *part == CompiledKeyPart::Address),
        }
    }
}

impl CompiledKeyPart {
    /// `None` for the client: it is always the tag.
    fn new(part: &KeyPart, reads: &mut RequestInputs) -> Option<CompiledKeyPart> {
        Some(match part {
            KeyPart::Client => return None,
            KeyPart::Address => CompiledKeyPart::Address,
            KeyPart::Path => CompiledKeyPart::Path,
            KeyPart::Method => CompiledKeyPart::Method,
            KeyPart::Host => CompiledKeyPart::Host,
            KeyPart::Route => CompiledKeyPart::Route,
            KeyPart::Header(_) | KeyPart::Query(_) | KeyPart::Cookie(_) => {
                CompiledKeyPart::Secret(reads.secret(part))
            }
        })
    }

    /// Appends the request's value; nothing if it has none, so leaving out a header does not avoid a limit. If a match
    /// has a path pattern, `path_part` replaces the path.
    pub fn push(self, out: &mut Vec<u8>, request: &RequestContext<'_>, path_part: Option<&[u8]>) {
        match self {
            CompiledKeyPart::Address => request.push_address(out),
            CompiledKeyPart::Path => match path_part {
                Some(part) => out.extend_from_slice(part),
                None => request.push_path(out),
            },
            CompiledKeyPart::Method => push_part(out, request.counted_method(), request.hasher),
            CompiledKeyPart::Host => push_part(out, request.host(), request.hasher),
            CompiledKeyPart::Route => push_part(out, request.route().unwrap_or_default(), request.hasher),
            CompiledKeyPart::Secret(index) => request.push_secret(index, out),
        }
    }
}

/// `<component>=` for a tag.
fn component(part: &KeyPart, hasher: &Hasher) -> Vec<u8> {
    let (word, name) = match part {
        KeyPart::Client => ("client", None),
        KeyPart::Address => (ADDRESS, None),
        KeyPart::Path => ("path", None),
        KeyPart::Method => ("method", None),
        KeyPart::Host => ("host", None),
        KeyPart::Route => ("route", None),
        KeyPart::Header(name) => ("header", Some(name)),
        KeyPart::Query(name) => ("query", Some(name)),
        KeyPart::Cookie(name) => ("cookie", Some(name)),
    };
    let mut out = word.as_bytes().to_vec();
    if let Some(name) = name {
        out.push(b':');
        push_part(&mut out, name.as_bytes(), hasher);
    }
    out.push(b'=');
    out
}

/// Appends `<source>:<client>`.
pub fn push_client(out: &mut Vec<u8>, client: &Client, sources: &[Source]) {
    let source = sources.get(client.index);
    if source.is_some_and(|source| matches!(source.kind, SourceKind::Address { .. })) {
        out.extend_from_slice(ADDRESS.as_bytes());
    } else {
        out.extend_from_slice(client.source.as_bytes());
    }
    out.push(b':');
    match &client.value {
        ClientValue::Plain(text) => out.extend_from_slice(text.as_bytes()),
        ClientValue::Digest(digest) => out.extend_from_slice(&digest.hex()),
        ClientValue::Address(net) => {
            let text = crate::identify::ShownAddress(*net).to_string();
            crate::identify::push_escaped(out, text.as_bytes());
        }
    }
}

/// Appends `address:<address or prefix>`.
pub(crate) fn push_address(out: &mut Vec<u8>, request: &RequestContext<'_>) {
    out.extend_from_slice(ADDRESS.as_bytes());
    out.push(b':');
    request.push_address(out);
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
