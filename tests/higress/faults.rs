//! What only the native road can meet: every fault of the gateway's client that can be brought about.

use crate::gateway::{Gateway, Request, Response, SERVICE};
use crate::harness::{config, free_port, root, Node, RedisCluster, SingleRedis};
use std::time::{Duration, Instant};

/// `redis` and more fields of it, then a limit for each failure policy.
fn policy(redis: &str) -> String {
    format!(
        "{{redis: {{native: {{service: redis.dns:6379}}, timeout: 100ms{redis}}}, limits: [\
         {{name: shut, rate: 50/hour, match: {{path: /deny}}, on_error: deny}}, \
         {{name: open, rate: 50/hour, match: {{path: /allow}}, on_error: allow}}]}}"
    )
}

fn secured() -> String {
    policy("").replace(
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

fn get(gateway: &mut Gateway, path: &str) -> Response {
    gateway.send(Request::get(path).header("x-api-key", "a"))
}

fn left(response: &Response) -> Option<&str> {
    let found = response
        .headers
        .iter()
        .find(|(name, _)| name == "x-ratelimit-remaining");
    found.map(|(_, value)| value.as_str())
}

/// Calls until one is counted.
fn until_counted(gateway: &mut Gateway) {
    let start = Instant::now();
    while get(gateway, "/deny").status != 200 {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "not counted:\n{}",
            gateway.log()
        );
        gateway.turn();
    }
}

#[test]
fn the_client_is_told_once_who_calls_and_to_send_at_once() {
    let redis = secured_redis();
    let gateway = Gateway::builder()
        .service(SERVICE, &[redis.port])
        .env("SECRET", "s3cret")
        .start(&secured());
    let mut gateway = gateway.unwrap();
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
        ("{role: redis_call}", "role redis_call: headgate.wasm has it"),
    ] {
        let log = refused(config);
        assert!(log.contains(expected), "{config}: {log}");
    }
    let log = Gateway::builder()
        .service(SERVICE, &[])
        .unimplemented()
        .refused(&policy(""));
    assert!(
        log.contains("redis.native: this proxy has no Redis call of its own; load headgate.wasm"),
        "{log}"
    );
    Gateway::builder()
        .start("{store: local, limits: [{rate: 1/s}]}")
        .expect("no Redis, no service");
}

#[test]
fn a_service_that_is_unknown_while_configuring_is_counted_in_once_it_is_there() {
    let redis = SingleRedis::start();
    let mut gateway = Gateway::builder()
        .start(&policy(""))
        .expect("status 2 is no reason to refuse");
    let start = Instant::now();
    assert_eq!(get(&mut gateway, "/deny").status, 503);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(get(&mut gateway, "/allow").status, 200);
    assert!(
        gateway.log().contains("onlyPushRouteCluster"),
        "{}",
        gateway.log()
    );
    gateway.update_service(&[redis.port]);
    until_counted(&mut gateway);
    assert_eq!(gateway.state().inits.last().unwrap().status, 0);
}

#[test]
fn without_a_host_the_failure_policy_decides_until_there_is_one() {
    let redis = SingleRedis::start();
    let mut gateway = Gateway::builder()
        .service(SERVICE, &[])
        .start(&policy(""))
        .unwrap();
    assert_eq!(
        (
            get(&mut gateway, "/deny").status,
            get(&mut gateway, "/allow").status
        ),
        (503, 200)
    );
    assert!(
        gateway.log().contains("redis.native.service has no host"),
        "{}",
        gateway.log()
    );
    gateway.update_service(&[redis.port]);
    until_counted(&mut gateway);
}

#[test]
fn a_caller_waits_for_its_deadline_and_not_for_the_clients_timer_and_the_late_reply_finds_nobody() {
    let redis = SingleRedis::start();
    let mut gateway = Gateway::builder()
        .service(SERVICE, &[redis.port])
        .start(&policy(""))
        .unwrap();
    assert_eq!(left(&get(&mut gateway, "/deny")), Some("49"));
    redis.freeze();
    let response = get(&mut gateway, "/deny");
    assert_eq!(response.status, 503);
    assert!(
        response.elapsed >= Duration::from_millis(99),
        "{:?}",
        response.elapsed
    );
    assert!(
        response.elapsed < Duration::from_millis(1_500),
        "{:?}",
        response.elapsed
    );
    let start = Instant::now();
    assert_eq!(get(&mut gateway, "/deny").status, 503);
    assert!(
        start.elapsed() < Duration::from_millis(90),
        "the breaker is open: {:?}",
        start.elapsed()
    );
    redis.thaw();
    until_counted(&mut gateway);
    assert_eq!(
        left(&get(&mut gateway, "/deny")),
        Some("46"),
        "the late call was charged, its reply was nobody's"
    );
}

#[test]
fn a_hung_up_caller_is_forgotten_and_its_reply_goes_to_nobody_else() {
    let redis = SingleRedis::start();
    let mut gateway = Gateway::builder()
        .service(SERVICE, &[redis.port])
        .start(&policy(""))
        .unwrap();
    get(&mut gateway, "/deny");
    redis.freeze();
    let gone = gateway.open(Request::get("/deny").header("x-api-key", "a"));
    gateway.hang_up(gone);
    let stays = gateway.open(Request::get("/deny").header("x-api-key", "b"));
    redis.thaw();
    assert_eq!(left(&gateway.wait(stays)), Some("49"));
}

