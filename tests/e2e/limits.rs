//! A limit from a caller's view: N calls pass, then 429 with headers, and N calls again after the window.

use crate::harness::*;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_pass_and_the_next_is_denied_with_all_headers() {
    // A log of a hundred is more than Envoy's memory keeps.
    for (builder, n) in Envoy::of_each_store().into_iter().zip([100, 64]) {
        so_many_pass_and_the_next_is_denied(builder, n).await;
    }
}

async fn so_many_pass_and_the_next_is_denied(builder: EnvoyBuilder, n: i64) {
    let policy = format!("limits: [{{rate: {n}/minute}}]");
    let envoy = builder.policy(&policy).start();
    for number in 1..=n {
        let response = envoy.get("/").header("x-api-key", "a").send().await;
        assert_eq!(response.status, 200, "call {number}: {response:?}");
        assert_eq!(response.number("x-ratelimit-limit"), Some(n));
        assert_eq!(response.number("x-ratelimit-remaining"), Some(n - number));
        let reset = response.number("x-ratelimit-reset").unwrap() - unix_now();
        assert!(
            (59..=61).contains(&reset),
            "a log is whole again a minute after its newest entry: {reset}"
        );
        response.assert_same_upstream(&["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]);
        assert_eq!(response.header("retry-after"), None);
    }
    let denied = envoy.get("/").header("x-api-key", "a").send().await;
    assert_eq!(
        (denied.status, denied.text()),
        (429, "Rate limit exceeded".into())
    );
    assert_eq!(denied.number("x-ratelimit-limit"), Some(n));
    assert_eq!(denied.number("x-ratelimit-remaining"), Some(0));
    let retry_after = denied.number("retry-after").unwrap();
    assert!(
        (50..=60).contains(&retry_after),
        "the oldest entry is seconds old: {retry_after}"
    );
    assert!((58..=61).contains(&(denied.number("x-ratelimit-reset").unwrap() - unix_now())));
    assert_eq!(denied.header("x-envoy-ratelimited").as_deref(), Some("true"));
    assert_eq!(
        i64::try_from(envoy.upstream.requests()),
        Ok(n),
        "a denied call never reaches the upstream"
    );
    let other = envoy.get("/").header("x-api-key", "b").send().await;
    assert_eq!(other.status, 200, "another key passes: {other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_algorithm_grants_its_quota_again_after_the_window() {
    for (algorithm, builder) in ALGORITHMS
        .into_iter()
        .flat_map(|algorithm| Envoy::of_each_store().map(|builder| (algorithm, builder)))
    {
        let policy = format!("limits: [{{name: x, rate: 3/2s, algorithm: {algorithm}}}]");
        let store = builder.store();
        let envoy = builder.policy(&policy).start();
        let call = |turn: u32| envoy.get("/").header("x-api-key", format!("a{turn}")).send();
        let millis = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let (mut turn, mut statuses) = (0, Vec::new());
        // From a window's start, and once more where a busy machine lets a part of it pass: a bucket drains a call
        // in a third of it.
        while statuses.is_empty() {
            turn += 1;
            let begin = (millis() / 2_000 + 1) * 2_000;
            tokio::time::sleep(Duration::from_millis(begin.saturating_sub(millis()))).await;
            for _ in 0..4 {
                statuses.push(call(turn).await.status);
            }
            if millis() >= begin + 600 {
                statuses.clear();
            }
        }
        assert_eq!(statuses, [200, 200, 200, 429], "{algorithm} in {store}");
        // Two periods: a counter remembers the window before.
        tokio::time::sleep(Duration::from_millis(4_000)).await;
        let after = call(turn).await.status;
        assert_eq!(after, 200, "{algorithm} in {store}: after the window");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_waits_as_asked_passes() {
    for builder in Envoy::of_each_store() {
        let envoy = builder.policy("limits: [{rate: 2/2s}]").start();
        for _ in 0..2 {
            assert_eq!(envoy.get("/").send().await.status, 200);
        }
        let denied = envoy.get("/").send().await;
        assert_eq!(denied.status, 429);
        tokio::time::sleep(Duration::from_secs(denied.number("retry-after").unwrap() as u64)).await;
        assert_eq!(envoy.get("/").send().await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_denies_charges_no_other_limit_of_the_client() {
    let policy =
        "limits: [{name: wide, rate: 100/minute, algorithm: fixed_window, align: first_call}, {name: narrow, rate: 2/minute}]";
    let envoy = Envoy::with(RedisCluster::shared()).policy(policy).start();
    let mut last = Vec::new();
    for _ in 0..6 {
        let response = envoy.get("/").header("x-api-key", "a").send().await;
        last.push((
            response.status,
            response.number("x-ratelimit-limit"),
            response.number("x-ratelimit-remaining"),
        ));
    }
    let denied = (429, Some(2), Some(0));
    assert_eq!(
        last,
        [
            (200, Some(2), Some(1)),
            (200, Some(2), Some(0)),
            denied,
            denied,
            denied,
            denied
        ]
    );
    let keys = RedisCluster::shared().keys(&format!("{}:*", envoy.key_prefix));
    let hash = keys.iter().find(|key| key.ends_with('}')).unwrap();
    let mut connection = RedisCluster::shared().connection();
    let fields: Vec<String> = redis::cmd("HKEYS").arg(hash).query(&mut connection).unwrap();
    assert_eq!(fields, ["wide:fixed:60000"]);
    let wide = policy.replace(", {name: narrow, rate: 2/minute}", "");
    let wide = Envoy::with(RedisCluster::shared())
        .key_prefix(&envoy.key_prefix)
        .policy(&wide)
        .start();
    let response = wide.get("/").header("x-api-key", "a").send().await;
    assert_eq!(
        response.number("x-ratelimit-remaining"),
        Some(97),
        "charged for the two that passed and for this one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_rate_limit_headers_never_reach_the_upstream() {
    let policy = "{on_no_client: allow, identify: [{header: x-api-key}], limits: [{rate: 100/minute}]}";
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(policy)
        .edit(|config| {
            // The shipped files refuse underscores; of an Envoy that accepts them Headgate removes these.
            let options = &mut config::hcm(config)["common_http_protocol_options"];
            options["headers_with_underscores_action"] = "ALLOW".into();
        })
        .start();
    let forged = [
        "x-ratelimit-limit",
        "X-RateLimit-Remaining",
        "x-ratelimit-limited",
        "x-ratelimit-anything",
        "x_ratelimit-limit",
        "X_RateLimit_Remaining",
        "ratelimit",
        "ratelimit-policy",
        "ratelimit_policy",
    ];
    for client in ["", "a"] {
        let mut request = envoy.get("/").header("x-api-key", client);
        for name in forged {
            request = request.header(name, "9999").header(name, "8888");
        }
        let response = request.send().await;
        assert_eq!(response.status, 200);
        assert_eq!(response.upstream_header("x-ratelimit-limited"), None);
        let seen = response.json().to_string();
        assert!(!seen.contains("\"9999") && !seen.contains("8888\""), "{seen}");
        let expected = (!client.is_empty()).then(|| "100".to_owned());
        assert_eq!(response.upstream_header("x-ratelimit-limit"), expected);
        assert_eq!(response.header("x-ratelimit-limit"), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_headers_of_the_upstream_give_way_to_ours() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy("limits: [{rate: 7/minute}]")
        .start();
    let answer = r#"{"headers": {"x-ratelimit-limit": "1", "x-ratelimit-remaining": "0"}}"#;
    let response = envoy.get("/").header("x-test-answer", answer).send().await;
    assert_eq!(response.header("x-ratelimit-limit").as_deref(), Some("7"));
    assert_eq!(response.header("x-ratelimit-remaining").as_deref(), Some("6"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_of_grpc_gets_resource_exhausted_in_headers() {
    for builder in Envoy::of_each_store() {
        let envoy = builder.policy("limits: [{rate: 1/minute}]").start();
        let call = || {
            envoy
                .http2()
                .request("POST", "/svc/Method")
                .header("content-type", "application/grpc")
                .send()
        };
        assert_eq!(call().await.status, 200);
        let denied = call().await;
        assert_eq!(
            (denied.status, denied.header("grpc-status").as_deref()),
            (200, Some("8"))
        );
        assert_eq!(
            denied.header("grpc-message").as_deref(),
            Some("Rate limit exceeded")
        );
        assert_eq!(denied.number("x-ratelimit-remaining"), Some(0));
        assert!(denied.number("retry-after").unwrap() >= 1);
        assert_eq!(denied.header("x-envoy-ratelimited").as_deref(), Some("true"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_response_is_as_configured() {
    let policy = r#"{limits: [{name: few, rate: 1/minute}], response: {status: 430, body: "{name} {limit} {remaining}", headers: []}}"#;
    let envoy = Envoy::with(RedisCluster::shared()).policy(policy).start();
    let passed = envoy.get("/").send().await;
    assert_eq!((passed.status, passed.header("x-ratelimit-limit")), (200, None));
    assert_eq!(passed.upstream_header("x-ratelimit-limit"), None);
    let denied = envoy.get("/").send().await;
    assert_eq!(
        (denied.status, denied.text(), denied.header("x-ratelimit-limit")),
        (430, "few 1 0".into(), None)
    );
    assert!(
        denied.number("retry-after").unwrap() >= 1,
        "Retry-After always goes with a denial"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_has_the_figures_and_the_decision() {
    for builder in Envoy::of_each_store() {
        let store = builder.store();
        let envoy = builder.policy("limits: [{name: one, rate: 1/minute}]").start();
        for _ in 0..2 {
            envoy.get("/").header("x-api-key", "secret-key").send().await;
        }
        let log = envoy.access_log(2);
        let [first, second] = log.as_slice() else {
            panic!("{log:?}")
        };
        for (entry, decision, remaining) in [(first, "allowed", "0"), (second, "denied", "0")] {
            assert_eq!(entry["ratelimit_decision"], decision);
            assert_eq!(entry["ratelimit_by"], store);
            assert_eq!(entry["ratelimit_name"], "one");
            assert_eq!(entry["ratelimit_limit"], "1");
            assert_eq!(entry["ratelimit_remaining"], remaining);
            let client = entry["ratelimit_client"].as_str().unwrap();
            assert!(
                client.starts_with("api_key:") && client.len() == "api_key:".len() + 32,
                "{client}"
            );
            let micros = entry["ratelimit_redis_us"].as_str();
            assert_eq!(micros.is_some(), store == "redis");
            assert!(micros.is_none_or(|micros| micros.parse::<u64>().unwrap() < 1_000_000));
        }
        let retry_after: u64 = second["ratelimit_retry_after"].as_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&retry_after));
        assert!(first["ratelimit_retry_after"].is_null());
        for text in [
            envoy.log(),
            format!("{log:?}"),
            envoy.admin("/config_dump"),
            envoy.admin("/stats"),
        ] {
            assert!(!text.contains("secret-key"), "a secret in clear");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_sent_as_text_is_the_same() {
    let envoy = Envoy::with(RedisCluster::shared())
        .string_value()
        .policy("limits: [{rate: 2/minute}]")
        .start();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(envoy.get("/").send().await.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_promised_envoy_limits_too() {
    let builder = Envoy::with(RedisCluster::shared()).version("1.36.2");
    let envoy = builder.policy("limits: [{rate: 2/minute}]").start();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(envoy.get("/").header("x-api-key", "a").send().await.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(envoy.access_log(3)[2]["ratelimit_decision"], "denied");
}
