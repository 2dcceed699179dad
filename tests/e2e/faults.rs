//! Redis stops, hangs or returns: no caller waits longer than the deadline, and counting resumes by itself.

use crate::harness::*;
use std::time::{Duration, Instant};

/// `redis.timeout`, and what a busy machine may add to it.
const TIMEOUT: Duration = Duration::from_millis(100);
const SLACK: Duration = Duration::from_millis(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_first_requests_after_a_start_are_counted_too() {
    let policy = "{redis: {timeout: 2s}, on_error: allow, limits: [{rate: 10/hour}]}";
    for round in 0..3 {
        let envoy = Envoy::with(RedisCluster::shared()).cold().policy(policy).start();
        let call = |_| {
            Client::http1(envoy.port)
                .get("/")
                .header("x-api-key", format!("a{round}"))
        };
        let responses = envoy.at_once(40, call).await;
        assert_eq!(passes(&responses), 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_may_fail_closed_where_the_others_fail_open() {
    let policy = "{on_error: allow, limits: [{rate: 9/hour}, {name: strict, rate: 9/hour, on_error: deny, match: {source: [api_key]}}]}";
    let envoy = Envoy::alone().policy(policy).start();
    assert_eq!(envoy.get("/").send().await.status, 200);
    assert_eq!(envoy.get("/").header("x-api-key", "a").send().await.status, 503);
}

mod quiet {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn without_redis_on_error_applies_in_time_and_counting_resumes() {
        let redis = SingleRedis::start();
        let allow = Envoy::with(&redis)
            .policy("{on_error: allow, limits: [{rate: 3/hour}]}")
            .start();
        let deny = Envoy::with(&redis)
            .policy("{on_error: deny, limits: [{rate: 3/hour}]}")
            .start();
        assert_eq!(
            allow.get("/").send().await.number("x-ratelimit-remaining"),
            Some(2)
        );
        assert_eq!(
            deny.get("/").send().await.number("x-ratelimit-remaining"),
            Some(2)
        );
        for frozen in [true, false] {
            if frozen {
                redis.freeze();
            } else {
                redis.kill();
            }
            for _ in 0..5 {
                let start = Instant::now();
                let response = allow.get("/").send().await;
                assert!(start.elapsed() < TIMEOUT + SLACK, "{:?}", start.elapsed());
                assert_eq!(
                    (response.status, response.header("x-ratelimit-limit")),
                    (200, None)
                );
                let start = Instant::now();
                let response = deny.get("/").send().await;
                assert!(start.elapsed() < TIMEOUT + SLACK, "{:?}", start.elapsed());
                assert_eq!((response.status, response.number("retry-after")), (503, Some(1)));
                assert_eq!(response.text(), "Rate limit could not be checked, try again");
                assert_eq!(response.header("x-envoy-ratelimited").as_deref(), Some("true"));
            }
            if frozen {
                redis.thaw();
            } else {
                redis.restart();
            }
            let counted = |envoy: &Envoy| {
                let request = envoy.get("/").header("x-api-key", "fresh");
                async move { request.send().await.header("x-ratelimit-limit").is_some() }
            };
            for envoy in [&allow, &deny] {
                let start = Instant::now();
                while !counted(envoy).await {
                    assert!(
                        start.elapsed() < Duration::from_secs(5),
                        "counting does not come back"
                    );
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        for (envoy, decision) in [(&allow, "failed_open"), (&deny, "failed_closed")] {
            let log = envoy.access_log(10);
            assert!(
                log.iter()
                    .filter(|entry| entry["ratelimit_decision"] == decision)
                    .count()
                    >= 10
            );
            let lines = envoy.log().matches("Redis did not count").count();
            assert!((1..=4).contains(&lines), "{lines} lines for 10 failures and more");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn above_the_maximum_of_pending_requests_on_error_is_immediate() {
        let redis = SingleRedis::start();
        let policy = "{redis: {timeout: 1s, max_in_flight: 8}, on_error: deny, limits: [{rate: 9000/hour}]}";
        let envoy = Envoy::with(&redis).concurrency(1).policy(policy).start();
        assert_eq!(envoy.get("/").send().await.status, 200);
        redis.freeze();
        let waiting: Vec<_> = (0..8)
            .map(|_| tokio::spawn(Client::http1(envoy.port).get("/").send()))
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let start = Instant::now();
        for _ in 0..20 {
            assert_eq!(envoy.get("/").send().await.status, 503);
        }
        assert!(
            start.elapsed() < Duration::from_millis(100),
            "{:?}",
            start.elapsed()
        );
        for request in waiting {
            assert_eq!(request.await.unwrap().status, 503);
        }
        redis.thaw();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stall_of_envoy_itself_opens_no_circuit_breaker() {
        let redis = SingleRedis::start();
        let policy = "{on_error: deny, limits: [{rate: 100000000/hour}]}";
        let envoy = Envoy::with(&redis).concurrency(1).policy(policy).start();
        const CALLERS: usize = 32;
        let (mut uncounted, mut openings) = (Vec::new(), Vec::new());
        // Shorter than redis.timeout, about as long, longer.
        for millis in [60, 97, 103, 300, 300] {
            let load = Load::on(envoy.port)
                .connections(CALLERS)
                .duration(Duration::from_millis(600 + millis));
            let load = tokio::spawn(load.run());
            tokio::time::sleep(Duration::from_millis(300)).await;
            envoy.freeze();
            tokio::time::sleep(Duration::from_millis(millis)).await;
            envoy.thaw();
            let report = load.await.unwrap();
            println!("{millis} ms: {report:?}");
            uncounted.push(report.latencies.len() as u64 - report.status(200));
            openings.push(envoy.log().matches("circuit breaker opened").count());
        }
        println!("openings so far {openings:?}, uncounted {uncounted:?}");
        assert_eq!(openings.last(), Some(&0), "breakers opened");
        // Nearly always none; those whose replies come later still, on a machine that has more to do, once each.
        let worst = uncounted.iter().max().copied();
        assert!(
            worst <= Some(CALLERS as u64),
            "uncounted after each stall: {uncounted:?}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_frozen_master_delays_only_its_own_callers() {
        let cluster = RedisCluster::start(3, 0);
        let policy = "{on_error: deny, limits: [{name: x, rate: 100000000/hour}]}";
        let envoy = Envoy::with(&cluster).concurrency(2).policy(policy).start();
        let frozen = &cluster.masters()[1];
        let hasher = headgate_core::identify::Hasher::new(None);
        let key = |name: &str| {
            format!(
                "{}:main:{{api_key:{}}}",
                envoy.key_prefix,
                hasher.digest(name.as_bytes())
            )
        };
        let on = |node: &Node, stem: &str| cluster.name_on(node, stem, key);
        let healthy: Vec<String> = (0..16)
            .map(|n| {
                on(
                    &cluster.masters()[if n % 2 == 0 { 0 } else { 2 }],
                    &format!("healthy-{n}-"),
                )
            })
            .collect();
        let stuck: Vec<String> = (0..4).map(|n| on(frozen, &format!("stuck-{n}-"))).collect();
        let load = |names: &[String], pause: u64| {
            let names = names.to_vec();
            Load::on(envoy.port)
                .connections(names.len())
                .duration(Duration::from_secs(2))
                .pause(Duration::from_millis(pause))
                .source(move |connection, _| Load::get("/", &[("x-api-key", &names[connection])]))
        };
        // Those of the frozen shard come at a pace: a 503 in no time would have them come faster than before.
        let both = || async { tokio::join!(load(&healthy, 0).run(), load(&stuck, 5).run()) };
        both().await;
        let (mut shares, mut tails, mut unhurt) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..5 {
            let (before, _) = both().await;
            frozen.freeze();
            let (during, held) = both().await;
            frozen.thaw();
            println!("before {before:?}\nduring {during:?}\nheld {held:?}");
            unhurt.push(during.status(200) as f64 / during.latencies.len() as f64);
            assert_eq!(held.status(503), held.latencies.len() as u64, "{held:?}");
            let waited = held.latencies.iter().filter(|took| **took >= TIMEOUT / 2).count();
            assert!(
                waited <= stuck.len() * 4,
                "each of the {} waits once, and a probe's luck aside never again: {waited}",
                stuck.len()
            );
            shares.push(during.rate() / before.rate());
            tails.push(during.percentile(0.99).as_secs_f64() / before.percentile(0.99).as_secs_f64());
            cluster.wait_until_ready();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // Medians: a machine that stalls for as long as redis.timeout looks like a Redis that does.
        unhurt.sort_by(f64::total_cmp);
        assert_eq!(
            unhurt[2], 1.0,
            "share of the healthy shards' callers that were counted: {unhurt:?}"
        );
        shares.sort_by(f64::total_cmp);
        tails.sort_by(f64::total_cmp);
        println!("share of the throughput kept {shares:.2?}, p99 as a multiple {tails:.2?}");
        assert!(shares[2] >= 0.8, "share of the throughput kept: {shares:?}");
        assert!(tails[2] <= 2.0, "p99 as a multiple: {tails:?}");
    }
}
