//! The verdict cache: known denials cost Redis nothing, and no caller waits longer because of it.

use crate::harness::*;
use std::time::{Duration, Instant};

/// One worker, so that all calls use one cache.
fn envoy(redis: &SingleRedis, policy: &str) -> Envoy {
    Envoy::with(redis).concurrency(1).policy(policy).start()
}

async fn call(envoy: &Envoy, key: &str) -> Response {
    envoy.get("/").header("x-api-key", key).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_denial_is_answered_like_the_first_and_without_redis() {
    let redis = SingleRedis::start();
    let policy = "{verdict_cache: {max_age: 10s}, limits: [{name: few, rate: 2/minute}, {name: wide, rate: 1000/minute}]}";
    let envoy = envoy(&redis, policy);
    for _ in 0..2 {
        assert_eq!(call(&envoy, "a").await.status, 200);
    }
    let first = call(&envoy, "a").await;
    assert_eq!(first.status, 429);
    redis.reset_stats();
    for _ in 0..50 {
        let again = call(&envoy, "a").await;
        assert_eq!((again.status, again.text()), (429, first.text()));
        for name in ["x-ratelimit-limit", "x-ratelimit-remaining"] {
            assert_eq!(again.header(name), first.header(name));
        }
        let [before, now] = [&first, &again].map(|response| response.number("retry-after").unwrap());
        assert!(now <= before && now >= before - 5, "{now} after {before}");
    }
    assert_eq!(redis.calls("evalsha") + redis.calls("eval"), 0);
    let log = envoy.access_log(53);
    assert_eq!(
        (&log[2]["ratelimit_by"], &log[52]["ratelimit_by"]),
        (&"redis".into(), &"cache".into())
    );
    assert_eq!(log[52]["ratelimit_decision"], "denied");
    assert_eq!(
        call(&envoy, "b").await.number("x-ratelimit-remaining"),
        Some(1),
        "other clients are not denied by it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_ends_at_the_time_that_redis_gave() {
    let redis = SingleRedis::start();
    let envoy = envoy(&redis, "{verdict_cache: {max_age: 10s}, limits: [{rate: 1/2s}]}");
    let start = Instant::now();
    assert_eq!(call(&envoy, "a").await.status, 200);
    let mut denied = 0;
    while call(&envoy, "a").await.status == 429 {
        denied += 1;
        assert!(start.elapsed() < Duration::from_secs(4), "still denied");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(denied > 50, "{denied}");
    assert!(
        start.elapsed() >= Duration::from_millis(1_990),
        "{:?}",
        start.elapsed()
    );
    assert!(
        start.elapsed() < Duration::from_millis(2_300),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn quota_that_is_freed_by_hand_is_noticed_after_max_age() {
    let redis = SingleRedis::start();
    let envoy = envoy(
        &redis,
        "{verdict_cache: {max_age: 500ms}, limits: [{rate: 1/hour}]}",
    );
    assert_eq!(call(&envoy, "a").await.status, 200);
    let start = Instant::now();
    assert_eq!(call(&envoy, "a").await.status, 429);
    let () = redis.call(&["FLUSHALL"]);
    assert_eq!(call(&envoy, "a").await.status, 429, "known for half a second");
    tokio::time::sleep(Duration::from_millis(520).saturating_sub(start.elapsed())).await;
    assert_eq!(call(&envoy, "a").await.status, 200);
}
