//! What a limit grants some clients: overrides from the configuration, and live ones from Redis.

use crate::harness::*;
use std::time::Duration;

const OVERRIDES: &str = r#"
    identify: [{name: user, header: x-user, as: plain}, {header: x-api-key}, {address: {ipv4_prefix: 32}}]
    rates: {partner: 70/hour}
    limits:
    - name: all
      rate: 10/hour
      algorithm: sliding_window_counter
      overrides:
      - {source: user, value: partner-7, rate: partner}
      - {source: user, value: blocked, rate: 0/h}
      - {source: api_key, value: key-v, rate: 50/hour}
      - {source: api_key, hash: HASH, rate: unlimited}
      - {cidr: 10.1.0.0/16, rate: 30/hour}
      - {cidr: "2001:db8::/32", rate: unlimited}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_override_that_fits_decides_what_is_granted() {
    let digest = "9f86d081884c7d659a2feaa0c55ad015"; // of `test`
    for builder in Envoy::of_each_store() {
        let envoy = builder
            .policy(&OVERRIDES.replace("HASH", digest))
            .edit(|config| config::hcm(config)["xff_num_trusted_hops"] = 1.into())
            .start();
        let from = |address: &str| envoy.get("/").header("x-forwarded-for", address);
        let stranger = "192.0.2.1";
        let cases = [
            (from(stranger), Some(10)),
            (from(stranger).header("x-user", "partner-7"), Some(70)),
            (from(stranger).header("x-user", "partner-8"), Some(10)),
            (from(stranger).header("x-api-key", "key-v"), Some(50)),
            (from(stranger).header("x-api-key", "test"), None),
            (from(stranger).header("x-api-key", digest), Some(10)),
            (from("10.1.2.3"), Some(30)),
            (from("10.2.2.3"), Some(10)),
            (from("10.1.2.3").header("x-user", "u"), Some(30)),
            (from("10.1.2.3").header("x-user", "partner-7"), Some(70)),
            (from("2001:db8::1"), None),
        ];
        for (number, (request, granted)) in cases.into_iter().enumerate() {
            let what = format!("case {number}");
            let response = request.send().await;
            assert_eq!(response.status, 200, "{what}");
            assert_eq!(response.number("x-ratelimit-limit"), granted, "{what}");
        }
        let blocked = from(stranger).header("x-user", "blocked").send().await;
        assert_eq!(
            (blocked.status, blocked.number("x-ratelimit-limit")),
            (429, Some(0))
        );
        assert_eq!(
            blocked.number("retry-after"),
            Some(3600),
            "never passable: one period"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_override_applies_at_once_and_survives_idle_times() {
    let redis = RedisCluster::shared();
    let policy = "limits: [{name: live, rate: 2/s, overrides: [{from: redis}]}, {name: log, rate: 100/m}]";
    let envoy = Envoy::with(redis).policy(policy).start();
    let limit = async || {
        let response = envoy.get("/").header("x-api-key", "test").send().await;
        (response.status, response.number("x-ratelimit-limit"))
    };
    assert_eq!(limit().await, (200, Some(2)));
    let hash = format!(
        "{}:main:{{api_key:9f86d081884c7d659a2feaa0c55ad015}}",
        envoy.key_prefix
    );
    let set = |value: &str| {
        let mut connection = redis.connection();
        let command = ["HSET", &hash, "live:override", value];
        redis::cmd(command[0])
            .arg(&command[1..])
            .query::<i64>(&mut connection)
            .unwrap();
    };
    set("5");
    assert_eq!(limit().await, (200, Some(5)), "with the next call");
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    assert_eq!(limit().await, (200, Some(5)), "after more than two idle periods");
    let ttl: i64 = redis::cmd("PTTL")
        .arg(&hash)
        .query(&mut redis.connection())
        .unwrap();
    assert_eq!(ttl, -1, "a hash with a live override does not expire");
    set("0");
    assert_eq!(limit().await.0, 429);
    set("unlimited");
    // Known denials are answered from memory for verdict_cache.max_age.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(limit().await, (200, Some(100)), "the other limit is left");
    let _: i64 = redis::cmd("HDEL")
        .arg(&hash)
        .arg("live:override")
        .query(&mut redis.connection())
        .unwrap();
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(limit().await, (200, Some(2)));
    let other = envoy.get("/").header("x-api-key", "other").send().await;
    assert_eq!(
        other.number("x-ratelimit-limit"),
        Some(2),
        "other clients are not affected"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_live_override_locks_no_client_out() {
    let redis = RedisCluster::shared();
    let policy = "limits: [{name: live, rate: 21/minute, algorithm: gcra, overrides: [{from: redis}]}]";
    let envoy = Envoy::with(redis).policy(policy).start();
    let call = || envoy.get("/").header("x-api-key", "test").send();
    let hash = format!(
        "{}:main:{{api_key:9f86d081884c7d659a2feaa0c55ad015}}",
        envoy.key_prefix
    );
    let set = |command: &[&str]| {
        let mut connection = redis.connection();
        let mut call = redis::cmd(command[0]);
        call.arg(&hash).arg(&command[1..]);
        call.query::<i64>(&mut connection).unwrap();
    };
    set(&["HSET", "live:override", "1000"]);
    for _ in 0..300 {
        assert_eq!(call().await.status, 200);
    }
    set(&["HDEL", "live:override"]);
    let denied = call().await;
    assert_eq!(
        (denied.status, denied.number("x-ratelimit-limit")),
        (429, Some(21))
    );
    let wait = denied.number("retry-after").expect("a wait");
    assert!(
        (1..=4).contains(&wait),
        "one call of 21 a minute, not what 300 take to drain: {wait}"
    );
    tokio::time::sleep(Duration::from_secs(wait as u64)).await;
    assert_eq!(call().await.status, 200, "after {wait} s");
}
