//! Faults of the gateway's Redis client, which only the native transport can meet. Those of credentials are in
//! `credentials`.

use crate::gateway::{Gateway, Request, Response, SERVICE};
use crate::harness::{free_port, RedisCluster, SingleRedis};
use std::time::{Duration, Instant};

/// A configuration with more fields of `redis`, and one limit per failure policy.
pub fn policy(redis: &str) -> String {
    format!(
        "{{redis: {{native: {{service: redis.dns:6379}}, timeout: 300ms{redis}}}, limits: [\
         {{name: shut, rate: 50/hour, match: {{path: /deny}}, on_error: deny}}, \
         {{name: open, rate: 50/hour, match: {{path: /allow}}, on_error: allow}}]}}"
    )
}

/// The same with a long timeout, for a busy machine.
pub fn patient(redis: &str) -> String {
    policy(redis).replace("300ms", "5s")
}

/// A gateway whose service has these ports.
fn start(ports: &[u16], policy: &str) -> Gateway {
    let gateway = Gateway::builder().service(SERVICE, ports).start(policy);
    gateway.expect("an accepted configuration")
}

pub fn get(gateway: &mut Gateway, path: &str) -> Response {
    gateway.send(Request::get(path).header("x-api-key", "a"))
}

pub fn left(response: &Response) -> Option<&str> {
    let found = response
        .headers
        .iter()
        .find(|(name, _)| name == "x-ratelimit-remaining");
    found.map(|(_, value)| value.as_str())
}

/// Calls until one is counted.
pub fn until_counted(gateway: &mut Gateway) {
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
fn a_service_that_is_unknown_at_first_is_used_once_it_exists() {
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
    let mut gateway = start(&[], &policy(""));
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
fn a_caller_waits_for_its_deadline_and_a_late_reply_is_dropped() {
    let redis = SingleRedis::start();
    let mut gateway = start(&[redis.port], &policy(""));
    assert_eq!(left(&get(&mut gateway, "/deny")), Some("49"));
    redis.freeze();
    let response = get(&mut gateway, "/deny");
    assert_eq!(response.status, 503);
    assert!(
        response.elapsed >= Duration::from_millis(299),
        "{:?}",
        response.elapsed
    );
    assert!(
        response.elapsed < Duration::from_millis(1_500),
        "{:?}",
        response.elapsed
    );
    assert!(
        gateway
            .log()
            .contains("circuit breaker opened for Redis after 1 failure ("),
        "{}",
        gateway.log()
    );
    let next = gateway.open(Request::get("/deny").header("x-api-key", "a"));
    assert!(
        gateway.is_decided(next),
        "the breaker is open: the request does not wait"
    );
    gateway.wait(next);
    redis.thaw();
    until_counted(&mut gateway);
    assert_eq!(
        left(&get(&mut gateway, "/deny")),
        Some("46"),
        "the late call was charged, and its reply reached no caller"
    );
}

#[test]
fn the_reply_of_a_caller_that_hung_up_reaches_no_other() {
    let redis = SingleRedis::start();
    let mut gateway = start(&[redis.port], &patient(""));
    get(&mut gateway, "/deny");
    redis.freeze();
    let gone = gateway.open(Request::get("/deny").header("x-api-key", "a"));
    gateway.hang_up(gone);
    let stays = gateway.open(Request::get("/deny").header("x-api-key", "b"));
    redis.thaw();
    assert_eq!(left(&gateway.wait(stays)), Some("49"));
}

#[test]
fn a_broken_connection_fails_its_callers_at_once() {
    let redis = SingleRedis::start();
    let mut gateway = start(&[redis.port], &patient(""));
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
            "status 1 does not end the wait: {:?}",
            response.elapsed
        );
    }
    redis.restart();
    until_counted(&mut gateway);
}

#[test]
fn after_a_stall_the_next_connection_counts_again() {
    let redis = SingleRedis::start();
    let mut gateway = start(&[redis.port], &policy(""));
    get(&mut gateway, "/deny");
    redis.freeze();
    assert_eq!(get(&mut gateway, "/deny").status, 503);
    gateway.run_for(Duration::from_millis(2_700));
    assert!(gateway.redis().stalls > 0, "the client has closed the connection");
    redis.thaw();
    until_counted(&mut gateway);
}

#[test]
fn a_redis_cluster_is_reported_once_with_the_remedy() {
    let cluster = RedisCluster::shared();
    let ports = [cluster.masters()[0].port];
    let mut gateway = start(&ports, &patient(""));
    let statuses: Vec<u32> = (0..12)
        .map(|n| {
            gateway
                .send(Request::get("/deny").header("x-api-key", &format!("k{n}")))
                .status
        })
        .collect();
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
    let lines = gateway.log().matches("Redis answers MOVED").count();
    assert_eq!(lines, 1, "{}", gateway.log());
    assert!(gateway
        .log()
        .contains("Load headgate.wasm in place of headgate-higress.wasm"));
}

#[test]
fn with_several_proxies_each_reply_reaches_its_caller() {
    let nodes = [SingleRedis::start(), SingleRedis::start()];
    let ports = [nodes[0].port, nodes[1].port];
    let mut gateway = start(&ports, &patient(""));
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
fn calls_above_max_in_flight_are_not_sent() {
    let redis = SingleRedis::start();
    let mut gateway = start(&[redis.port], &patient(", max_in_flight: 5"));
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
    let mut gateway = start(&[free_port()], &policy(""));
    assert_eq!(get(&mut gateway, "/deny").status, 503);
    assert_eq!(get(&mut gateway, "/allow").status, 200);
}

#[test]
fn a_new_configuration_gets_only_its_own_replies() {
    let redis = SingleRedis::start();
    let before = patient("");
    let mut gateway = start(&[redis.port], &before);
    get(&mut gateway, "/deny");
    redis.freeze();
    let cut = gateway.open(Request::get("/deny").header("x-api-key", "a"));
    let old = gateway.reconfigure(&before.replace("50/hour", "20/hour"));
    let response = gateway.wait(cut);
    assert_eq!(
        response.status, 503,
        "sending the credentials closed the connection"
    );
    assert!(
        response.elapsed < Duration::from_secs(4),
        "{:?}",
        response.elapsed
    );
    let mine = gateway.open(Request::get("/deny").header("x-api-key", "b"));
    let others = gateway.open_under(old, Request::get("/deny").header("x-api-key", "c"));
    redis.thaw();
    assert_eq!(left(&gateway.wait(mine)), Some("19"));
    assert_eq!(left(&gateway.wait(others)), Some("49"));
    assert_eq!(gateway.state().inits.len(), 2, "once a configuration");
}
