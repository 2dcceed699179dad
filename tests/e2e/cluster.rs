//! Redis Cluster: every node counts its own share, no call goes to a wrong node, scripts are loaded once.

use crate::harness::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// One worker: a stream a shard, and before the borders are known one for each of eight ranges.
const STREAMS: u64 = 3 + 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_keys_are_counted_on_their_nodes_without_redirects() {
    let cluster = RedisCluster::start(3, 0);
    let policy = "{redis: {timeout: 5s}, limits: [{name: x, rate: 5/hour}, {name: ceiling, rate: 100000/hour, key: [address]}]}";
    let envoy = Envoy::with(&cluster).concurrency(1).policy(policy).start();
    cluster.reset_stats();
    let call = |number: usize| envoy.get("/").header("x-api-key", format!("key-{number}"));
    for round in 1..=5 {
        for response in envoy.at_once(1_000, call).await {
            assert_eq!(
                (response.status, response.number("x-ratelimit-remaining")),
                (200, Some(5 - round)),
                "{response:?}"
            );
        }
    }
    assert_eq!(cluster.errors("MOVED"), 0);
    let evals = cluster.calls("eval");
    let calls = cluster.calls("evalsha");
    assert!(
        calls.iter().all(|count| *count > 1_000),
        "every node counts: {calls:?}"
    );
    assert!(
        evals.iter().sum::<u64>() <= STREAMS + 2 + 3,
        "one body a stream and node: {evals:?}"
    );
    // One EVALSHA for each request and hash tag; those that met a node without the script were sent again.
    let unknown = cluster.errors("NOSCRIPT");
    assert_eq!(
        calls.iter().sum::<u64>() - unknown + evals.iter().sum::<u64>(),
        5_000 * 2
    );
    for response in envoy.at_once(1_000, call).await {
        assert_eq!(response.status, 429, "{response:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flushed_scripts_are_sent_again_once_for_each_stream() {
    if !envoy_has(Capability::ClusterSlots) {
        return;
    }
    let cluster = RedisCluster::start(3, 0);
    let policy = "{redis: {timeout: 5s}, on_error: deny, limits: [{name: x, rate: 1000000/hour, algorithm: fixed_window}]}";
    let envoy = Envoy::with(&cluster).concurrency(1).policy(policy).start();
    let done = Arc::new(AtomicBool::new(false));
    let ended = done.clone();
    let load = Load::on(envoy.port)
        .connections(16)
        .duration(Duration::from_secs(60))
        .until(move || ended.load(Ordering::Relaxed))
        .source(|connection, _| Load::get("/", &[("x-api-key", &format!("key-{connection}"))]));
    let load = tokio::spawn(load.run());
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.reset_stats();
        cluster.flush_scripts();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let bodies: u64 = cluster.calls("eval").iter().sum();
        assert!(
            (1..=STREAMS + 3).contains(&bodies),
            "{bodies} bodies after one flush"
        );
    }
    done.store(true, Ordering::Relaxed);
    let report = load.await.unwrap();
    assert_eq!(report.status(200), report.latencies.len() as u64, "{report:?}");
    assert_eq!(report.errors, 0);
    let mut left = 0;
    for connection in 0..16 {
        let response = envoy
            .get("/")
            .header("x-api-key", format!("key-{connection}"))
            .send()
            .await;
        left += 1_000_000 - response.number("x-ratelimit-remaining").unwrap() as u64 - 1;
    }
    assert_eq!(
        left,
        report.latencies.len() as u64,
        "every request is counted once"
    );
}

/// What docs/capacity.md reckons with.
#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_holds_one_connection_per_worker_and_master() {
    const ENVOYS: usize = 2;
    const WORKERS: usize = 2;
    let cluster = RedisCluster::start(3, 1);
    let policy = "{redis: {timeout: 5s}, limits: [{rate: 1000000/hour}]}";
    let start = || Envoy::with(&cluster).concurrency(2).policy(policy).start();
    let envoys: [Envoy; ENVOYS] = std::array::from_fn(|_| start());
    for envoy in &envoys {
        let call = |number: usize| envoy.get("/").header("x-api-key", format!("key-{number}"));
        envoy.at_once(200, call).await;
    }
    for (at, node) in cluster.nodes.iter().enumerate() {
        let list: String = node.call(&["CLIENT", "LIST"]);
        // neither replication nor the one that asks
        let of_envoy = |line: &&str| line.contains(" flags=N ") && !line.contains(" cmd=client|list ");
        let connections = list.lines().filter(of_envoy).count();
        let counting = if at < cluster.masters().len() {
            ENVOYS * WORKERS
        } else {
            0
        };
        assert!(
            (counting..=counting + ENVOYS).contains(&connections),
            "{connections} on node {at}, of which {counting} should count:\n{list}"
        );
    }
}
