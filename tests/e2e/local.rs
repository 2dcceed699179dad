//! Counting in Envoy's own memory: what differs from Redis, and `on_error: local`.

use crate::harness::*;
use std::time::Duration;

const EVICTED: &str = "wasmcustom.headgate_local_evicted_total";

async fn call(envoy: &Envoy, key: &str) -> Response {
    envoy.get("/").header("x-api-key", key).send().await
}

/// How many of these calls pass.
async fn passed(envoy: &Envoy, key: &str, calls: usize) -> usize {
    let mut passed = 0;
    for _ in 0..calls {
        passed += usize::from(call(envoy, key).await.status == 200);
    }
    passed
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_without_redis_limits_on_every_supported_envoy() {
    for version in envoy_versions() {
        let envoy = Envoy::local().concurrency(4).version(version).start();
        let responses = envoy
            .at_once(200, |_| {
                Client::http1(envoy.port).get("/").header("x-api-key", "a")
            })
            .await;
        assert_eq!(passes(&responses), 100);
        let denied = call(&envoy, "a").await;
        assert_eq!(
            (denied.status, denied.number("x-ratelimit-limit")),
            (429, Some(100))
        );
        assert_eq!(denied.number("x-ratelimit-remaining"), Some(0));
        assert!(denied
            .number("retry-after")
            .is_some_and(|wait| (1..=120).contains(&wait)));
        assert_eq!(call(&envoy, "b").await.status, 200);
        envoy.wait_for_log("these limits are counted as sliding_window_counter: per-client");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_reach_the_ceiling_and_evict_no_client() {
    let policy = "limits: [{rate: 2/hour}, {name: ceiling, rate: 3000/hour, key: [address]}]";
    let envoy = Envoy::local().concurrency(4).policy(policy).start();
    assert_eq!(passed(&envoy, "me", 3).await, 2);
    let mut through = 2;
    for round in 0..20 {
        let responses = envoy
            .at_once(500, |n| {
                Client::http1(envoy.port)
                    .get("/")
                    .header("x-api-key", format!("{round}-{n}"))
            })
            .await;
        through += passes(&responses);
    }
    assert_eq!(
        through, 3_000,
        "what the ceiling denies is not charged to the client"
    );
    assert_eq!(call(&envoy, "me").await.status, 429);
    assert_eq!(envoy.stat(EVICTED), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn above_max_counters_the_least_recently_used_is_evicted() {
    let policy = "{local: {max_counters: 3}, limits: [{rate: 1/hour}]}";
    let envoy = Envoy::local().policy(policy).start();
    for key in ["a", "b", "c"] {
        assert_eq!(passed(&envoy, key, 2).await, 1, "{key}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(envoy.stat(EVICTED), 0);
    assert_eq!(passed(&envoy, "d", 2).await, 1);
    wait_for("the metric", Duration::from_secs(10), || {
        (envoy.stat(EVICTED) == 1).then_some(())
    });
    for key in ["b", "c", "d"] {
        assert_eq!(call(&envoy, key).await.status, 429, "{key}");
    }
    assert_eq!(call(&envoy, "a").await.status, 200, "a was the longest unused");
}

/// Requests that differ, some hundreds at a time; how many pass.
async fn flood(envoy: &Envoy, count: usize, request: impl Fn(usize) -> Request) -> usize {
    let mut through = 0;
    for first in (0..count).step_by(500) {
        let responses = envoy.at_once(500, |n| request(first + n)).await;
        through += passes(&responses);
    }
    through
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_paths_do_not_evict_the_callers_own_spent_counter() {
    for algorithm in ALGORITHMS {
        let policy =
            format!("limits: [{{name: x, rate: 3/hour, key: [client, path], algorithm: {algorithm}}}]");
        let envoy = Envoy::local().policy(&policy).start();
        let on = |path: &str| Client::http1(envoy.port).get(path).header("x-api-key", "a");
        for expected in [200, 200, 200, 429] {
            assert_eq!(on("/login").send().await.status, expected, "{algorithm}");
        }
        let through = flood(&envoy, 5_000, |n| on(&format!("/{n}"))).await;
        assert_eq!(through, 5_000, "{algorithm}: each path has a counter of its own");
        for _ in 0..3 {
            assert_eq!(on("/login").send().await.status, 429, "{algorithm}");
        }
        wait_for("the metric", Duration::from_secs(10), || {
            (envoy.stat(EVICTED) > 3_000).then_some(())
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_api_keys_do_not_evict_another_clients_spent_counter() {
    let policy =
        "{redis: {timeout: 100ms}, on_error: local, local: {max_counters: 64}, limits: [{rate: 3/hour}]}";
    for envoy in [Envoy::local(), Envoy::alone()] {
        let envoy = envoy.policy(policy).start();
        assert_eq!(passed(&envoy, "spent", 4).await, 3);
        let made_up = |n: usize| {
            Client::http1(envoy.port)
                .get("/")
                .header("x-api-key", format!("made-up-{n}"))
        };
        assert_eq!(flood(&envoy, 10_000, made_up).await, 10_000);
        assert_eq!(passed(&envoy, "spent", 3).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_envoy_grants_its_share_and_reports_it() {
    let policy = "{local: {share: 25%}, limits: [{rate: 10/hour, match: {source: [api_key]}}, {name: few, rate: 3/hour, key: [address]}]}";
    let envoy = Envoy::local().policy(policy).start();
    let first = call(&envoy, "a").await;
    assert_eq!((first.status, first.number("x-ratelimit-limit")), (200, Some(1)));
    let denied = call(&envoy, "a").await;
    assert_eq!(
        (denied.status, denied.number("x-ratelimit-limit")),
        (429, Some(1))
    );
    let quota = "{local: {share: 25%}, limits: [{rate: 10/hour}]}";
    let envoy = Envoy::local().policy(quota).start();
    assert_eq!(passed(&envoy, "a", 5).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_limit_that_denies_charges_no_other_limit() {
    let policy =
        "limits: [{name: wide, rate: 50/minute, algorithm: fixed_window}, {name: narrow, rate: 2/minute}, \
                  {name: address, rate: 40/minute, key: [address], algorithm: gcra}]";
    let envoy = Envoy::local().policy(policy).start();
    assert_eq!(passed(&envoy, "a", 10).await, 2);
    let other = call(&envoy, "b").await;
    assert_eq!(other.number("x-ratelimit-limit"), Some(2));
    let policy = policy.replace(", {name: narrow, rate: 2/minute}", "");
    assert!(!policy.contains("narrow"));
    let fresh = Envoy::local().policy(&policy).start();
    assert_eq!(
        passed(&fresh, "a", 60).await,
        40,
        "another Envoy knows nothing of this one's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_outlive_a_new_configuration() {
    let policy = "limits: [{name: x, rate: 3/hour}]";
    let envoy = Envoy::local().dynamic().policy(policy).start();
    assert_eq!(passed(&envoy, "a", 2).await, 2);
    envoy.reload("{limits: [{name: x, rate: 3/hour}], response: {status: 430}}");
    let fresh = || Client::http1(envoy.port).get("/").header("x-api-key", "a").send();
    let statuses = [fresh().await.status, fresh().await.status];
    assert_eq!(statuses, [200, 430]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_response_cost_is_charged_to_the_local_counter() {
    let policy = "limits: [{name: tokens, rate: 100/hour, algorithm: sliding_window_counter, cost: {response_header: x-tokens, max: 100}}]";
    let envoy = Envoy::local().policy(policy).start();
    let answer = r#"{"headers": {"x-tokens": "60"}}"#;
    for expected in [200, 200, 429] {
        let request = envoy.get("/").header("x-test-answer", answer);
        assert_eq!(request.send().await.status, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_local_opens_no_way_to_redis() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis)
        .policy("{store: local, limits: [{rate: 2/hour}]}")
        .start();
    redis.reset_stats();
    assert_eq!(passed(&envoy, "a", 5).await, 2);
    assert_eq!(redis.calls("eval") + redis.calls("evalsha"), 0);
    assert_eq!(envoy.stat("cluster.redis_call.upstream_cx_total"), 0);
    assert_eq!(redis.keys(&format!("{}:*", envoy.key_prefix)), [""; 0]);
}

/// `on_error: local`
mod failing {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn without_redis_each_envoy_grants_its_share_and_reports_it() {
        let redis = SingleRedis::start();
        let policy = "{redis: {timeout: 200ms}, on_error: local, local: {share: 50%}, limits: [{name: x, rate: 10/hour}]}";
        let builder = Envoy::with(&redis).policy(policy);
        let envoys = [builder.clone().start(), builder.start()];
        assert_eq!(
            call(&envoys[0], "a").await.number("x-ratelimit-remaining"),
            Some(9)
        );
        redis.kill();
        for (envoy, before) in envoys.iter().zip([1, 0]) {
            for left in (0..5).rev() {
                let response = call(envoy, "a").await;
                assert_eq!(response.status, 200, "{response:?}");
                assert_eq!(response.number("x-ratelimit-limit"), Some(5));
                assert_eq!(
                    response.number("x-ratelimit-remaining"),
                    Some(left),
                    "it starts empty"
                );
                assert_eq!(
                    response.upstream_header("x-ratelimit-limit").as_deref(),
                    Some("5")
                );
            }
            for _ in 0..3 {
                let denied = call(envoy, "a").await;
                assert_eq!(
                    (denied.status, denied.number("x-ratelimit-limit")),
                    (429, Some(5))
                );
                assert!(denied
                    .number("retry-after")
                    .is_some_and(|wait| (1..=3_600).contains(&wait)));
            }
            assert_eq!(call(envoy, "b").await.status, 200);
            let log = envoy.access_log(before + 9);
            let entry = &log[before];
            assert_eq!(
                (&entry["ratelimit_decision"], &entry["ratelimit_by"]),
                (&"allowed".into(), &"local".into())
            );
            let entry = &log[before + 7];
            assert_eq!(
                (&entry["ratelimit_decision"], &entry["ratelimit_by"]),
                (&"denied".into(), &"local".into())
            );
            let words = "applying on_error: local (this Envoy counts them alone)";
            let lines = envoy.log().matches(words).count();
            assert!((1..=4).contains(&lines), "{lines} lines for 9 failures");
        }
        redis.restart();
        let back = wait_for_redis(&envoys[0], "a").await;
        // A call that was given up while Redis came back may be charged.
        let fresh = back.is_some_and(|left| (7..=9).contains(&left));
        assert!(
            fresh,
            "nothing is written back, and Redis has lost its own: {back:?}"
        );
    }

    /// What is left when Redis counts again.
    async fn wait_for_redis(envoy: &Envoy, key: &str) -> Option<i64> {
        for _ in 0..200 {
            let response = call(envoy, key).await;
            if response.number("x-ratelimit-limit") == Some(10) {
                return response.number("x-ratelimit-remaining");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_failed_limits_deny_wins_over_local_and_local_over_allow() {
        let limit = |name: &str, rate: u32, on_error: &str, source: &str| {
            format!(
                "{{name: {name}, rate: {rate}/hour, on_error: {on_error}, match: {{source: [{source}]}}}}"
            )
        };
        let limits = [
            limit("wide", 2, "allow", "mixed, strict, open"),
            limit("counted", 3, "local", "mixed, strict"),
            limit("strict", 9, "deny", "strict"),
        ];
        let policy = format!(
            "{{redis: {{timeout: 100ms}}, identify: [{{name: mixed, header: x-mixed}}, {{name: strict, header: x-strict}}, \
             {{name: open, header: x-open}}], limits: [{}]}}",
            limits.join(",")
        );
        let envoy = Envoy::alone().policy(&policy).start();
        let send = |header: &'static str| envoy.get("/").header(header, "a").send();
        for expected in [200, 200, 200, 429] {
            let response = send("x-mixed").await;
            assert_eq!(
                (response.status, response.number("x-ratelimit-limit")),
                (expected, Some(3))
            );
        }
        assert_eq!(send("x-strict").await.status, 503);
        for _ in 0..4 {
            let open = send("x-open").await;
            assert_eq!((open.status, open.header("x-ratelimit-limit")), (200, None));
        }
        let log = envoy.access_log(9);
        let by = |n: usize| {
            (
                log[n]["ratelimit_decision"].clone(),
                log[n]["ratelimit_by"].clone(),
            )
        };
        assert_eq!(by(0), ("allowed".into(), "local".into()));
        assert_eq!(by(3), ("denied".into(), "local".into()));
        assert_eq!(by(4).0, "failed_closed");
        assert_eq!(by(5), ("failed_open".into(), serde_json::Value::Null));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn over_four_workers_exactly_the_share_passes() {
        let policy = "{redis: {timeout: 100ms}, limits: [{name: x, rate: 100/hour}]}";
        let envoy = Envoy::alone().concurrency(4).policy(policy).start();
        let responses = envoy
            .at_once(500, |_| {
                Client::http1(envoy.port).get("/").header("x-api-key", "a")
            })
            .await;
        assert_eq!(passes(&responses), 100);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn with_redis_stuck_waiting_and_excess_requests_share_a_count() {
        let redis = SingleRedis::start();
        let policy = "{redis: {timeout: 1s, max_in_flight: 4}, limits: [{name: x, rate: 10/hour}]}";
        let envoy = Envoy::with(&redis).concurrency(2).policy(policy).start();
        assert_eq!(call(&envoy, "warm").await.status, 200);
        redis.freeze();
        let responses = envoy
            .at_once(40, |_| {
                Client::http1(envoy.port).get("/").header("x-api-key", "a")
            })
            .await;
        redis.thaw();
        assert_eq!(
            passes(&responses),
            10,
            "waiting and excess requests are counted together"
        );
        let log = envoy.access_log(41);
        assert!(
            log[1..].iter().all(|entry| entry["ratelimit_by"] == "local"),
            "{log:#?}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn in_shadow_a_local_count_is_reported_and_denies_nothing() {
        let policy = "{redis: {timeout: 100ms}, limits: [{name: x, rate: 1/hour, enforce: false}]}";
        let envoy = Envoy::alone().policy(policy).start();
        for limited in [None, Some("true".to_owned())] {
            let response = call(&envoy, "a").await;
            assert_eq!(response.status, 200);
            assert_eq!(response.upstream_header("x-ratelimit-limited"), limited);
        }
    }
}
