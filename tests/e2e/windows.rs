//! The algorithms from a caller's view: where windows begin, and how a bucket fills again.

use crate::harness::*;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
    for builder in Envoy::of_each_store() {
        let envoy = builder
        .policy(
            "limits: [{name: search, rate: 60/minute, algorithm: gcra, burst: 5, match: {path: /search}}, \
             {name: bare, rate: 3/hour, algorithm: gcra, match: {path: /bare}}]",
        )
        .start();
        let start = std::time::Instant::now();
        let mut last = None;
        for left in (0..5).rev() {
            let response = envoy.get("/search").send().await;
            assert_eq!(
                (response.status, response.number("x-ratelimit-limit")),
                (200, Some(5))
            );
            if start.elapsed() < Duration::from_millis(900) {
                assert_eq!(response.number("x-ratelimit-remaining"), Some(left));
            }
            last = Some(response);
        }
        let reset = last
            .and_then(|response| response.number("x-ratelimit-reset"))
            .unwrap()
            - unix_ms() / 1000;
        assert!((3..=6).contains(&reset), "5 at one a second: {reset}");
        if start.elapsed() < Duration::from_millis(900) {
            let denied = envoy.get("/search").send().await;
            if start.elapsed() < Duration::from_millis(900) {
                assert_eq!((denied.status, denied.number("retry-after")), (429, Some(1)));
            }
        }
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(envoy.get("/search").send().await.status, 200, "one a second");
        for expected in [200, 200, 200, 429] {
            assert_eq!(
                envoy.get("/bare").send().await.status,
                expected,
                "without a burst the bucket holds N"
            );
        }
        let denied = envoy.get("/bare").send().await;
        let wait = denied.number("retry-after").unwrap();
        assert!((1190..=1200).contains(&wait), "a third of an hour: {wait}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_another_keys_limit_denies_do_not_change_a_bucket() {
    let policy = "{verdict_cache: {entries: 0}, limits: [\
         {name: bucket, rate: 60000/minute, algorithm: gcra, cost: {header: x-cost, max: 40000}}, \
         {name: spent, rate: 1/day, algorithm: fixed_window, key: [address], match: {path: /spent}}]}";
    let envoy = Envoy::with(RedisCluster::shared()).policy(policy).start();
    let get = |path: &str| envoy.get(path).header("x-api-key", "a");
    let first = get("/spent").header("x-cost", "40000").send().await;
    assert_eq!(first.status, 200);
    let start = std::time::Instant::now();
    for _ in 0..230 {
        assert_eq!(get("/spent").send().await.status, 429);
    }
    // One drains each ms, and the last call costs 1.
    let drained = start.elapsed().as_millis() as i64;
    let left = get("/")
        .send()
        .await
        .number("x-ratelimit-remaining")
        .expect("a count");
    assert!(
        left + 3 > 20_000 + drained,
        "{left} left of 20,000 and {drained} that drained"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_window_starts_by_clock_first_call_or_own_phase() {
    for builder in Envoy::of_each_store() {
        let envoy = builder
        .policy(
            "limits: [{name: epoch, rate: 9/hour, algorithm: fixed_window, align: epoch, match: {path: /epoch}}, \
             {name: first, rate: 9/hour, algorithm: fixed_window, align: first_call, match: {path: /first}}, \
             {name: client, rate: 9/hour, algorithm: fixed_window, align: client, match: {path: /client}}]",
        )
        .start();
        let hour = 3_600;
        let reset = async |path: &str, key: &str| {
            let response = envoy.get(path).header("x-api-key", key).send().await;
            response.number("x-ratelimit-reset").unwrap()
        };
        for key in ["a", "b"] {
            let end = reset("/epoch", key).await;
            assert!(end % hour <= 1, "the hour's end, rounded up: {end}");
            let end = reset("/first", key).await;
            let wait = end - unix_ms() / 1000;
            assert!((hour - 5..=hour + 1).contains(&wait), "an hour from now: {wait}");
        }
        let mut phases = Vec::new();
        for key in 0..6 {
            let key = format!("key-{key}");
            let first = reset("/client", &key).await % hour;
            let again = reset("/client", &key).await % hour;
            assert!(
                (first - again).abs() <= 1,
                "the same for a client: {first}, {again}"
            );
            phases.push(first);
        }
        phases.sort();
        assert!(
            phases[5] - phases[0] > 60,
            "the windows do not all begin at the full hour: {phases:?}"
        );
    }
}
