//! Callers of every protocol understand a refusal, whatever is in front of the filter. Compared with Envoy's own
//! local_ratelimit in the same place.

use crate::harness::*;
use prost::Message;
use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};
use serde_json::json;

/// Denies all but the first call.
const LOCAL_RATELIMIT: &str = r#"{name: envoy.filters.http.local_ratelimit, typed_config: {
    "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit,
    stat_prefix: local, rate_limited_as_resource_exhausted: true,
    token_bucket: {max_tokens: 1, fill_interval: 3600s},
    filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}}}"#;

const GRPC_WEB: &str = r#"{name: envoy.filters.http.grpc_web, typed_config: {
    "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb}}"#;

const HTTP1_BRIDGE: &str = r#"{name: envoy.filters.http.grpc_http1_bridge, typed_config: {
    "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_http1_bridge.v3.Config}}"#;

const CONNECT_BRIDGE: &str = r#"{name: envoy.filters.http.connect_grpc_bridge, typed_config: {
    "@type": type.googleapis.com/envoy.extensions.filters.http.connect_grpc_bridge.v3.FilterConfig}}"#;

/// JSON in front of gRPC, for one method of a service of its own.
fn transcoder() -> String {
    let message = |name: &str| DescriptorProto {
        name: Some(name.into()),
        ..Default::default()
    };
    let method = MethodDescriptorProto {
        name: Some("Method".into()),
        input_type: Some(".test.In".into()),
        output_type: Some(".test.Out".into()),
        ..Default::default()
    };
    let file = FileDescriptorProto {
        name: Some("test.proto".into()),
        package: Some("test".into()),
        syntax: Some("proto3".into()),
        message_type: vec![message("In"), message("Out")],
        service: vec![ServiceDescriptorProto {
            name: Some("Service".into()),
            method: vec![method],
            ..Default::default()
        }],
        ..Default::default()
    };
    let path = new_dir("transcoder").join("descriptors.pb");
    std::fs::write(&path, FileDescriptorSet { file: vec![file] }.encode_to_vec()).expect("a descriptor set");
    json!({"name": "envoy.filters.http.grpc_json_transcoder", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor": path, "services": ["test.Service"], "auto_mapping": true, "convert_grpc_status": true}})
    .to_string()
}

fn call(envoy: &Envoy, content_type: &str) -> Request {
    let request = envoy
        .http2()
        .request("POST", "/test.Service/Method")
        .header("content-type", content_type);
    match content_type {
        "application/json" | "application/proto" => {
            request.header("connect-protocol-version", "1").body("{}")
        }
        _ => request.body(vec![0; 5]),
    }
}

/// HTTP status, gRPC status wherever it is, and the type of the body.
fn read(response: &Response) -> (u16, Option<String>, Option<String>) {
    let trailer = response.trailers.get("grpc-status");
    let trailer = trailer.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    // gRPC-Web has its trailers in the body.
    let body = String::from_utf8_lossy(&response.body).into_owned();
    let in_body = body.split("grpc-status:").nth(1).and_then(|rest| rest.get(..2));
    let in_body = in_body.map(|digits| digits.trim().to_owned());
    let content_type = response.header("content-type");
    let kind = content_type.map(|kind| kind.split(';').next().unwrap_or_default().to_owned());
    (
        response.status,
        response.header("grpc-status").or(trailer).or(in_body),
        kind,
    )
}

const CONTENT_TYPES: [&str; 10] = [
    "application/grpc",
    "application/grpc+proto",
    "application/grpc+json",
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpcfoo",
    "application/grpc;charset=utf-8",
    "application/json",
    "text/plain",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_what_local_ratelimit_gives_in_its_place() {
    let transcoder = transcoder();
    for (place, before) in [
        ("alone", None),
        ("behind grpc_web", Some(GRPC_WEB)),
        ("behind the HTTP/1 bridge", Some(HTTP1_BRIDGE)),
        ("behind the transcoder", Some(transcoder.as_str())),
        ("behind the Connect bridge", Some(CONNECT_BRIDGE)),
    ] {
        let behind = |builder: EnvoyBuilder| match before {
            Some(filter) => builder.before(filter),
            None => builder,
        };
        let own = behind(Envoy::local().policy("{limits: [{rate: 0/minute}]}")).start();
        let local = behind(Envoy::local().without_filter())
            .before(LOCAL_RATELIMIT)
            .start();
        assert_ne!(local.get("/").send().await.status, 429, "its one token");
        for content_type in CONTENT_TYPES {
            let ours = read(&call(&own, content_type).send().await);
            let theirs = read(&call(&local, content_type).send().await);
            let statuses = |read: &(u16, Option<String>, Option<String>)| (read.0, read.1.clone());
            assert_eq!(
                statuses(&ours),
                statuses(&theirs),
                "{content_type} {place}: {ours:?} {theirs:?}"
            );
            assert!(
                ours.0 == 429 || ours.1.is_some_and(|code| code != "0"),
                "{content_type} {place}"
            );
        }
        let denied = CONTENT_TYPES.len() as u64;
        assert_eq!(own.upstream.requests(), 0, "{place}");
        eventually(
            "all denials counted as errors",
            std::time::Duration::from_secs(5),
            || {
                let refused =
                    own.stat("http.http.downstream_rq_4xx") + own.stat("http.http.downstream_rq_2xx");
                (refused == denied).then_some(())
            },
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_callers_get_the_time_of_the_next_try() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(
            r#"{limits: [{name: slow, rate: 2/hour, match: {path: /a/Slow}},
              {name: fast, rate: 1/s, match: {path: /a/Fast}}, {name: never, rate: 0/s, match: {path: /a/Never}}]}"#,
        )
        .start();
    let http2 = envoy.http2();
    let call = |path: &str, timeout: &str| {
        let request = http2
            .request("POST", path)
            .header("content-type", "application/grpc");
        match timeout {
            "" => request,
            timeout => request.header("grpc-timeout", timeout),
        }
    };
    for _ in 0..2 {
        call("/a/Slow", "").send().await;
        call("/a/Fast", "").send().await;
    }
    let pushback = |response: &Response| response.number("grpc-retry-pushback-ms");
    let slow = call("/a/Slow", "").send().await;
    assert_eq!(
        (slow.status, slow.header("grpc-status").as_deref()),
        (200, Some("8"))
    );
    assert!(
        pushback(&slow).is_some_and(|millis| millis > 1_000_000),
        "{slow:?}"
    );
    assert!(slow.header("grpc-status-details-bin").is_some(), "{slow:?}");
    assert_eq!(slow.header("retry-after-ms"), None);
    let patient = call("/a/Slow", "9H").send().await;
    assert!(pushback(&patient).is_some_and(|millis| millis > 0));
    let hurried = call("/a/Slow", "5S").send().await;
    assert_eq!(pushback(&hurried), Some(-1), "its deadline comes before");
    assert!(
        hurried.header("grpc-status-details-bin").is_some(),
        "RetryInfo all the same"
    );
    let never = call("/a/Never", "").send().await;
    assert_eq!(pushback(&never), Some(-1));
    assert_eq!(never.header("grpc-status-details-bin"), None);
    assert_eq!(never.header("x-should-retry").as_deref(), Some("false"));
    let fast = eventually_denied(|| call("/a/Fast", "")).await;
    let millis = pushback(&fast).expect("a pushback");
    assert!((1..1_000).contains(&millis), "{fast:?}");
    assert_eq!(fast.number("retry-after-ms"), Some(millis));
    let http = eventually_denied(|| http2.get("/a/Fast")).await;
    assert!(http
        .number("retry-after-ms")
        .is_some_and(|millis| (1..1_000).contains(&millis)));
    for name in [
        "grpc-retry-pushback-ms",
        "grpc-status-details-bin",
        "x-should-retry",
    ] {
        assert_eq!(http.header(name), None, "{name} is for others");
    }
}

/// The first refusal; a window may end in between.
async fn eventually_denied(request: impl Fn() -> Request) -> Response {
    for _ in 0..20 {
        let response = request().send().await;
        if response.status == 429 || response.header("grpc-status").as_deref() == Some("8") {
            return response;
        }
    }
    panic!("nothing was denied")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unary_connect_call_gets_a_connect_error() {
    let policy = "{limits: [{rate: 0/minute}], response: {format: problem_json, content_type: application/problem+json; v=1}}";
    let envoy = Envoy::local().policy(policy).start();
    let http2 = envoy.http2();
    let post = |content_type: &str| {
        http2
            .request("POST", "/s/M")
            .header("connect-protocol-version", "1")
            .header("content-type", content_type)
    };
    for call in [
        post("application/json"),
        post("application/proto"),
        http2.get("/s/M?connect=v1&encoding=json"),
    ] {
        let response = call.send().await;
        assert_eq!(response.status, 429);
        assert_eq!(
            response.header("content-type").as_deref(),
            Some("application/json")
        );
        assert_eq!(response.json()["code"], "resource_exhausted");
        assert_eq!(response.json()["message"], "Rate limit exceeded");
        assert!(response.header("retry-after").is_some());
    }
    let stream = post("application/connect+json").send().await;
    assert_eq!(stream.status, 429);
    assert_eq!(
        stream.header("content-type").as_deref(),
        Some("application/problem+json; v=1")
    );
    assert_eq!(stream.json()["title"], "Quota exceeded");
    let failing = "{on_error: deny, redis: {cluster: nowhere}, limits: [{rate: 9/minute}]}";
    let failing = Envoy::alone().policy(failing).start();
    let error = failing.get("/s/M?connect=v1").send().await;
    assert_eq!(
        (error.status, error.json()["code"].as_str()),
        (503, Some("unavailable"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_shows_what_refused() {
    let redis = RedisCluster::shared();
    let details = r#"{details: "%RESPONSE_CODE_DETAILS%"}"#;
    for (policy, expected) in [
        ("{limits: [{rate: 0/minute}]}", "headgate_denied"),
        (
            "{on_no_client: deny, identify: [{header: x-key}], limits: [{rate: 9/minute}]}",
            "headgate_no_client",
        ),
        (
            "{on_ambiguous_client: deny, identify: [{query: k}], limits: [{rate: 9/minute}]}",
            "headgate_ambiguous_client",
        ),
        (
            "{on_error: deny, redis: {cluster: nowhere}, limits: [{rate: 9/minute}]}",
            "headgate_error",
        ),
    ] {
        let envoy = Envoy::with(redis).policy(policy).access_log(details).start();
        envoy.get("/?k=1&k=2").send().await;
        assert_eq!(envoy.access_log(1)[0]["details"], expected, "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_upstream_keeps_its_quota_headers() {
    let policy = "{limits: [{rate: 100/minute}], response: {headers: [x-ratelimit, ietf]}}";
    let inner = Envoy::with(RedisCluster::shared())
        .policy("{limits: [{name: inner, rate: 1/hour}], response: {headers: [x-ratelimit, ietf]}}")
        .start();
    let outer = Envoy::with(RedisCluster::shared())
        .policy(policy)
        .edit({
            let port = inner.port;
            move |config| config::set_endpoints(config::cluster(config, "upstream"), &[port])
        })
        .start();
    assert_eq!(
        outer.get("/").send().await.number("x-ratelimit-remaining"),
        Some(99)
    );
    let refused = outer.get("/").send().await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.number("x-ratelimit-limit"), Some(1), "{refused:?}");
    assert!(
        refused.number("retry-after").is_some_and(|wait| wait > 1_000),
        "{refused:?}"
    );
    assert_eq!(
        refused.header("ratelimit-policy").as_deref(),
        Some("\"inner\";q=1;w=3600")
    );
    let by_grpc = outer
        .http2()
        .request("POST", "/")
        .header("content-type", "application/grpc");
    let by_grpc = by_grpc.send().await;
    assert_eq!(by_grpc.header("grpc-status").as_deref(), Some("8"), "{by_grpc:?}");
    assert_eq!(by_grpc.number("x-ratelimit-limit"), Some(1), "{by_grpc:?}");
    let own = Envoy::with(RedisCluster::shared()).policy(policy).start();
    for (answer, expected) in [
        (
            r#"{"status": 429, "headers": {"retry-after": "7"}}"#,
            [None, Some("7"), None],
        ),
        (
            r#"{"status": 429, "headers": {"x-ratelimit-limit": "3", "retry-after": "7", "ratelimit-remaining": "0"}}"#,
            [Some("3"), Some("7"), Some("0")],
        ),
        (
            r#"{"status": 503, "headers": {"retry-after": "7", "ratelimit-remaining": "5"}}"#,
            [Some("100"), Some("7"), None],
        ),
    ] {
        let response = own.get("/").header("x-test-answer", answer).send().await;
        let names = ["x-ratelimit-limit", "retry-after", "ratelimit-remaining"];
        assert_eq!(
            names.map(|name| response.header(name)),
            expected.map(|text| text.map(str::to_owned)),
            "{answer}"
        );
    }
}
