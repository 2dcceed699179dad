//! The shipped tags on spans, as Envoy's OpenTelemetry tracer sends them.

use crate::harness::*;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Takes whatever is sent to it and answers 200; what came, as text.
fn receiver() -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let came = Arc::new(Mutex::new(String::new()));
    let all = came.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let all = all.clone();
            std::thread::spawn(move || take(stream, &all));
        }
    });
    (port, came)
}

fn take(mut stream: std::net::TcpStream, all: &Mutex<String>) {
    let mut bytes = [0; 65_536];
    while let Ok(size @ 1..) = stream.read(&mut bytes) {
        all.lock()
            .expect("the text")
            .push_str(&String::from_utf8_lossy(&bytes[..size]));
        let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_carry_the_decision_and_trace_ids_reach_the_upstream_as_they_were() {
    let (port, came) = receiver();
    let envoy = Envoy::with(RedisCluster::shared())
        .policy("limits: [{name: traced-limit, rate: 1/minute}]")
        .edit(move |config| {
            let mut shipped = config::load(&root().join("envoy/tracing.yaml"));
            config::set_endpoints(&mut shipped["cluster"], &[port]);
            config::hcm(config)["tracing"] = shipped["tracing"].take();
            let clusters = config["static_resources"]["clusters"]
                .as_array_mut()
                .expect("clusters");
            clusters.push(json!(shipped["cluster"]));
        })
        .start();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for n in 0..12 {
        let request = envoy
            .get("/")
            .header("x-api-key", "secret-key")
            .header("x-correlation-id", "c-1");
        let response = request
            .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
            .send()
            .await;
        if n == 0 {
            assert_eq!(
                response.upstream_header("x-correlation-id").as_deref(),
                Some("c-1")
            );
            let parent = response.upstream_header("traceparent").unwrap_or_default();
            assert!(parent.contains(trace), "{parent}");
        }
    }
    // an attribute of a span, as protobuf has it: a key and a text, each with its length
    let attribute = |key: &str, value: &str| {
        let length = |text: &str| char::from(text.len() as u8);
        let inner = char::from(value.len() as u8 + 2);
        format!("\n{}{key}\u{12}{inner}\n{}{value}", length(key), length(value))
    };
    let count = |part: &str| came.lock().expect("the text").matches(part).count();
    wait_for("twelve spans", Duration::from_secs(20), || {
        let decided = count(&attribute("rate.limit.decision", "allowed"))
            + count(&attribute("rate.limit.decision", "denied"));
        (decided == 12).then_some(())
    });
    assert_eq!(count(&attribute("rate.limit.decision", "denied")), 11);
    assert_eq!(
        count(&attribute("error", "true")),
        11,
        "of a denied request's span alone"
    );
    assert_eq!(count(&attribute("rate.limit.name", "traced-limit")), 12);
    assert_eq!(count(&attribute("rate.limit.max", "1")), 12);
    assert_eq!(count(&attribute("rate.limit.remaining", "0")), 12);
    assert!(
        count("rate.limit.redis_us") >= 2,
        "of those that Redis was asked for"
    );
    assert_eq!(count("http.client_id"), 12);
    assert_eq!(count("secret-key"), 0);
}
