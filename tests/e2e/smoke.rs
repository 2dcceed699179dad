//! The harness itself: whether its Envoy, its Redis and its upstream do what tests rely on.

use crate::harness::*;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_echoes_the_request_through_envoy() {
    let envoy = Envoy::alone().without_filter().start();
    let response = envoy
        .get("/a?b=c")
        .header("x-twice", "1")
        .header("x-twice", "2")
        .send()
        .await;
    assert_eq!(response.status, 200);
    assert_eq!(response.json()["path"], "/a?b=c");
    assert_eq!(response.upstream_header("x-twice").as_deref(), Some("1,2"));
    assert_eq!(envoy.upstream.requests(), 1);
    assert_eq!(envoy.stat("http.http.downstream_rq_2xx"), 1);
    assert_eq!(envoy.access_log(1)[0]["path"], "/a", "a query may hold secrets");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_answers_as_configured_over_both_protocols() {
    let envoy = Envoy::alone().without_filter().start();
    envoy
        .upstream
        .answer(json!({"status": 418, "headers": {"x-tokens": 7}, "body": "tea"}));
    for client in [Client::http1(envoy.port), envoy.http2()] {
        let response = client.request("POST", "/").body("water").send().await;
        assert_eq!(
            (response.status, response.number("x-tokens"), response.text()),
            (418, Some(7), "tea".into())
        );
        let own = client
            .get("/")
            .header("x-test-answer", r#"{"status": 204}"#)
            .send()
            .await;
        assert_eq!(own.status, 204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_supported_versions_of_envoy_run() {
    for version in envoy_versions() {
        let envoy = Envoy::alone().without_filter().version(version).start();
        assert!(
            envoy.admin("/server_info").contains(&format!("/{version}/")),
            "Envoy {version}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_reports_every_request() {
    let envoy = Envoy::alone().without_filter().start();
    let report = Load::on(envoy.port)
        .connections(4)
        .duration(std::time::Duration::from_millis(300))
        .run()
        .await;
    assert_eq!(report.errors, 0, "{report:?}");
    assert_eq!(report.status(200), envoy.upstream.requests(), "{report:?}");
    assert!(report.percentile(0.5) <= report.percentile(0.99), "{report:?}");
}

#[test]
fn envoy_logs_why_it_refuses_its_configuration() {
    let log = Envoy::alone()
        .without_filter()
        .edit(|config| config["nonsense"] = json!(1))
        .refused();
    assert!(log.contains("nonsense"), "{log}");
}

#[test]
fn a_cluster_serves_every_slot_and_knows_where_keys_lie() {
    let cluster = RedisCluster::shared();
    let names: Vec<String> = cluster
        .masters()
        .iter()
        .map(|n| cluster.name_on(n, "key", str::to_owned))
        .collect();
    let mut connection = cluster.connection();
    for (node, name) in cluster.masters().iter().zip(&names) {
        let () = redis::cmd("SET")
            .arg(name)
            .arg("x")
            .query(&mut connection)
            .expect("a cluster that takes writes");
        assert!(node.keys("key*").contains(name));
        assert!(node.calls("set") >= 1);
    }
}

#[test]
fn a_frozen_or_killed_node_answers_once_it_is_back() {
    let redis = SingleRedis::start();
    redis.freeze();
    assert!(redis.try_call::<String>(&["PING"]).is_err());
    redis.thaw();
    assert_eq!(redis.call::<String>(&["PING"]), "PONG");
    redis.kill();
    assert!(redis.try_call::<String>(&["PING"]).is_err());
    redis.restart();
    assert_eq!(redis.call::<String>(&["PING"]), "PONG");
}

#[test]
fn replicas_follow_and_take_over() {
    let cluster = RedisCluster::start(3, 1);
    let key = "a key";
    let owner = cluster.owner(key).port;
    cluster
        .nodes
        .iter()
        .find(|node| node.port == owner)
        .expect("the owner")
        .kill();
    wait_for(
        "a replica to take over",
        std::time::Duration::from_secs(15),
        || (cluster.owner(key).port != owner).then_some(()),
    );
}
