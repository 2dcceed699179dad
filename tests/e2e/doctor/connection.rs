//! Addresses of Redis that Envoy cannot use.

use super::*;
use crate::unreachable::{each, unresolvable};
use serde_json::json;

/// A single Redis and a cluster at this port, each with the ids that both must have.
async fn both(port: u16, id: &str, words: &[&str]) {
    let [single, cluster] = each(port);
    let envoy = single.policy(POLICY).cold().start();
    let report = until_found(&envoy, id).await;
    report
        .status(1)
        .has(id, "error", words)
        .has("not-counted", "error", &[]);
    let envoy = cluster.policy(POLICY).cold().start();
    let report = until_found(&envoy, id).await;
    report
        .status(1)
        .has(id, "error", words)
        .has("no-hosts", "error", &["no upstream host"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_port_is_connection_refused() {
    let port = free_port();
    both(
        port,
        "connection-refused",
        &[&format!("127.0.0.1:{port}"), "connect_fail"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_found_before_the_first_request() {
    let port = free_port();
    for builder in each(port) {
        let envoy = builder.policy(POLICY).cold().start();
        let report = doctor(&envoy);
        report
            .status(1)
            .has("no-traffic", "error", &[])
            .has("connection-refused", "error", &[]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_connecting_envoys_counters_are_the_evidence() {
    let [single, _] = each(free_port());
    let envoy = single.policy(POLICY).cold().start();
    until_found(&envoy, "connection-refused").await;
    let report = doctor_at(&[address(&envoy)], &["--no-connect"], &[]);
    report
        .status(1)
        .has("connection-failed", "error", &["upstream_cx_connect_fail"]);
    report.has_not(&["connection-refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve_is_named() {
    for builder in each(6379) {
        let builder = builder.edit(unresolvable);
        let envoy = builder.policy(POLICY).cold().start();
        let report = until_found(&envoy, "name-not-resolved").await;
        report
            .status(1)
            .has("name-not-resolved", "error", &["redis.invalid:6379"]);
        report.has("no-hosts", "error", &["redis.invalid:6379"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_endpoints_has_no_hosts() {
    let [single, _] = each(6379);
    let none = |config: &mut Value| {
        let redis = config::cluster(config, "redis");
        redis["type"] = json!("STATIC");
        redis["load_assignment"]["endpoints"] = json!([]);
    };
    let envoy = single.policy(POLICY).edit(none).cold().start();
    let report = until_found(&envoy, "not-counted").await;
    report
        .status(1)
        .has("no-hosts", "error", &["endpoints: the addresses of Redis"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_redis_does_not_reply() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis).concurrency(1).policy(POLICY).start();
    until_counted(&envoy).await;
    redis.freeze();
    let report = until_found(&envoy, "no-reply").await;
    redis.thaw();
    report
        .status(1)
        .has("no-reply", "error", &["frozen"])
        .has("not-counted", "error", &[]);
}

/// A port whose packets are dropped: its queue of connections is full.
struct Full {
    port: u16,
    _held: Vec<std::net::TcpStream>,
    _listener: tokio::net::TcpListener,
}

impl Full {
    fn start() -> Full {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let listener = socket.listen(0).expect("a listener");
        let address = listener.local_addr().expect("its address");
        let short = Duration::from_millis(300);
        let held = std::iter::from_fn(|| std::net::TcpStream::connect_timeout(&address, short).ok());
        Full {
            port: address.port(),
            _held: held.take(64).collect(),
            _listener: listener,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_packets_are_a_timeout() {
    let full = Full::start();
    let [single, _] = each(full.port);
    let envoy = single.policy(POLICY).cold().start();
    let report = until_found(&envoy, "connection-timeout").await;
    report.status(1).has("connection-timeout", "error", &["firewall"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_redis_is_named() {
    let envoy = Envoy::local().start();
    let [single, _] = each(envoy.upstream.port);
    let other = single.policy(POLICY).cold().start();
    let report = until_found(&other, "not-redis").await;
    report
        .status(1)
        .has("not-redis", "error", &["the address and the port"]);
}
