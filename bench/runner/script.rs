//! The counting call that Headgate sends for a policy, taken from its own code.

use headgate::config::{parse_value, Plugin, Policy};
use headgate::identify::{Attributes, Hasher, Lookup, TlsField};
use headgate::limit::{Group, Plan, Planner};
use headgate::script::{self, Mode};

pub use headgate::script::body;

use std::borrow::Cow;
use std::net::IpAddr;

/// A call without its first part, `EVALSHA <sha>`.
pub struct Call {
    pub keys: Vec<String>,
    /// All arguments, the first of them packed.
    pub arguments: Vec<Vec<u8>>,
}

/// What the policy (YAML) counts for one caller; an error says what is not built yet.
pub fn call(policy: &str) -> Result<Call, String> {
    let value = crate::harness::config::parse(policy);
    let policy = match parse_value(&value) {
        Ok(Plugin::Filter(policy)) => policy,
        Ok(Plugin::RedisCall { .. }) => panic!("not a filter: {policy}"),
        Err(errors) => return Err(errors.to_string()),
    };
    let group = group(&policy);
    let mut bytes = Vec::new();
    script::arguments(&group, Mode::Count, &mut bytes);
    let mut parts = bulk_strings(&bytes).into_iter().skip(1); // the number of keys
    let text = |key: Vec<u8>| String::from_utf8(key).expect("a key of ASCII");
    let keys = parts.by_ref().take(group.keys.len()).map(text).collect();
    Ok(Call {
        keys,
        arguments: parts.collect(),
    })
}

fn group(policy: &Policy) -> Group {
    let planner = Planner::new(policy, Hasher::new(Some(b"bench")));
    let client = planner.identify(&Caller);
    match planner.plan(&Caller, client.as_ref()) {
        Plan::Count { mut groups, .. } if groups.len() == 1 => groups.remove(0),
        other => panic!("not one call: {other:?}"),
    }
}

/// The strings of `$3\r\nabc\r\n$…`.
fn bulk_strings(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let length = std::str::from_utf8(&bytes[1..end - 1]).expect("a length");
        let (from, to) = (end + 1, end + 1 + length.parse::<usize>().expect("a length"));
        all.push(bytes[from..to].to_vec());
        bytes = &bytes[to + 2..];
    }
    all
}

/// Any of the load's callers.
struct Caller;

impl Attributes for Caller {
    fn header(&self, name: &str) -> Lookup<'_> {
        match name {
            ":method" => Lookup::One(Cow::Borrowed(b"GET")),
            ":path" => Lookup::One(Cow::Borrowed(b"/")),
            "x-api-key" => Lookup::One(Cow::Borrowed(b"client-000001")),
            _ => Lookup::Absent,
        }
    }

    fn address(&self) -> Option<IpAddr> {
        Some([127, 0, 0, 1].into())
    }

    fn metadata(&self, _: &[String]) -> Option<Vec<u8>> {
        None
    }

    fn tls(&self, _: TlsField) -> Option<Vec<u8>> {
        None
    }

    fn route(&self) -> Option<Vec<u8>> {
        None
    }
}
