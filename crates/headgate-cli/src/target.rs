//! Which client is meant, and where its counters are.

use super::policies::{load, Loaded};
use super::{input, Failure};
use headgate_core::identify::{
    cut_address, push_escaped, push_part, Client, ClientValue, Digest, Hasher, ShownAddress, Source,
    SourceKind,
};
use headgate_core::limit::push_client;
use ipnet::IpNet;
use std::net::IpAddr;

/// Where a policy keeps its counters.
#[derive(clap::Args)]
pub struct CounterSpaceArgs {
    /// The configuration that counts: gives prefix, instance, rates and what is plain
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
    /// The client's value is a value, also if it looks like a hash (32 hex digits)
    #[arg(long)]
    value: bool,
    /// The configuration's redis.key_prefix [default: the policy's, else ratelimit]
    #[arg(long)]
    prefix: Option<String>,
    /// The configuration's instance [default: the policy's, else main]
    #[arg(long)]
    instance: Option<String>,
}

/// The counters of one instance: their keys' prefix, and the policy if one is given.
pub struct CounterSpace {
    /// `<prefix>:<instance>:`
    pub start: String,
    pub loaded: Option<Loaded>,
    pub hasher: Hasher,
    is_value: bool,
}

/// A client, as its keys name it.
pub struct Target {
    /// `<prefix>:<instance>:{<source>:<client>}`
    pub hash: Vec<u8>,
    /// `<source>:<client>`
    pub tag: String,
    /// Where the policy knows its source.
    pub client: Option<Client>,
}

impl CounterSpaceArgs {
    /// # Errors
    /// A policy that cannot be read, or several of which none is chosen.
    pub fn read(&self) -> Result<CounterSpace, Failure> {
        let loaded = match &self.policy {
            None => None,
            Some(file) => {
                let mut all = load(file, self.instance.as_deref())?;
                if all.len() > 1 {
                    let names: Vec<&str> = all.iter().map(|loaded| loaded.policy.instance.as_str()).collect();
                    let message = format!("{file}: several instances; add --instance {}", names.join(" or "));
                    return Err(Failure::new(message));
                }
                all.pop()
            }
        };
        let of_policy = loaded.as_ref().map(|loaded| &loaded.policy);
        let prefix = self.prefix.as_deref();
        let prefix = prefix.or(of_policy.map(|policy| policy.redis.key_prefix.as_str()));
        let instance = self.instance.as_deref();
        let instance = instance.or(of_policy.map(|policy| policy.instance.as_str()));
        Ok(CounterSpace {
            start: format!(
                "{}:{}:",
                prefix.unwrap_or("ratelimit"),
                instance.unwrap_or("main")
            ),
            loaded,
            hasher: input::hasher(),
            is_value: self.value,
        })
    }
}

impl CounterSpace {
    /// The client that is written as `source:value`, `source:hash` or `address:192.0.2.1`, or a tag in braces as in
    /// Redis. A value `-` is read from standard input.
    ///
    /// # Errors
    /// A text that does not name a client.
    pub fn target(&self, text: &str) -> Result<Target, Failure> {
        if let Some(tag) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            return Ok(self.at(tag.to_owned(), None));
        }
        let Some((source, value)) = text
            .split_once(':')
            .filter(|(source, value)| !source.is_empty() && !value.is_empty())
        else {
            return Err(Failure::new(format!(
                "{text:?} is not a client; write source:value, such as api_key:k or address:192.0.2.1"
            )));
        };
        let read;
        // A value from standard input is never a hash.
        let is_value = self.is_value || value == "-";
        let value = match value {
            "-" => {
                read = String::from_utf8_lossy(&input::stdin()?)
                    .trim_end_matches(['\r', '\n'])
                    .to_owned();
                &read
            }
            value => value,
        };
        let sources = self
            .loaded
            .as_ref()
            .map(|loaded| loaded.policy.identify.as_slice());
        let Some(sources) = sources else {
            return self.unknown(source, value, is_value);
        };
        let Some(index) = sources.iter().position(|candidate| candidate.name == source) else {
            if source == "address" {
                return self.unknown(source, value, is_value);
            }
            let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
            return Err(Failure::new(format!(
                "no source {source}; the policy has {}",
                names.join(", ")
            )));
        };
        let client = sources.get(index).and_then(|source| {
            Some(Client {
                source: source.name.clone(),
                index,
                value: self.value(source, value, is_value)?,
            })
        });
        let Some(client) = client else {
            return Err(Failure::new(format!("{source} never yields {value:?}")));
        };
        let mut tag = Vec::new();
        push_client(&mut tag, &client, sources);
        Ok(self.at(String::from_utf8_lossy(&tag).into_owned(), Some(client)))
    }

    fn value(&self, source: &Source, value: &str, is_value: bool) -> Option<ClientValue> {
        match (&source.kind, value.parse::<Digest>()) {
            (SourceKind::Address { .. }, _) => source.client_value(&unescaped(value), &self.hasher),
            (_, Ok(digest)) if !source.is_plain() && !is_value => Some(ClientValue::Digest(digest)),
            _ => source.client_value(value, &self.hasher),
        }
    }

    /// Without a policy: an address, a hash as it is, or a secret.
    fn unknown(&self, source: &str, value: &str, is_value: bool) -> Result<Target, Failure> {
        let mut tag = Vec::new();
        push_part(&mut tag, source.as_bytes(), &self.hasher);
        tag.push(b':');
        if source == "address" {
            let value = unescaped(value);
            let net = match (value.parse::<IpAddr>(), value.parse::<IpNet>()) {
                (Ok(address), _) => cut_address(address, 32, 64),
                (_, Ok(net)) => Some(net.trunc()),
                _ => None,
            };
            let Some(net) = net else {
                return Err(Failure::new(format!("{value:?} is not an address")));
            };
            push_escaped(&mut tag, ShownAddress(net).to_string().as_bytes());
        } else {
            let as_hash = value.parse().ok().filter(|_| !is_value);
            let digest = as_hash.unwrap_or_else(|| self.hasher.digest(value.as_bytes()));
            tag.extend_from_slice(&digest.hex());
        }
        Ok(self.at(String::from_utf8_lossy(&tag).into_owned(), None))
    }

    fn at(&self, tag: String, client: Option<Client>) -> Target {
        Target {
            hash: format!("{}{{{tag}}}", self.start).into_bytes(),
            tag,
            client,
        }
    }

    /// A hint for where nothing was found under what was written: another client may have been meant.
    pub fn hint(&self, written: &str) -> &'static str {
        let looks_like_hash = written
            .split_once(':')
            .is_some_and(|(_, value)| value.parse::<Digest>().is_ok());
        match (looks_like_hash && !self.is_value, self.hasher.is_keyed()) {
            (true, _) => " (read as a hash; --value reads it as a value)",
            (false, true) => "",
            (false, false) => {
                " (HEADGATE_HASH_KEY is not set: a value that is not a hash was hashed without a key)"
            }
        }
    }
}

/// An address as it is written in a key.
fn unescaped(value: &str) -> String {
    value.replace("%3A", ":")
}
