//! The counting call that Headgate sends for a policy, taken from its own code.

use headgate_core::config::{parse_value, Plugin, Policy};
use headgate_core::fixtures::FakeHeaders;
use headgate_core::identify::Hasher;
use headgate_core::limit::{Group, Plan, Planner};
use headgate_core::script::{self, Mode};

pub use headgate_core::script::body;

/// A call without its first part, `EVALSHA <sha>`.
pub struct Call {
    pub keys: Vec<String>,
    /// All arguments, the first of them packed.
    pub arguments: Vec<Vec<u8>>,
}

/// The script call of the policy (YAML) for one caller. An error names the feature that is not supported yet.
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
    let caller = FakeHeaders(&[(":method", "GET"), (":path", "/"), ("x-api-key", "client-000001")]);
    let identity = planner.identify(&caller);
    match planner.plan(&caller, &identity) {
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
