//! Slots that move in a Redis Cluster whose nodes announce names: `MOVED` and `ASK` then carry a name, not an address.

use crate::harness::*;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

const N: i64 = 1_000_000;

/// Nodes that listen on IPv4 only, under the name `localhost`, which also has an IPv6 address.
pub fn named_cluster() -> RedisCluster {
    let names = [
        ["--cluster-announce-hostname", "localhost"],
        ["--cluster-preferred-endpoint-type", "hostname"],
    ];
    RedisCluster::start_with(3, 0, names.as_flattened(), None)
}

fn builder(cluster: &RedisCluster) -> EnvoyBuilder {
    let policy = format!(
        "{{redis: {{timeout: 2s}}, on_error: deny, limits: [{{name: x, rate: {N}/day, algorithm: fixed_window, \
         align: first_call}}]}}"
    );
    Envoy::with(cluster).concurrency(1).policy(&policy)
}

async fn call(envoy: &Envoy) -> Response {
    envoy.get("/").header("x-api-key", "mover").send().await
}

/// A slot on its way from one master to another.
pub struct Move<'c> {
    cluster: &'c RedisCluster,
    slot: String,
    to: String,
}

impl Move<'_> {
    /// The slot of the one client that has called: its key is on the new node already, the slot still on the old one.
    pub fn begin<'c>(cluster: &'c RedisCluster, envoy: &Envoy) -> Move<'c> {
        let keys = cluster.keys(&format!("{}:*", envoy.key_prefix));
        let [key] = &keys[..] else {
            panic!("one key: {keys:?}")
        };
        let from = cluster.owner(key);
        let to = cluster.masters().iter().find(|node| node.port != from.port);
        let to = to.expect("another master");
        let slot = cluster.slot(key).to_string();
        let [from_id, to_id] = [from, to].map(|node| node.call::<String>(&["CLUSTER", "MYID"]));
        to.call::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        from.call::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        from.call::<()>(&["MIGRATE", "127.0.0.1", &to.port.to_string(), key, "0", "1000"]);
        Move {
            cluster,
            slot,
            to: to_id,
        }
    }

    /// The slot is the new node's.
    pub fn end(self) {
        for node in self.cluster.masters() {
            node.call::<()>(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &self.to]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_slot_of_named_nodes_moves_every_call_is_counted() {
    for version in envoy_versions() {
        let cluster = named_cluster();
        let envoy = Arc::new(builder(&cluster).version(version).start());
        assert_eq!(call(&envoy).await.number("x-ratelimit-remaining"), Some(N - 1));
        let done = Arc::new(AtomicBool::new(false));
        let load = tokio::spawn({
            let (envoy, done) = (Arc::clone(&envoy), Arc::clone(&done));
            async move {
                let mut counted = 1;
                while !done.load(Ordering::Relaxed) {
                    let response = call(&envoy).await;
                    counted += 1;
                    let left = response.number("x-ratelimit-remaining");
                    assert_eq!(
                        (response.status, left),
                        (200, Some(N - counted)),
                        "{version}: {response:?}"
                    );
                }
                counted
            }
        });
        let second = || tokio::time::sleep(Duration::from_secs(1));
        second().await;
        let moving = Move::begin(&cluster, &envoy);
        second().await;
        assert!(
            cluster.errors("ASK") > 0,
            "{version}: the load uses the moving slot"
        );
        moving.end();
        second().await;
        done.store(true, Ordering::Relaxed);
        let counted = load.await.expect("every call is counted");
        assert!(counted > 100, "{version}: {counted} calls");
    }
}

/// An Envoy that follows no redirection to a name.
pub fn without_dns_cache(cluster: &RedisCluster) -> EnvoyBuilder {
    builder(cluster).edit(|config| {
        let settings = &mut config::redis_proxy(config)["settings"];
        let removed = settings
            .as_object_mut()
            .and_then(|all| all.remove("dns_cache_config"));
        assert!(removed.is_some(), "the shipped file has it");
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn without_dns_cache_config_redirects_to_names_are_logged() {
    let cluster = named_cluster();
    let envoy = without_dns_cache(&cluster).start();
    assert_eq!(call(&envoy).await.number("x-ratelimit-remaining"), Some(N - 1));
    let moving = Move::begin(&cluster, &envoy);
    for _ in 0..10 {
        assert_eq!(call(&envoy).await.status, 503);
    }
    let line = envoy.wait_for_log("Redis did not count");
    for words in ["\"ASK ", " localhost:", "dns_cache_config"] {
        assert!(line.contains(words), "{words} in {line}");
    }
    moving.end();
    eventually_counted(&envoy).await;
}

async fn eventually_counted(envoy: &Envoy) {
    for _ in 0..100 {
        if call(envoy).await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not counted again: {}", envoy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn seeds_may_be_names_that_have_both_kinds_of_addresses() {
    let single = SingleRedis::start();
    let cluster = named_cluster();
    for (redis, port) in [
        (Envoy::with(&single), single.port),
        (Envoy::with(&cluster), cluster.nodes[0].port),
    ] {
        let envoy = redis
            .policy("{on_error: deny, limits: [{rate: 5/hour}]}")
            .edit(move |config| {
                let endpoint =
                    json!({"address": {"socket_address": {"address": "localhost", "port_value": port}}});
                config::cluster(config, "redis")["load_assignment"]["endpoints"] =
                    json!([{"lb_endpoints": [{"endpoint": endpoint}]}]);
            })
            .start();
        assert_eq!(call(&envoy).await.number("x-ratelimit-remaining"), Some(4));
    }
}
