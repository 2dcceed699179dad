//! A gRPC client with a usual retry policy reads `grpc-retry-pushback-ms`, and nothing else.

use super::program::{node, report, Server};
use super::WINDOW;
use crate::harness::*;
use serde_json::json;

const OK: u64 = 0;
const RESOURCE_EXHAUSTED: u64 = 8;

/// A service that answers every call, and Envoy in front of it.
fn envoy() -> (Server, Envoy) {
    let server = Server::start(|port| node(&format!("grpc.js serve {port}")));
    let port = server.port;
    let policy = format!(
        "{{limits: [{},
           {{name: slow, rate: 1/hour, match: {{path: /test.Clients/Slow}}}},
           {{name: never, rate: 0/s, match: {{path: /test.Clients/Never}}}}]}}",
        WINDOW.replace('}', ", match: {path: /test.Clients/Window}}")
    );
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(&policy)
        .edit(move |config| {
            let upstream = config::cluster(config, "upstream");
            config::set_endpoints(upstream, &[port]);
            upstream["typed_extension_protocol_options"] = json!({
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}}}});
        })
        .start();
    (server, envoy)
}

/// The status codes that the caller gets, and how many attempts of all calls reached Envoy.
fn call(envoy: &Envoy, method: &str, count: u64, deadline_ms: u64) -> (Vec<u64>, u64) {
    let attempts = || envoy.stat("http.http.downstream_rq_total");
    let before = attempts();
    let line = format!("grpc.js call {} {method} {count} {deadline_ms}", envoy.port);
    let report = report(node(&line));
    let codes = report["codes"].as_array().expect("codes");
    let codes = codes.iter().filter_map(serde_json::Value::as_u64).collect();
    (codes, attempts() - before)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_client_waits_as_asked_and_passes() {
    let (_server, envoy) = envoy();
    let (codes, attempts) = call(&envoy, "Window", 15, 0);
    assert_eq!(codes, [OK; 15], "in {attempts} attempts");
    assert!(
        (16..=20).contains(&attempts),
        "{attempts} attempts: 17 if each refusal costs one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_client_gives_up_where_waiting_is_no_use() {
    let (_server, envoy) = envoy();
    assert_eq!(
        call(&envoy, "Never", 1, 0),
        (vec![RESOURCE_EXHAUSTED], 1),
        "0/s never passes"
    );
    assert_eq!(
        call(&envoy, "Slow", 2, 10_000),
        (vec![OK, RESOURCE_EXHAUSTED], 2),
        "the wait ends after the call's deadline, so that it does not end in DEADLINE_EXCEEDED"
    );
}
