//! `headgate show` and `reset`.

use super::{statuses, until, Headgate};
use crate::harness::*;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_client_passes_again_after_a_reset() {
    let cluster = RedisCluster::shared();
    let policy = "limits: [{name: few, rate: 2/hour}, {name: ceiling, rate: 1000/hour, key: [address]}]";
    let envoy = Envoy::with(cluster).policy(policy).key_prefix("reset").start();
    let headgate = Headgate::on(cluster.nodes[0].port, "reset").policy(policy);
    assert_eq!(statuses(&envoy, "/", "a", 3).await, [200, 200, 429]);
    assert_eq!(statuses(&envoy, "/", "b", 3).await, [200, 200, 429]);
    let counter = headgate.counter("api_key:a", "few");
    assert_eq!(
        (&counter["used"], &counter["left"]),
        (&2.into(), &0.into()),
        "{counter}"
    );
    assert!(
        (3_500_000..=3_600_000).contains(&counter["next_call_ms"].as_u64().expect("a wait")),
        "{counter}"
    );

    let (text, status) = headgate.text(&["reset", "api_key:a", "--limit", "many"]);
    assert_eq!(status, 1);
    assert!(text.contains("no such counter; there are few"), "{text}");
    assert!(headgate.good(&["reset", "api_key:a"]).ends_with(": reset few\n"));
    until(&envoy, "a", 200).await;
    assert_eq!(
        statuses(&envoy, "/", "b", 1).await,
        [429],
        "the other client's counters stay"
    );
    let (text, status) = headgate.text(&["show", "api_key:unused"]);
    assert_eq!(status, 1);
    assert!(
        text.contains("nothing is counted") && text.contains("HEADGATE_HASH_KEY is not set"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_is_what_the_filter_answers_for_every_form() {
    let cluster = RedisCluster::shared();
    let limits: Vec<String> = [
        ("fixed", "fixed_window"),
        ("counter", "sliding_window_counter"),
        ("gcra", "gcra"),
        ("log", "sliding_window_log"),
    ]
    .iter()
    .map(|(name, algorithm)| {
        format!("{{name: {name}, rate: 50/366d, algorithm: {algorithm}, match: {{path: /{name}}}}}")
    })
    .collect();
    let by_path = "{name: by-path, rate: 60/366d, key: [client, path], match: {path: /a/*}}";
    let policy = format!("limits: [{}, {by_path}]", limits.join(", "));
    let envoy = Envoy::with(cluster).policy(&policy).key_prefix("show").start();
    let headgate = Headgate::on(cluster.nodes[1].port, "show").policy(&policy);
    for (path, name) in [
        ("/fixed", "fixed"),
        ("/counter", "counter"),
        ("/gcra", "gcra"),
        ("/log", "log"),
        ("/a/b", "by-path"),
    ] {
        let mut remaining = None;
        for _ in 0..3 {
            let response = envoy.get(path).header("x-api-key", "k").send().await;
            remaining = response.number("x-ratelimit-remaining");
        }
        let counter = headgate.counter("api_key:k", name);
        assert_eq!(counter["left"].as_i64(), remaining, "{counter}");
        assert_eq!(counter["used"], 3, "{counter}");
    }
    assert_eq!(headgate.counter("api_key:k", "by-path")["for"], "/a/*");
    let text = headgate.good(&["show", "api_key:8254c329a92850f6d539dd376f4816ee"]);
    assert!(
        text.contains("gcra") && text.contains("50/366d"),
        "by its hash: {text}"
    );

    let without_policy = Headgate::on(cluster.nodes[1].port, "show");
    for name in ["fixed", "counter", "gcra", "log"] {
        let counter = without_policy.counter("api_key:k", name);
        assert_eq!(
            (&counter["used"], &counter["left"]),
            (&3.into(), &Value::Null),
            "{counter}"
        );
    }
    assert!(without_policy
        .good(&["show", "api_key:k"])
        .contains("add --policy FILE"));
    headgate.good(&["reset", "api_key:k"]);
    assert_eq!(cluster.keys("show:*"), Vec::<String>::new(), "every key is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_redis_and_a_cluster_are_distinguished() {
    let redis = SingleRedis::start();
    let policy = "limits: [{rate: 2/hour}]";
    let envoy = Envoy::with(&redis).policy(policy).key_prefix("single").start();
    let headgate = Headgate::on(redis.port, "single").policy(policy);
    assert_eq!(statuses(&envoy, "/", "k", 3).await, [200, 200, 429]);
    assert_eq!(headgate.counter("api_key:k", "2/hour")["left"], 0);
    headgate.good(&["reset", "api_key:k"]);
    until(&envoy, "k", 200).await;
}
