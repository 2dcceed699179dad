//! The shipped tags on spans, as Envoy's OpenTelemetry tracer sends them, and traces that callers have started.

use crate::harness::*;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// The shipped custom tags.
const TAGS: &str = "custom_tags";
/// Those for Envoys that cannot read filter state there.
const TAGS_1_36: &str = "custom_tags_1_36";

/// A receiver of OTLP over HTTP; ends with the test's runtime.
#[derive(Clone, Default)]
struct Receiver {
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Receiver {
    async fn start() -> (u16, Receiver) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let receiver = Receiver::default();
        let all = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let all = all.clone();
                let service = service_fn(move |request| all.clone().take(request));
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        (port, receiver)
    }

    async fn take(
        self,
        request: hyper::Request<Incoming>,
    ) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
        let is_otlp = request.uri().path() == "/v1/traces";
        let body = request.into_body().collect().await.map(|body| body.to_bytes());
        let sent = body
            .ok()
            .and_then(|body| ExportTraceServiceRequest::decode(body).ok());
        let Some(sent) = sent.filter(|_| is_otlp) else {
            let refused = hyper::Response::builder().status(400).body(Full::default());
            return Ok(refused.expect("a response"));
        };
        let scopes = sent
            .resource_spans
            .into_iter()
            .flat_map(|spans| spans.scope_spans);
        let mut spans = self.spans.lock().expect("the spans");
        spans.extend(scopes.flat_map(|scope| scope.spans));
        Ok(hyper::Response::new(Full::default()))
    }

    /// So many spans of this kind, and no more, in the order of their beginnings.
    fn spans(&self, kind: SpanKind, count: usize) -> Vec<Span> {
        let of_kind = || {
            let spans = self.spans.lock().expect("the spans");
            let fits = |span: &&Span| span.kind == kind as i32;
            spans.iter().filter(fits).cloned().collect::<Vec<Span>>()
        };
        let what = format!("{count} spans of {kind:?}");
        let mut spans = wait_for(&what, Duration::from_secs(20), || {
            Some(of_kind()).filter(|spans| spans.len() >= count)
        });
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans.sort_by_key(|span| span.start_time_unix_nano);
        spans
    }
}

/// An Envoy that sends its spans to this port, with one of the shipped lists of tags.
fn traced(builder: EnvoyBuilder, port: u16, tags: &'static str) -> EnvoyBuilder {
    builder.edit(move |config| {
        let mut shipped = config::load(&root().join("envoy/tracing.yaml"));
        config::set_endpoints(&mut shipped["cluster"], &[port]);
        let mut tracing = shipped["tracing"].take();
        tracing["custom_tags"] = match tags {
            TAGS => tracing[TAGS].take(),
            other => shipped[other].take(),
        };
        assert!(tracing["custom_tags"].is_array(), "{tags}");
        config::hcm(config)["tracing"] = tracing;
        let clusters = &mut config["static_resources"]["clusters"];
        let clusters = clusters.as_array_mut().expect("clusters");
        clusters.push(json!(shipped["cluster"]));
    })
}

