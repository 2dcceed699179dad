//! One client's limits of each form, and a look at what is stored of them.

use crate::server::{text, Client};
use headgate_core::fixtures;
use headgate_core::limit::{Algorithm, Align, Charge, Group, LiveOverride};
use headgate_core::redis::resp::Value;
use headgate_core::script::{Mode, ScriptReply};
use std::time::{SystemTime, UNIX_EPOCH};

pub const HASH: &str = "ratelimit:main:{api_key:k}";
pub const LOG: &str = "ratelimit:main:{api_key:k}:log";

pub const FIXED: Algorithm = Algorithm::FixedWindow { align: Align::Epoch };
pub const FIRST_CALL: Algorithm = Algorithm::FixedWindow {
    align: Align::FirstCall,
};
pub const COUNTER: Algorithm = Algorithm::SlidingWindowCounter;
pub const GCRA: Algorithm = Algorithm::Gcra { burst: 0 };
pub const FORMS: [Algorithm; 4] = [FIXED, COUNTER, GCRA, Algorithm::SlidingWindowLog];

/// Long enough that no window ends while a test runs.
pub const DAY: u64 = 86_400_000;

/// A limit of N a period; a log has its own key, all other counters are in the client's hash.
pub fn charge(algorithm: Algorithm, limit: u64, period_ms: u64) -> Charge {
    Charge {
        key: usize::from(algorithm == Algorithm::SlidingWindowLog),
        field: format!("{}:{period_ms}", algorithm.form().as_str()).into(),
        ..fixtures::charge(0, algorithm, fixtures::rate(limit, period_ms))
    }
}

pub fn live(charge: Charge) -> Charge {
    Charge {
        live: Some(LiveOverride {
            key: 0,
            field: format!("{}:override", charge.field).into(),
            unlimited: false,
        }),
        ..charge
    }
}

pub fn group(charges: &[Charge]) -> Group {
    Group {
        keys: vec![HASH.into(), LOG.into()],
        charges: charges.to_vec(),
    }
}

/// The key where a charge is counted.
pub fn key(charge: &Charge) -> &'static str {
    [HASH, LOG][charge.key]
}

pub fn error(client: &mut Client, group: &Group) -> String {
    match client.call(group, Mode::Count) {
        error @ Value::Error(_) => text(&error),
        other => panic!("no error: {other:?}"),
    }
}

/// All that is stored under both keys.
pub fn stored(client: &mut Client) -> Vec<Value> {
    for key in [HASH, LOG] {
        client.add(&["DUMP", key]);
    }
    client.send()
}

pub fn left(reply: &ScriptReply) -> Vec<u64> {
    reply.verdicts.iter().map(|verdict| verdict.remaining).collect()
}

pub fn pttl(client: &mut Client, key: &str) -> i64 {
    client.int(&["PTTL", key])
}

pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 10000")
}
