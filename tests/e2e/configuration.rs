//! Configurations that Envoy refuses to start with, and the reasons that it logs.

use crate::harness::*;
use serde_json::json;

#[test]
fn envoy_refuses_a_broken_policy_and_its_log_names_the_path() {
    let broken = [
        ("limits: [{rate: 100/fortnight}]", "limits[0].rate"),
        ("{limits: [{rate: 1/s}], limit: 3}", "limit"),
        ("{limits: [{rate: 1/s, algoritm: gcra}]}", "limits[0].algoritm"),
        ("{redis: {timeout: 100}, limits: [{rate: 1/s}]}", "redis.timeout"),
        (
            "{identify: [{header: x-a}, {header: x-a}], limits: [{rate: 1/s}]}",
            "identify[1]",
        ),
        (
            "{limits: [{name: a, rate: 1/s}, {name: a, rate: 2/s}]}",
            "limits[1].name",
        ),
        (
            "{store: local, limits: [{rate: 1/s, lease: 10%}]}",
            "limits[0].lease",
        ),
        ("{role: redis_call, limits: [{rate: 1/s}]}", "limits"),
    ];
    for (policy, path) in broken {
        let log = Envoy::alone().policy(policy).refused();
        let line = log.lines().find(|line| line.contains(&format!("{path}:")));
        assert!(line.is_some(), "{policy}: no line with {path} in\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_policy_at_all_is_refused_too() {
    for raw in ["", "not json", "[]", "{\"limits\":"] {
        let log = Envoy::alone().raw_policy(raw).refused();
        assert!(log.contains("headgate"), "{raw:?}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_envoy_keeps_its_policy_when_the_next_is_broken() {
    let envoy = Envoy::with(RedisCluster::shared())
        .dynamic()
        .policy("limits: [{rate: 2/hour}]")
        .start();
    assert_eq!(envoy.get("/").send().await.number("x-ratelimit-limit"), Some(2));
    envoy.try_reload("limits: [{rate: 9/fortnight}]");
    envoy.wait_for_log("limits[0].rate");
    assert_eq!(envoy.get("/").send().await.number("x-ratelimit-limit"), Some(2));
    envoy.reload("limits: [{rate: 9/hour}]");
    assert_eq!(
        Client::http1(envoy.port)
            .get("/")
            .send()
            .await
            .number("x-ratelimit-limit"),
        Some(9)
    );
}

#[test]
fn the_redis_call_of_higress_is_refused_and_its_module_named() {
    let policy = "{redis: {native: {service: redis.dns:6379}}, limits: [{rate: 1/s}]}";
    let log = Envoy::alone().policy(policy).refused();
    assert!(
        log.contains("redis.native: only headgate-higress.wasm supports this"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deepest_policy_that_is_read_fits_into_the_stack() {
    let deep = |form: &str, innermost: &str| {
        (0..120).fold(innermost.to_owned(), |inner, _| form.replace('$', &inner))
    };
    let condition = deep(
        r#"{"not": $}"#,
        r#"{"path": "/a", "headers": {"x-a": {"regex": "REGEX"}}}"#,
    );
    let regex = (0..12).fold("1".to_owned(), |inner, _| format!("({inner}|[a-c]+)"));
    let policy = r#"{"store": "local", "limits": [{"rate": "1/hour", "match": MATCH}]}"#;
    let policy = policy.replace("MATCH", &condition).replace("REGEX", &regex);
    let envoy = Envoy::alone().raw_policy(&policy).start();
    for (path, status) in [("/a", 200), ("/b", 200), ("/b", 200), ("/a", 429)] {
        let response = envoy.get(path).header("x-a", "1").send().await;
        assert_eq!(response.status, status, "{path}");
    }
    let log = Envoy::alone().raw_policy(&deep("[$]", "")).refused();
    assert!(log.contains("configuration: [[["), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_as_bytes_is_read_as_its_text_is() {
    // {"store": "local", "limits": [{"rate": "2/hour"}]}
    let bytes = "eyJzdG9yZSI6ICJsb2NhbCIsICJsaW1pdHMiOiBbeyJyYXRlIjogIjIvaG91ciJ9XX0=";
    let envoy = Envoy::local()
        .edit(move |config| {
            let kind = "type.googleapis.com/google.protobuf.BytesValue";
            config::headgate(config)["configuration"] = json!({"@type": kind, "value": bytes});
        })
        .start();
    for expected in [200, 200, 429] {
        assert_eq!(
            envoy.get("/").header("x-api-key", "a").send().await.status,
            expected
        );
    }
}

/// Their encodings begin as a Struct's may: neither is taken for one, nor for an empty one.
#[test]
fn other_messages_are_refused_in_both_roles() {
    let value = "type.googleapis.com/google.protobuf.Value";
    let typed = "type.googleapis.com/xds.type.v3.TypedStruct";
    let policy = json!({"limits": [{"rate": "1/s"}]});
    let guard = json!({"role": "redis_call", "redis": {"key_prefix": "ratelimit"}});
    type Role = fn(&mut serde_json::Value) -> &mut serde_json::Value;
    let roles: [(Role, serde_json::Value); 2] = [(config::headgate, policy), (config::redis_call, guard)];
    for (role, content) in roles {
        for message in [
            json!({"@type": value, "value": content}),
            json!({"@type": value, "value": {}}),
            json!({"@type": value, "value": null}),
            json!({"@type": value, "value": content.to_string()}),
            json!({"@type": typed, "value": content}),
            json!({"@type": typed, "type_url": "type.googleapis.com/headgate", "value": content}),
        ] {
            let shown = message.to_string();
            let envoy = Envoy::alone().edit(move |config| role(config)["configuration"] = message.clone());
            let log = envoy.refused();
            let reason =
                "configuration refused: configuration: neither JSON text nor a google.protobuf.Struct";
            assert!(log.contains(reason), "{shown}: {log}");
        }
    }
}