/// Those that are text, which is how Envoy sends them all.
fn attributes(span: &Span) -> BTreeMap<&str, &str> {
    let mut attributes = BTreeMap::new();
    for attribute in &span.attributes {
        if let Some(Any::StringValue(text)) = attribute.value.as_ref().and_then(|value| value.value.as_ref())
        {
            attributes.insert(attribute.key.as_str(), text.as_str());
        }
    }
    attributes
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn status(span: &Span) -> StatusCode {
    span.status
        .as_ref()
        .map_or(StatusCode::Unset, |status| status.code())
}

async fn ask(envoy: &Envoy) -> Response {
    let request = envoy.get("/").header("x-api-key", "secret-key");
    let request = request.header("traceparent", format!("00-{TRACE}-{PARENT}-01"));
    request.header("tracestate", "vendor=a:1,other=2").send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_span_has_the_decision_in_the_callers_trace() {
    if !envoy_has(Capability::TagsByFormat) {
        return;
    }
    let (port, receiver) = Receiver::start().await;
    // what one worker knows from memory, another asks Redis for
    let builder = Envoy::with(RedisCluster::shared())
        .policy("{limits: [{name: traced-limit, rate: 2/minute}], verdict_cache: {max_age: 30s}}")
        .concurrency(1);
    let envoy = traced(builder, port, TAGS)
        .edit(|config| config::hcm(config)["tracing"]["spawn_upstream_span"] = json!(true))
        .start();
    let mut upstream = Vec::new();
    for n in 0..5 {
        let response = ask(&envoy).await;
        assert_eq!(response.status == 200, n < 2, "{response:?}");
        if n < 2 {
            let state = response.upstream_header("tracestate");
            assert_eq!(state.as_deref(), Some("vendor=a:1,other=2"));
            upstream.push(response.upstream_header("traceparent").unwrap_or_default());
        }
    }
    let spans = receiver.spans(SpanKind::Server, 5);
    for (n, span) in spans.iter().enumerate() {
        let denied = n >= 2;
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(hex(&span.parent_span_id), PARENT);
        let tags = attributes(span);
        let decision = if denied { "denied" } else { "allowed" };
        assert_eq!(tags["rate.limit.decision"], decision);
        assert_eq!(tags["rate.limit.name"], "traced-limit");
        assert_eq!(tags["rate.limit.max"], "2");
        assert_eq!(tags["rate.limit.remaining"], ["1", "0", "0", "0", "0"][n]);
        let client = tags["http.client_id"].strip_prefix("api_key:");
        assert!(client.is_some_and(|hash| hash.len() == 32), "{tags:?}");
        let micros = tags
            .get("rate.limit.redis_us")
            .map(|micros| micros.parse::<u64>());
        match n {
            0..3 => assert!(matches!(micros, Some(Ok(1..))), "Redis was asked: {tags:?}"),
            _ => assert_eq!(micros, None, "known from memory"),
        }
        assert_eq!(tags.get("error"), denied.then_some(&"true"));
        assert_eq!(
            status(span),
            StatusCode::Unset,
            "a server's span, whose caller has failed"
        );
    }
    let calls = receiver.spans(SpanKind::Client, 2);
    for ((call, span), header) in calls.iter().zip(&spans).zip(upstream) {
        assert_eq!(
            call.parent_span_id, span.span_id,
            "only an allowed request reaches the upstream"
        );
        assert_eq!(header, format!("00-{TRACE}-{}-01", hex(&call.span_id)));
    }
    let all = format!("{spans:?}{calls:?}");
    assert!(!all.contains("secret-key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_an_error_of_a_client_span() {
    if !envoy_has(Capability::TagsByFormat) {
        return;
    }
    let (port, receiver) = Receiver::start().await;
    let builder = Envoy::with(RedisCluster::shared()).policy("limits: [{rate: 1/minute}]");
    let envoy = traced(builder, port, TAGS)
        .edit(|config| config::listener(config, "http")["traffic_direction"] = json!("OUTBOUND"))
        .start();
    for _ in 0..2 {
        ask(&envoy).await;
    }
    let spans = receiver.spans(SpanKind::Client, 2);
    let tags: Vec<_> = spans
        .iter()
        .map(|span| (status(span), attributes(span).get("error").copied()))
        .collect();
    let expected = [(StatusCode::Unset, None), (StatusCode::Error, Some("true"))];
    assert_eq!(tags, expected, "{spans:#?}");
}

/// There tags cannot read filter state: a span has only the values of the headers to the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn on_the_oldest_envoy_spans_carry_values_of_request_headers() {
    let (port, receiver) = Receiver::start().await;
    let builder = Envoy::with(RedisCluster::shared())
        .version("1.36.2")
        .policy("limits: [{rate: 2/minute}, {name: quiet, rate: 1/minute, enforce: false}]");
    let envoy = traced(builder, port, TAGS_1_36).start();
    for _ in 0..3 {
        ask(&envoy).await;
    }
    let spans = receiver.spans(SpanKind::Server, 3);
    let tags = |tag: &str| -> Vec<_> {
        spans
            .iter()
            .map(|span| attributes(span).get(tag).copied())
            .collect()
    };
    assert_eq!(tags("rate.limit.max"), [Some("2"), Some("2"), None]);
    assert_eq!(tags("rate.limit.remaining"), [Some("1"), Some("0"), None]);
    assert_eq!(tags("rate.limit.shadow_denied"), [None, Some("true"), None]);
    assert_eq!(tags("http.status_code"), [Some("200"), Some("200"), Some("429")]);
    assert!(spans
        .iter()
        .all(|span| hex(&span.trace_id) == TRACE && status(span) == StatusCode::Unset));
}

const W3C_HEADERS: [(&str, &str); 2] = [
    (
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ),
    ("tracestate", "vendor=a:1,other=2"),
];
const B3_HEADERS: [(&str, &str); 1] = [(
    "b3",
    "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90",
)];
const B3_MULTI: [(&str, &str); 5] = [
    ("x-b3-traceid", "463ac35c9f6413ad48485a3953bb6124"),
    ("x-b3-spanid", "a2fb4a1d1a96d312"),
    ("x-b3-parentspanid", "0020000000000001"),
    ("x-b3-sampled", "1"),
    ("x-b3-flags", "0"),
];

fn with(mut request: Request, headers: &[(&str, &str)]) -> Request {
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_and_correlation_ids_reach_the_upstream_as_they_were() {
    // Envoy itself replaces an x-request-id from outside, unless it is configured otherwise
    let envoy = Envoy::with(RedisCluster::shared())
        .policy("limits: [{rate: 1000/minute}]")
        .edit(|config| config::hcm(config)["preserve_external_request_id"] = json!(true))
        .start();
    let ids = [
        ("x-request-id", "3c2e4c1e-8f0a-4b0e-9b57-5d1c0a1f7e11"),
        ("x-correlation-id", "c-1"),
    ];
    let all = [&W3C_HEADERS[..], &B3_HEADERS, &B3_MULTI, &ids].concat();
    let response = with(envoy.get("/"), &all).send().await;
    for (name, value) in all {
        assert_eq!(response.upstream_header(name).as_deref(), Some(value), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denials_line_names_the_callers_trace() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy("{limits: [{rate: 1/hour}], log: {denials_per_second: 100}}")
        .start();
    envoy.get("/").send().await;
    for headers in [&W3C_HEADERS[..], &B3_HEADERS, &B3_MULTI, &[]] {
        assert_eq!(with(envoy.get("/"), headers).send().await.status, 429);
    }
    let lines = wait_for("four lines", Duration::from_secs(5), || {
        Some(envoy.events("rate_limit_exceeded")).filter(|lines| lines.len() == 4)
    });
    let traces: Vec<&Value> = lines.iter().map(|line| &line["trace_id"]).collect();
    let expected = [
        json!(TRACE),
        json!("80f198ee56343ba864fe8b2a57d3eff7"),
        json!("463ac35c9f6413ad48485a3953bb6124"),
        Value::Null,
    ];
    assert_eq!(traces, expected.iter().collect::<Vec<_>>());
}
