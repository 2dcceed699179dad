//! The example filter of `redis-call` with the configuration beside it: what the crate gives to any filter.

use crate::harness::*;
use redis_call::guard::frame_header;
use redis_call::resp::{self, Decoder, Value};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// An Envoy with the shipped configuration on ports of its own; the guard is on a TCP port as well.
fn visits(redis: u16) -> EnvoyBuilder {
    let module = root().join("target/visits.wasm");
    assert!(
        module.exists(),
        "no {}: run `make build-example`",
        module.display()
    );
    Envoy::alone().whole(move |place: &Place| {
        let mut config = config::load(&root().join("crates/redis-call/examples/visits.envoy.yaml"));
        config::set_port(&mut config["admin"], place.admin_port);
        config::set_port(config::listener(&mut config, "http"), place.port);
        config::set_endpoints(config::cluster(&mut config, "upstream"), &[place.upstream]);
        config::set_endpoints(config::cluster(&mut config, "redis"), &[redis]);
        // A busy machine's pauses are no failures of Redis.
        let proxy = &mut config::listener(&mut config, "redis_call")["filter_chains"][0]["filters"][1];
        proxy["typed_config"]["settings"]["op_timeout"] = json!("10s");
        let filter = &mut config::hcm(&mut config)["http_filters"][0]["typed_config"]["config"];
        filter["vm_config"]["code"]["local"]["filename"] = json!(module);
        let guard = &mut config::listener(&mut config, "redis_call")["filter_chains"][0]["filters"][0];
        guard["typed_config"]["config"]["vm_config"]["code"]["local"]["filename"] = json!(module);
        let mut open = config::listener(&mut config, "redis_call").clone();
        open["name"] = json!("redis_call_open");
        let fields = open.as_object_mut().expect("a listener");
        fields.remove("internal_listener");
        open["address"] =
            json!({"socket_address": {"address": "127.0.0.1", "port_value": place.redis_call_port}});
        let listeners = config["static_resources"]["listeners"].as_array_mut();
        listeners.expect("listeners").push(open);
        config
    })
}

/// The count that a request of this host gets.
async fn visit(envoy: &Envoy, host: &str) -> Option<i64> {
    let response = envoy.get("/").header("host", host).send().await;
    assert_eq!(response.status, 200);
    response.number("x-visits")
}

/// A connection to the guard, as any client that reaches its listener has.
struct Intruder(TcpStream);

impl Intruder {
    fn to(envoy: &Envoy) -> Intruder {
        let stream = TcpStream::connect(("127.0.0.1", envoy.redis_call_port)).expect("the guard");
        let timeout = Some(Duration::from_secs(5));
        stream.set_read_timeout(timeout).expect("a timeout");
        Intruder(stream)
    }

    /// The reply to a command.
    fn asks(&mut self, args: &[&str]) -> Value {
        let mut command = Vec::new();
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        resp::command(&mut command, &args);
        let frame = [&frame_header(command.len() as u32)[..], &command].concat();
        self.0.write_all(&frame).expect("a command sent");
        let mut decoder = Decoder::new();
        loop {
            let mut header = [0; 5];
            self.0.read_exact(&mut header).expect("a frame");
            let [_, a, b, c, d] = header;
            let mut message = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
            self.0.read_exact(&mut message).expect("a message");
            decoder.push(&message);
            if let Some(reply) = decoder.next().expect("RESP") {
                return reply;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_counts_in_redis_and_answers_with_the_count() {
    for version in envoy_versions() {
        let redis = SingleRedis::start();
        let envoy = visits(redis.port).version(version).start();
        // On several workers, each with its own streams.
        for count in 1..=20 {
            assert_eq!(visit(&envoy, "a.example").await, Some(count), "{}", envoy.log());
        }
        assert_eq!(visit(&envoy, "b.example").await, Some(1));
        assert_eq!(redis.call::<i64>(&["GET", "visits:a.example"]), 20);
        let mut together = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let request = envoy.get("/").header("host", "many.example");
            together.spawn(async { request.send().await.number("x-visits") });
        }
        let mut counts = together.join_all().await;
        counts.sort_unstable();
        assert_eq!(counts, (1..=200).map(Some).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_works_without_redis_and_counts_again_with_it() {
    let redis = SingleRedis::start();
    // One worker, which knows by its first calls that this is no cluster.
    let envoy = visits(redis.port).concurrency(1).start();
    for count in 1..=5 {
        assert_eq!(visit(&envoy, "a.example").await, Some(count));
    }
    redis.freeze();
    for _ in 0..10 {
        assert_eq!(visit(&envoy, "a.example").await, None);
    }
    envoy.wait_for_log("redis-call: circuit breaker opened for Redis");
    redis.thaw();
    wait_until_counted(&envoy).await;
    envoy.wait_for_log("redis-call: circuit breaker closed for Redis");
}

async fn wait_until_counted(envoy: &Envoy) {
    for _ in 0..500 {
        if visit(envoy, "back.example").await.is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not count again: {}", envoy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_guard_accepts_only_its_own_commands() {
    let redis = SingleRedis::start();
    redis.call::<()>(&["SET", "other", "7"]);
    let envoy = visits(redis.port).start();
    let mut intruder = Intruder::to(&envoy);
    assert_eq!(intruder.asks(&["INCR", "visits:a.example"]), Value::Int(1));
    for args in [
        &["FLUSHALL"][..],
        &["INCR", "other"],
        &["GET", "visits:a.example"],
    ] {
        match intruder.asks(args) {
            Value::Error(text) => assert!(text.windows(8).any(|part| part == b"-refused"), "{args:?}"),
            other => panic!("{args:?}: {other:?}"),
        }
    }
    assert_eq!(redis.call::<i64>(&["GET", "other"]), 7);
    envoy.wait_for_log("redis-call: refused");
    // What is no frame ends its connection for good, and no other one.
    let mut garbage = Intruder::to(&envoy);
    garbage.0.write_all(b"FLUSHALL\r\n").expect("bytes sent");
    envoy.wait_for_log("redis-call: gRPC frame flag");
    assert_eq!(intruder.asks(&["INCR", "visits:a.example"]), Value::Int(2));
    assert_eq!(visit(&envoy, "a.example").await, Some(3));
}