#[test]
fn a_connection_that_breaks_fails_its_callers_at_once_and_counting_is_back_with_redis() {
    let redis = SingleRedis::start();
    let policy = policy("").replace("100ms", "5s");
    let mut gateway = Gateway::builder()
        .service(SERVICE, &[redis.port])
        .start(&policy)
        .unwrap();
    get(&mut gateway, "/deny");
    redis.freeze();
    let waiting: Vec<u32> = (0..3)
        .map(|_| gateway.open(Request::get("/deny").header("x-api-key", "a")))
        .collect();
    redis.kill();
    for context in waiting {
        let response = gateway.wait(context);
        assert_eq!(response.status, 503);
        assert!(
            response.elapsed < Duration::from_secs(4),
            "status 1 ends the wait: {:?}",
            response.elapsed
        );
    }
    redis.restart();
    until_counted(&mut gateway);
}

#[test]
fn a_stall_drops_the_connection_with_all_its_calls_and_the_next_one_counts() {
    let redis = SingleRedis::start();
    let mut gateway = Gateway::builder()
        .service(SERVICE, &[redis.port])
        .start(&policy(""))
        .unwrap();
    get(&mut gateway, "/deny");
    redis.freeze();
    assert_eq!(get(&mut gateway, "/deny").status, 503);
    gateway.run_for(Duration::from_millis(2_300));
    assert!(gateway.redis().stalls > 0, "the client has given up");
    redis.thaw();
    until_counted(&mut gateway);
}

#[test]
fn after_an_update_of_the_service_credentials_are_given_again_and_no_call_is_lost() {
    let redis = secured_redis();
    let gateway = Gateway::builder()
        .service(SERVICE, &[redis.port])
        .env("SECRET", "s3cret")
        .start(&secured());
    let mut gateway = gateway.unwrap();
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
    let gateway = Gateway::builder()
        .service(SERVICE, &[redis.port])
        .env("SECRET", "wrong")
        .start(&secured());
    let mut gateway = gateway.unwrap();
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
fn a_redis_cluster_is_told_apart_by_its_moved_once_and_with_the_remedy() {
    let cluster = RedisCluster::shared();
    let ports = [cluster.masters()[0].port];
    let mut gateway = Gateway::builder()
        .service(SERVICE, &ports)
        .start(&policy(""))
        .unwrap();
    let statuses: Vec<u32> = (0..12)
        .map(|n| {
            gateway
                .send(Request::get("/deny").header("x-api-key", &format!("k{n}")))
                .status
        })
        .collect();
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
    let told = gateway.log().matches("Redis answers MOVED").count();
    assert_eq!(told, 1, "{}", gateway.log());
    assert!(gateway
        .log()
        .contains("Load headgate.wasm in place of headgate-higress.wasm"));
}

#[test]
fn behind_several_proxies_each_reply_finds_its_caller() {
    let nodes = [SingleRedis::start(), SingleRedis::start()];
    let ports = [nodes[0].port, nodes[1].port];
    let mut gateway = Gateway::builder()
        .service(SERVICE, &ports)
        .start(&policy(""))
        .unwrap();
    let requests = (0..40)
        .map(|n| Request::get("/deny").header("x-api-key", &format!("k{}", n % 20)))
        .collect();
    let answers = gateway.send_all(requests);
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{}",
        gateway.log()
    );
    assert!(nodes.iter().all(|node| node.calls("evalsha") > 0));
}

#[test]
fn more_calls_than_may_be_under_way_are_not_sent() {
    let redis = SingleRedis::start();
    let mut gateway = Gateway::builder()
        .service(SERVICE, &[redis.port])
        .start(&policy(", max_in_flight: 5"))
        .unwrap();
    get(&mut gateway, "/deny");
    redis.freeze();
    let open = |gateway: &mut Gateway| gateway.open(Request::get("/deny").header("x-api-key", "a"));
    let all: Vec<u32> = (0..8).map(|_| open(&mut gateway)).collect();
    let refused = all.iter().filter(|context| gateway.is_decided(**context)).count();
    assert_eq!(refused, 3, "at once, while the others wait");
    redis.thaw();
    for context in all {
        gateway.wait(context);
    }
}

#[test]
fn a_refused_connection_is_a_failure_like_any_other() {
    let mut gateway = Gateway::builder()
        .service(SERVICE, &[free_port()])
        .start(&policy(""))
        .unwrap();
    assert_eq!(get(&mut gateway, "/deny").status, 503);
    assert_eq!(get(&mut gateway, "/allow").status, 200);
}

#[test]
fn a_cluster_that_goes_away_and_comes_back_is_told_who_calls() {
    let redis = secured_redis();
    let gateway = Gateway::builder()
        .service(SERVICE, &[redis.port])
        .env("SECRET", "s3cret")
        .start(&secured());
    let mut gateway = gateway.unwrap();
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
    let mut gateway = gateway
        .start(&plugin["spec"]["pluginConfig"].to_string())
        .unwrap();
    let answers: Vec<_> = (0..101).map(|_| get(&mut gateway, "/").status).collect();
    assert_eq!(
        answers.iter().filter(|status| **status == 200).count(),
        100,
        "{}",
        gateway.log()
    );
}
