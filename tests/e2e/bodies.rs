//! A request waits as a whole: nothing of it reaches the upstream before the decision, however Envoy is set to handle
//! requests that a plugin stops at their headers, and all of it does afterwards.

use crate::harness::*;
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use serde_json::json;
use std::time::Duration;

/// Requests that are let through before the others.
const QUOTA: usize = 10;

/// Many times what Envoy holds for one connection by the shipped files.
const LARGE: usize = 1 << 20;

/// Envoy's option for what a plugin's stop at the headers means: only the headers wait (true), or all of the request.
const STOPS: [bool; 2] = [true, false];

/// An Envoy with this option whose upstream speaks HTTP/2, so that trailers get there. No denial is known from memory:
/// each asks Redis, and the request waits meanwhile.
fn envoy(redis: &(impl Redis + ?Sized), headers_alone: bool, policy: &str) -> EnvoyBuilder {
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    Envoy::with(redis)
        .policy(&format!(
            "{{on_error: deny, verdict_cache: {{max_age: 0s}}, {policy}}}"
        ))
        .edit(move |config| {
            config::headgate(config)["allow_on_headers_stop_iteration"] = json!(headers_alone);
            let options = json!({"@type": format!("type.googleapis.com/{OPTIONS}"),
                "explicit_http_config": {"http2_protocol_options": {}}});
            config::cluster(config, "upstream")["typed_extension_protocol_options"] =
                json!({ OPTIONS: options });
        })
}

fn bytes(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-checksum".parse().unwrap(), HeaderValue::from_static("7"))])
}

/// A request of each kind that a body can have, by number: with a length, large, chunked, in HTTP/2 with trailers, and
/// a gRPC stream of messages.
fn request(envoy: &Envoy, http2: &Client, kind: usize) -> (Request, Body) {
    let message = [&[0, 0, 0, 0x10, 0], bytes(0x1000).as_ref()].concat();
    let (body, over_http2) = match kind % 5 {
        0 => (Body::whole(bytes(3_000)), false),
        1 => (Body::whole(bytes(LARGE)), kind.is_multiple_of(2)),
        2 => (Body::pieces((0..50).map(|_| bytes(700)), HeaderMap::new()), false),
        3 => (Body::pieces((0..9).map(|_| bytes(9_000)), trailers()), true),
        _ => (
            Body::pieces(vec![Bytes::from(message); 20], HeaderMap::new()),
            true,
        ),
    };
    let request = match over_http2 {
        true => http2.request("POST", "/upload"),
        false => envoy.request("POST", "/upload"),
    };
    let request = match kind % 5 {
        4 => request
            .header("content-type", "application/grpc")
            .header("te", "trailers"),
        _ => request,
    };
    (request.header("x-api-key", "a").carrying(body.clone()), body)
}

/// The upstream got what was sent.
fn assert_whole(response: &Response, body: &Body, what: &str) {
    assert_eq!(response.status, 200, "{what}: {response:?}");
    let seen = response.json();
    let expected = json!({"length": body.len(), "digest": body.digest()});
    assert_eq!(seen["body"], expected, "{what}: {seen}");
}

/// Refused by HTTP's or gRPC's status.
fn is_refused(response: &Response, status: u16, grpc_status: i64) -> bool {
    response.status == status || response.number("grpc-status") == Some(grpc_status)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_body_arrives_whole_and_a_denied_one_not_at_all() {
    for headers_alone in STOPS {
        let limits = format!("limits: [{{name: a, rate: {QUOTA}/day}}]");
        let envoy = envoy(RedisCluster::shared(), headers_alone, &limits).start();
        let http2 = envoy.http2();
        for kind in 0..QUOTA {
            let (request, body) = request(&envoy, &http2, kind);
            let response = request.send().await;
            let what = format!("kind {kind}, headers alone: {headers_alone}");
            assert_whole(&response, &body, &what);
            let trailers = response.json()["trailers"].clone();
            let expected = match kind % 5 {
                3 => json!([["x-checksum", "7"]]),
                _ => json!([]),
            };
            assert_eq!(trailers, expected, "{what}");
        }
        for kind in 0..20 {
            let response = request(&envoy, &http2, kind).0.send().await;
            assert!(is_refused(&response, 429, 8), "kind {kind}: {response:?}");
        }
        assert_eq!(
            envoy.upstream.requests(),
            QUOTA as u64,
            "headers alone: {headers_alone}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_waits_with_its_request_while_redis_is_slow() {
    for headers_alone in STOPS {
        let redis = SingleRedis::start();
        let envoy = envoy(
            &redis,
            headers_alone,
            "redis: {timeout: 10s}, limits: [{rate: 99/day}]",
        )
        .start();
        envoy.get("/").header("x-api-key", "a").send().await;
        let before = received(&envoy);
        redis.freeze();
        let http2 = envoy.http2();
        let kinds = [0, 2, 0, 2, 0, 2];
        let sent: Vec<_> = kinds.map(|kind| request(&envoy, &http2, kind)).into();
        let length: usize = sent.iter().map(|(_, body)| body.len()).sum();
        let calls: Vec<_> = sent
            .into_iter()
            .map(|(request, body)| tokio::spawn(async move { (request.send().await, body) }))
            .collect();
        eventually("all bodies at Envoy", Duration::from_secs(8), || {
            (received(&envoy) - before > length as u64).then_some(())
        })
        .await;
        assert_eq!(
            envoy.upstream.requests(),
            1,
            "before their counts are there, headers alone: {headers_alone}"
        );
        redis.thaw();
        for call in calls {
            let (response, body) = call.await.expect("a call's task");
            assert_whole(&response, &body, "once Redis has answered");
        }
        assert_eq!(envoy.upstream.requests(), 1 + kinds.len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nothing_counted_does_not_pass_where_that_denies() {
    for headers_alone in STOPS {
        let redis = SingleRedis::start();
        let envoy = envoy(
            &redis,
            headers_alone,
            "redis: {timeout: 300ms}, limits: [{rate: 99/day}]",
        )
        .start();
        let http2 = envoy.http2();
        redis.freeze();
        for kind in 0..10 {
            let response = request(&envoy, &http2, kind).0.send().await;
            assert!(is_refused(&response, 503, 14), "kind {kind}: {response:?}");
        }
        assert_eq!(envoy.upstream.requests(), 0, "headers alone: {headers_alone}");
        redis.thaw();
    }
}

/// Bytes that callers have sent.
fn received(envoy: &Envoy) -> u64 {
    envoy.stat("http.http.downstream_cx_rx_bytes_total")
}
