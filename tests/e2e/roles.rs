//! The kind of filter that runs the module decides its role: a network filter is the guard, an HTTP filter is the
//! limiter. A configuration for the other role leads to refusals and a log line, and never ends the VM.

use crate::harness::*;
use serde_json::{json, Value};
use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

const REQUEST_REFUSED: &str =
    "headgate: request answered with 503: an HTTP filter has the configuration of the Redis call";
const CONNECTION_REFUSED: &str =
    "headgate: connection closed: a network filter has the configuration of an HTTP filter";

/// Puts a configuration in place of the guard's, on its TCP port as well.
fn in_network_filter(envoy: EnvoyBuilder, value: Value) -> EnvoyBuilder {
    envoy.expose_redis_call().edit(move |config| {
        for name in ["redis_call", "redis_call_open"] {
            let filters = &mut config::listener(config, name)["filter_chains"][0]["filters"];
            let plugin = &mut config::named(filters, "headgate-redis-call")["typed_config"]["config"];
            plugin["configuration"] = config::as_struct(value.clone());
        }
    })
}

/// Puts a configuration in place of the filter's.
fn in_http_filter(envoy: EnvoyBuilder, value: Value) -> EnvoyBuilder {
    envoy.edit(move |config| {
        config::headgate(config)["configuration"] = config::as_struct(value.clone());
    })
}

/// No VM has ended, of neither role.
fn assert_no_vm_died(envoy: &Envoy) {
    let log = envoy.log();
    for word in ["panicked", "RuntimeError"] {
        assert!(!log.contains(word), "{word} in\n{log}");
    }
    let reloads = envoy.stats("vm_reload");
    assert!(
        !reloads.is_empty() && reloads.values().all(|count| *count == 0),
        "{reloads:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_filter_with_key_prefix_alone_is_the_guard() {
    let redis = RedisCluster::shared();
    for version in envoy_versions() {
        let policy = "{on_error: deny, redis: {key_prefix: alone}, limits: [{rate: 2/day}]}";
        let envoy = Envoy::with(redis).version(version).policy(policy);
        let envoy = in_network_filter(envoy, json!({"redis": {"key_prefix": "alone"}})).start();
        let statuses = [(); 3].map(|()| envoy.get("/").header("x-api-key", version));
        for (request, status) in statuses.into_iter().zip([200, 200, 429]) {
            assert_eq!(request.send().await.status, status, "Envoy {version}");
        }
        assert_no_vm_died(&envoy);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_filter_with_limits_closes_its_connections() {
    let redis = RedisCluster::shared();
    let values = [
        json!({"limits": [{"rate": "1/s"}]}),
        json!({"role": "filter", "limits": [{"rate": "1/s"}]}),
    ];
    for (version, value) in envoy_versions().into_iter().zip(values.into_iter().cycle()) {
        let envoy = Envoy::with(redis)
            .version(version)
            .policy("{on_error: deny, limits: [{rate: 9/day}]}")
            .impatient();
        let envoy = in_network_filter(envoy, value).start();
        for _ in 0..20 {
            let mut connection =
                TcpStream::connect(("127.0.0.1", envoy.redis_call_port)).expect("a connection");
            connection
                .set_read_timeout(Some(Duration::from_secs(10)))
                .expect("a stream");
            let read = connection.read(&mut [0]);
            let reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
            assert!(
                read.as_ref().map_or_else(reset, |read| *read == 0),
                "{read:?}: open"
            );
        }
        for _ in 0..5 {
            assert_eq!(envoy.get("/").send().await.status, 503, "nothing is counted");
        }
        envoy.wait_for_log(CONNECTION_REFUSED);
        assert_no_vm_died(&envoy);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_filter_without_limits_answers_503() {
    let values = [
        json!({"role": "redis_call"}),
        json!({"redis": {"key_prefix": "ratelimit"}}),
    ];
    for (version, value) in envoy_versions().into_iter().zip(values.into_iter().cycle()) {
        let envoy = in_http_filter(Envoy::alone().version(version), value).start();
        for method in ["GET", "POST"] {
            for _ in 0..10 {
                let response = envoy.request(method, "/").body("water").send().await;
                assert_eq!(response.status, 503, "{response:?}");
                assert_eq!(response.header("x-envoy-ratelimited").as_deref(), Some("true"));
            }
        }
        let call = envoy
            .http2()
            .request("POST", "/svc/Method")
            .header("content-type", "application/grpc");
        assert_eq!(call.send().await.number("grpc-status"), Some(14));
        assert_eq!(envoy.upstream.requests(), 0);
        let lines = envoy.log().matches(REQUEST_REFUSED).count();
        assert!(
            (1..=10).contains(&lines),
            "{lines} lines for 21 requests of two workers"
        );
        assert_eq!(envoy.access_log(21)[0]["ratelimit_decision"], "failed_closed");
        assert_no_vm_died(&envoy);
    }
}
