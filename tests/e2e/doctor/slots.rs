//! A Redis Cluster and what it announces.

use super::*;
use crate::redirections::{named_cluster, without_dns_cache, Move};
use crate::unreachable::each;

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_cluster_mode_is_named() {
    let redis = SingleRedis::start();
    let [_, cluster] = each(redis.port);
    let envoy = cluster.policy(POLICY).cold().start();
    let report = until_found(&envoy, "not-a-cluster").await;
    report.status(1).has(
        "not-a-cluster",
        "error",
        &["envoy/single-redis.yaml", "cluster support disabled"],
    );
    report.has("no-hosts", "error", &[]);
}

fn one_node() -> Node {
    let redis = Node::start(&["--cluster-enabled", "yes"], None);
    redis.call::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    wait_for("the cluster", Duration::from_secs(10), || {
        let info: String = redis.call(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:ok").then_some(())
    });
    redis
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_one_node_without_an_address_is_named() {
    let redis = one_node();
    let [_, cluster] = each(redis.port);
    let envoy = cluster.policy(POLICY).cold().start();
    let report = until_found(&envoy, "no-announced-address").await;
    report
        .status(1)
        .has("no-announced-address", "error", &["cluster-announce-ip"]);
    report.has("no-hosts", "error", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_slots_is_named() {
    let redis = Node::start(&["--cluster-enabled", "yes"], None);
    let [_, cluster] = each(redis.port);
    let envoy = cluster.policy(POLICY).cold().start();
    let report = until_found(&envoy, "no-slots").await;
    report.status(1).has("no-slots", "error", &["--cluster create"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirections_to_names_without_a_dns_cache_are_named() {
    let cluster = named_cluster();
    let envoy = without_dns_cache(&cluster).start();
    let call = || envoy.get("/").header("x-api-key", "mover").send();
    assert_eq!(call().await.status, 200);
    let moving = Move::begin(&cluster, &envoy);
    let mut report = doctor(&envoy);
    for _ in 0..20 {
        assert_eq!(call().await.status, 503);
        report = doctor(&envoy);
        if report.status == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    report.status(1).has(
        "moved",
        "error",
        &["no DNS cache", "dns_cache_config: {name: headgate_redis"],
    );
    moving.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_full_is_named() {
    let redis = SingleRedis::start();
    redis.call::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let envoy = Envoy::with(&redis).policy(POLICY).start();
    let report = until_found(&envoy, "redis-error").await;
    report
        .status(1)
        .has("redis-error", "error", &["oom", "maxmemory"]);
}
