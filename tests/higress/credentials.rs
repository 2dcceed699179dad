//! Who calls: what the gateway's client is told, what of it it forgets, and what is refused before it is told.

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

/// A Redis that lets nobody in without the password: a user with the shipped rights, and the test's own.
fn secured_redis() -> Node {
    let shipped = std::fs::read_to_string(root().join("envoy/redis-users.acl")).expect("the shipped users");
    let (_, rights) = shipped.split_once(">change-me ").expect("the shipped user");
    let users = format!(
        "--user default off --user harness on >harness ~* &* +@all --user limiter on >s3cret {} +select",
        rights.trim()
    );
    Node::start(&users.split(' ').collect::<Vec<_>>(), Some("harness"))
}

/// A gateway whose environment has this password.
fn gateway(redis: &Node, secret: &str, config: &str) -> Gateway {
    let gateway = Gateway::builder().service(SERVICE, &[redis.port]);
    gateway.env("SECRET", secret).start(config).unwrap()
}

#[test]
fn the_client_is_told_once_who_calls_and_to_send_at_once() {
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
        "{:?}: the client's timer is not a caller's",
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
fn what_this_artifact_cannot_do_is_refused_with_the_remedy() {
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
        ("{role: redis_call}", "headgate.wasm has this role"),
        ("{redis: {key_prefix: a}}", "headgate.wasm has this role"),
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
fn after_an_update_of_the_service_credentials_are_given_again_and_no_call_is_lost() {
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
    assert_eq!(gateway.state().inits.len(), 2, "once for all of them");
}

#[test]
fn with_a_wrong_password_credentials_are_given_once_a_second_and_the_failure_policy_decides() {
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
fn a_cluster_that_goes_away_and_comes_back_is_told_who_calls() {
    let redis = secured_redis();
    let mut gateway = gateway(&redis, "s3cret", &secured().replace("5s", "1s"));
    assert_eq!(get(&mut gateway, "/deny").status, 200);
    gateway.remove_service();
    assert_eq!(get(&mut gateway, "/deny").status, 503);
    gateway.update_service(&[redis.port]);
    until_counted(&mut gateway);
    assert_eq!(redis.errors("NOAUTH"), 0, "before anything was sent");
}

#[test]
fn the_shipped_plugin_counts_as_it_stands() {
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
