//! `filter_state`: what is listed is written and nothing else, and a chain of two instances works without any of it.

use crate::harness::*;
use crate::instances::{pair, seen};
use serde_json::Value;
use std::collections::BTreeSet;

/// The `ratelimit_*` fields of a line of the access log that have a value, without that prefix.
fn written(line: &Value) -> BTreeSet<&str> {
    let fields = line.as_object().expect("an object").iter();
    fields
        .filter(|(_, value)| !value.is_null() && *value != "-")
        .filter_map(|(name, _)| name.strip_prefix("ratelimit_"))
        .collect()
}

const NAMES: [&str; 11] = [
    "decision",
    "by",
    "name",
    "limit",
    "remaining",
    "reset",
    "retry_after",
    "client",
    "shadow",
    "redis_us",
    "error",
];

/// An access log that prints all of them.
fn all_names() -> String {
    let field = |name: &str| format!("ratelimit_{name}: '%FILTER_STATE(wasm.ratelimit_{name}:PLAIN)%'");
    format!("{{{}}}", NAMES.map(field).join(", "))
}

/// The names that a pass and then a denial leave under this `filter_state`.
async fn of_pass_and_denial(filter_state: &str) -> [BTreeSet<String>; 2] {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(&format!(
            "{{filter_state: {filter_state}, limits: [{{name: one, rate: 1/hour}}, {{name: dark, rate: 1/hour, enforce: false}}]}}"
        ))
        .access_log(&all_names())
        .start();
    assert_eq!(envoy.get("/").send().await.status, 200);
    let denied = envoy.get("/").send().await;
    assert_eq!(
        (denied.status, denied.number("x-ratelimit-limit")),
        (429, Some(1))
    );
    let log = envoy.access_log(2);
    [&log[0], &log[1]].map(|line| written(line).into_iter().map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_names_are_written_and_what_a_chain_needs() {
    let set = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    let figures = [
        "decision",
        "by",
        "name",
        "limit",
        "remaining",
        "reset",
        "client",
        "redis_us",
    ];
    let refusal = ["retry_after", "error", "shadow"];
    let [passed, denied] = of_pass_and_denial("all").await;
    assert_eq!(passed, set(&figures));
    assert_eq!(denied, set(&[&figures[..], &refusal].concat()));
    for (listed, passed, denied) in [
        ("[]", &["decision"][..], &["decision"][..]),
        (
            "[ratelimit_by, ratelimit_error]",
            &["decision", "by"],
            &["decision", "by", "error"],
        ),
        (
            "[ratelimit_name, ratelimit_retry_after]",
            &["decision", "name", "remaining", "reset"],
            &["decision", "name", "remaining", "reset", "retry_after"],
        ),
        (
            "[ratelimit_client, ratelimit_redis_us, ratelimit_shadow]",
            &["decision", "client", "redis_us"],
            &["decision", "client", "redis_us", "shadow"],
        ),
    ] {
        let written = of_pass_and_denial(listed).await;
        assert_eq!(written, [set(passed), set(denied)], "{listed}");
    }
}

const EDGE: &str = r#"{
    instance: edge,
    filter_state: [],
    exempt: [{path: /free}],
    limits: [{name: edge, rate: 5/hour, key: [client, path]}]}"#;
const USER: &str = r#"{
    instance: user,
    filter_state: [],
    identify: [{name: user, header: x-user, as: plain}],
    limits: [{name: user, rate: 3/hour, key: [client, path]}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_merge_figures_with_an_empty_list() {
    for vm in ["headgate", "headgate-user"] {
        let envoy = pair(EDGE, USER, vm);
        let get = |path: &str, user: &str| envoy.get(path).header("x-user", user);
        // The second is the tighter one, and the first to be spent.
        for expected in [
            (200, Some(3), Some(2)),
            (200, Some(3), Some(1)),
            (200, Some(3), Some(0)),
            (429, Some(3), Some(0)),
        ] {
            assert_eq!(seen(get("/a", "u")).await, expected, "in VM {vm}");
        }
        // The first has counted all four: for another user it is the tighter one, then spent.
        assert_eq!(seen(get("/a", "v")).await, (200, Some(5), Some(0)), "in VM {vm}");
        assert_eq!(seen(get("/a", "v")).await, (429, Some(5), Some(0)), "in VM {vm}");
        assert_eq!(seen(get("/b", "")).await, (200, Some(5), Some(4)));
        assert_eq!(seen(get("/free", "u")).await, (200, Some(3), Some(2)));
        let log = envoy.access_log(8);
        let decisions: Vec<&str> = log
            .iter()
            .filter_map(|line| line["ratelimit_decision"].as_str())
            .collect();
        let expected = [
            "allowed", "allowed", "allowed", "denied", "allowed", "denied", "allowed", "allowed",
        ];
        assert_eq!(decisions, expected);
        assert!(log
            .iter()
            .all(|line| written(line) == BTreeSet::from(["decision"])));
    }
}
