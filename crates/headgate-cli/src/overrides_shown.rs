//! How live overrides are shown, and whether a policy's limit reads them.

use super::show::span;
use super::target::CounterSpace;
use headgate_core::limit::Override;
use headgate_core::script::LiveQuota;
use serde_json::{json, Value};

/// `1000, for another 59 m 3 s`
pub fn shown(quota: &LiveQuota, clock_ms: u64) -> String {
    let n = quota
        .limit
        .map_or_else(|| "unlimited".to_owned(), |n| n.to_string());
    match quota.until_ms {
        None => n,
        Some(until) if until <= clock_ms => format!("{n}, but it has ended"),
        Some(until) => format!("{n}, for another {}", span(until - clock_ms)),
    }
}

pub fn as_json(quota: &LiveQuota, clock_ms: u64) -> Value {
    json!({
        "n": quota.limit.map_or_else(|| Value::from("unlimited"), Value::from),
        "until_ms": quota.until_ms,
        "holds": quota.holds(clock_ms),
    })
}

/// Why a live override has no effect, if there is a policy that says so.
pub fn ignored(place: &CounterSpace, name: &str) -> Option<&'static str> {
    let loaded = place.loaded.as_ref()?;
    let limit = loaded.policy.limits.iter().find(|limit| limit.name == name);
    match limit {
        None => Some("ignored: the policy has no such limit"),
        Some(limit) if !limit.overrides.contains(&Override::Redis) => {
            Some("ignored: the limit has no overrides: [{from: redis}]")
        }
        Some(_) => None,
    }
}

/// The same as a remark behind what is shown.
pub fn remark(place: &CounterSpace, name: &str) -> String {
    ignored(place, name)
        .map(|why| format!(" ({why})"))
        .unwrap_or_default()
}

/// An override as JSON, with whether the limit reads it where a policy says so.
pub fn in_place(mut quota: Value, place: &CounterSpace, limit: &str) -> Value {
    if let (Some(fields), Some(_)) = (quota.as_object_mut(), &place.loaded) {
        fields.insert("ignored".into(), ignored(place, limit).is_some().into());
    }
    quota
}
