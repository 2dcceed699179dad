//! Credentials: what the gateway's client gets, when it gets them again, and which configurations are refused.

use crate::faults::{get, left, patient, until_counted};
use crate::gateway::{Gateway, Request, SERVICE};
use crate::harness::{config, root, Node};
use std::time::{Duration, Instant};

fn secured() -> String {
    patient("").replace(
        "redis.dns:6379",
        "redis.dns:6379, username: limiter, password: {env: SECRET}, database: 3",
    )
}

/// A Redis that requires a password: one user with the shipped rights, and one for the test.
fn secured_redis() -> Node {
    let shipped = std::fs::read_to_string(root().join("envoy/redis-users.acl")).expect("the shipped users");
    let (_, rights) = shipped.split_once(">change-me ").expect("the shipped user");
    let users = format!(
        "--user default off --user harness on >harness ~* &* +@all --user limiter on >s3cret {} +select",
        rights.trim()
    );
    Node::start(&users.split(' ').collect::<Vec<_>>(), Some("harness"))
}

/// A gateway with this password in its environment.
fn gateway(redis: &Node, secret: &str, config: &str) -> Gateway {
    let gateway = Gateway::builder().service(SERVICE, &[redis.port]);
    gateway.env("SECRET", secret).start(config).unwrap()
}

#[test]
fn the_client_gets_credentials_and_settings_once() {
    let redis = secured_redis();
    let mut gateway = gateway(&redis, "s3cret", &secured());
    assert_eq!(left(&get(&mut gateway, "/deny")), Some("49"));
    let [init] = gateway.state().inits.as_slice() else {
        panic!("{:?}", gateway.state().inits)
    };
    assert_eq!(
        init.service,
        format!("{SERVICE}?db=3&buffer_flush_timeout=0&max_buffer_size_before_flush=0")
    );
    assert_eq!(
        (init.username.as_str(), init.password.as_str()),
        ("limiter", "s3cret")
    );
    assert!(
        init.timeout >= Duration::from_millis(2_100),
        "{:?}: the client's timer must be longer than a caller's timeout",
        init.timeout
    );
    let in_third: String = redis.call(&["INFO", "keyspace"]);
    assert!(
        in_third.contains("db3:keys=1") && !in_third.contains("db0:"),
        "{in_third}"
    );
    assert!(!gateway.log().contains("s3cret"));
}

#[test]
fn unsupported_configurations_are_refused_with_the_remedy() {
    let refused = |config: &str| Gateway::builder().service(SERVICE, &[]).refused(config);
    for (config, expected) in [
        (
            secured().as_str(),
            "redis.native.password.env: \"SECRET\": no such environment variable",
        ),
        ("limits: [{rate: 1/s}]", "redis is missing; write redis: {native:"),
        (
            "{redis: {cluster: c}, limits: [{rate: 1/s}]}",
            "native is missing",
        ),
        ("{role: redis_call}", "is a role of headgate.wasm"),
        ("{redis: {key_prefix: a}}", "is a role of headgate.wasm"),
    ] {
        let log = refused(config);
        assert!(log.contains(expected), "{config}: {log}");
    }
    let log = Gateway::builder()
        .service(SERVICE, &[])
        .unimplemented()
        .refused(&patient(""));
    assert!(
        log.contains("redis.native: this proxy does not implement a Redis call; load headgate.wasm"),
        "{log}"
    );
    Gateway::builder()
        .start("{store: local, limits: [{rate: 1/s}]}")
        .expect("no Redis, no service");
}

#[test]
fn after_an_update_of_the_service_no_call_is_lost() {
    let redis = secured_redis();
    let mut gateway = gateway(&redis, "s3cret", &secured());
    assert_eq!(left(&get(&mut gateway, "/deny")), Some("49"));
    gateway.run_for(Duration::from_millis(1_000));
    gateway.update_service(&[redis.port]);
    let requests = (0..4)
        .map(|_| Request::get("/deny").header("x-api-key", "a"))
        .collect();
    let answers = gateway.send_all(requests);
    let mut lefts: Vec<_> = answers.iter().map(left).collect();
    lefts.sort();
    assert_eq!(
        lefts,
        [Some("45"), Some("46"), Some("47"), Some("48")],
        "{}",
        gateway.log()
    );
    assert_eq!(
        gateway.state().inits.len(),
        2,
        "credentials are sent once for all calls"
    );
}

#[test]
fn a_wrong_password_is_sent_once_a_second_and_on_error_applies() {
    let redis = secured_redis();
    let mut gateway = gateway(&redis, "wrong", &secured());
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2_500) {
        assert_eq!(get(&mut gateway, "/deny").status, 503);
        gateway.turn();
    }
    let inits = gateway.state().inits.len();
    let most = 2 + start.elapsed().as_secs() as usize;
    assert!((2..=most).contains(&inits), "{inits} in {:?}", start.elapsed());
    redis.call::<()>(&["ACL", "SETUSER", "limiter", ">wrong"]);
    until_counted(&mut gateway);
}

#[test]
fn a_cluster_that_comes_back_gets_the_credentials() {
    let redis = secured_redis();
    let mut gateway = gateway(&redis, "s3cret", &secured().replace("5s", "1s"));
    assert_eq!(get(&mut gateway, "/deny").status, 200);
    gateway.remove_service();
    assert_eq!(get(&mut gateway, "/deny").status, 503);
    gateway.update_service(&[redis.port]);
    until_counted(&mut gateway);
    assert_eq!(
        redis.errors("NOAUTH"),
        0,
        "credentials come before the first command"
    );
}

#[test]
fn the_shipped_plugin_counts_unchanged() {
    let redis = secured_redis();
    redis.call::<()>(&[
        "ACL",
        "SETUSER",
        "headgate",
        "on",
        ">s3cret",
        "~ratelimit:*",
        "+@all",
    ]);
    let text = std::fs::read_to_string(root().join("envoy/higress.yaml")).expect("the manifest");
    let plugin = config::parse(text.split("\n---").next().expect("a document"));
    assert_eq!(plugin["kind"], "WasmPlugin");
    let variables = plugin["spec"]["vmConfig"]["env"]
        .as_array()
        .expect("variables")
        .iter();
    let gateway = Gateway::builder().service("outbound|6379||headgate-redis.dns", &[redis.port]);
    let gateway = variables.fold(gateway, |gateway, variable| {
        gateway.env(variable["name"].as_str().expect("a name"), "s3cret")
    });
    let mut policy = plugin["spec"]["pluginConfig"].clone();
    policy["redis"]["timeout"] = "5s".into();
    let mut gateway = gateway.start(&policy.to_string()).unwrap();
    let answers: Vec<_> = (0..101).map(|_| get(&mut gateway, "/").status).collect();
    assert_eq!(
        answers.iter().filter(|status| **status == 200).count(),
        100,
        "{}",
        gateway.log()
    );
}
