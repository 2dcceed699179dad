//! What a request costs: a number, a header of the caller's, or the cost in the upstream's response.

use crate::harness::*;
use std::time::Duration;

const COSTS: &str = r#"
    limits:
    - {name: fixed, rate: 10/hour, match: {path: /fixed}, cost: 3}
    - {name: header, rate: 100/hour, match: {path: /header}, cost: {header: x-cost, max: 40}}
    - {name: tokens, rate: 100/hour, match: {path: /tokens}, cost: {response_header: x-tokens, max: 100}, algorithm: sliding_window_counter}
"#;

fn broken(envoy: &Envoy) -> u64 {
    envoy.stats("headgate_broken_costs_total").values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cost_is_taken_at_once_or_not_at_all() {
    for builder in Envoy::of_each_store() {
        let envoy = builder.policy(COSTS).start();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let response = envoy.get("/fixed").send().await;
            seen.push((response.status, response.number("x-ratelimit-remaining")));
        }
        assert_eq!(
            seen,
            [(200, Some(7)), (200, Some(4)), (200, Some(1)), (429, Some(1))],
            "cost 3 with 1 left is denied, and nothing is charged"
        );
        for (cost, left, unread) in [
            (Some("10"), 90, 0),
            (Some("0"), 89, 0),      // at least 1 unless it is written otherwise
            (Some("999999"), 49, 0), // its ceiling
            (None, 48, 0),
            (Some("-5"), 47, 1),
            (Some("many"), 46, 2),
            (Some("1.5"), 45, 3),
        ] {
            let mut request = envoy.get("/header").header("x-api-key", "a");
            if let Some(cost) = cost {
                request = request.header("x-cost", cost);
            }
            let response = request.send().await;
            assert_eq!(
                (response.status, response.number("x-ratelimit-remaining")),
                (200, Some(left)),
                "{cost:?}"
            );
            let what = format!("{unread} broken costs counted, after {cost:?}");
            eventually(&what, Duration::from_secs(10), || {
                (broken(&envoy) == unread).then_some(())
            })
            .await;
        }
        let costly = || {
            envoy
                .get("/header")
                .header("x-api-key", "a")
                .header("x-cost", "40")
        };
        assert_eq!(costly().send().await.number("x-ratelimit-remaining"), Some(5));
        let denied = costly().send().await;
        assert_eq!(
            (denied.status, denied.number("x-ratelimit-remaining")),
            (429, Some(5))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_cost_is_charged_afterwards_and_denies_later_calls() {
    for builder in Envoy::of_each_store() {
        let envoy = builder.policy(COSTS).start();
        let answering = |headers: &str| {
            envoy
                .get("/tokens")
                .header("x-test-answer", format!(r#"{{"headers": {headers}}}"#))
        };
        let left = async |headers: &str| {
            let response = answering(headers).send().await;
            assert_eq!(response.status, 200, "{headers}: {response:?}");
            // A charge on response is in Redis some moments after the response.
            tokio::time::sleep(Duration::from_millis(100)).await;
            response.number("x-ratelimit-remaining")
        };
        assert_eq!(left(r#"{"x-tokens": "30"}"#).await, Some(100), "not known yet");
        assert_eq!(left(r#"{"x-tokens": "0"}"#).await, Some(70));
        assert_eq!(broken(&envoy), 0);
        assert_eq!(left("{}").await, Some(70));
        assert_eq!(left(r#"{"x-tokens": "-4"}"#).await, Some(69), "missing was 1");
        assert_eq!(
            left(r#"{"x-tokens": "9", "x-other": "1"}"#).await,
            Some(68),
            "negative was 1"
        );
        assert_eq!(left(r#"[["x-tokens", "1"], ["x-tokens", "2"]]"#).await, Some(59));
        assert_eq!(
            left(r#"{"x-tokens": "500"}"#).await,
            Some(58),
            "one left is enough to pass"
        );
        let response = answering(r#"{"x-tokens": "1"}"#).send().await;
        assert_eq!(
            (response.status, response.number("x-ratelimit-remaining")),
            (429, Some(0))
        );
        eventually(
            "missing, negative and twice to be counted as unread",
            Duration::from_secs(5),
            || (broken(&envoy) == 3).then_some(()),
        )
        .await;
        assert_eq!(
            envoy.upstream.requests(),
            7,
            "the denied call cost nothing and did not reach the upstream"
        );
        let other = envoy.get("/tokens").header("x-api-key", "b").send().await;
        assert_eq!(other.number("x-ratelimit-remaining"), Some(100));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_that_a_call_may_cost_is_charged() {
    for builder in Envoy::of_each_store() {
        let envoy = builder
            .policy(
                r#"
                limits:
                - {name: free, rate: 100/hour, match: {path: /free}, cost: {header: x-cost, min: 0, max: 40}}
                - {name: least, rate: 100/hour, match: {path: /least}, cost: {header: x-cost, min: 5, max: 40}}
                "#,
            )
            .start();
        for (path, cost, left) in [
            ("/free", Some("0"), 100),
            ("/free", None, 99),
            ("/free", Some("broken"), 98),
            ("/least", Some("0"), 95),
            ("/least", Some("6"), 89),
            ("/least", None, 84),
            ("/least", Some("-1"), 79),
        ] {
            let mut request = envoy.get(path);
            if let Some(cost) = cost {
                request = request.header("x-cost", cost);
            }
            let response = request.send().await;
            assert_eq!(
                response.number("x-ratelimit-remaining"),
                Some(left),
                "{path} {cost:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_before_the_response_is_charged() {
    const CALLS: u64 = 20;
    for builder in Envoy::of_each_store() {
        let envoy = builder
            .policy(
                r#"
                limits:
                - {name: least, rate: 1000/hour, match: {path: /least}, cost: {response_header: x-tokens, max: 100}}
                - {name: more, rate: 1000/hour, match: {path: /more}, cost: {response_header: x-tokens, min: 7, max: 100}}
                "#,
            )
            .start();
        for (path, each) in [("/least", 1), ("/more", 7)] {
            for call in 0..CALLS {
                let before = envoy.upstream.requests();
                let slow = r#"{"delay_ms": 5000, "headers": {"x-tokens": "50"}}"#;
                let http1 = Client::http1(envoy.port);
                let client = if call % 2 == 0 { http1 } else { envoy.http2() };
                let leaving = client.get(path).header("x-test-answer", slow).send();
                let leaving = tokio::spawn(leaving);
                eventually("the call at the upstream", Duration::from_secs(10), || {
                    (envoy.upstream.requests() > before).then_some(())
                })
                .await;
                leaving.abort();
            }
            // Asking costs the least as well.
            let expected = 1_000 - CALLS * each;
            let asking = if each == 1 { 0 } else { each };
            let start = std::time::Instant::now();
            let mut left = 0;
            for asked in 0.. {
                let answer = r#"{"headers": {"x-tokens": "0"}}"#;
                let response = envoy.get(path).header("x-test-answer", answer).send().await;
                left = response.number("x-ratelimit-remaining").unwrap_or(0) as u64 + asked * asking;
                if left == expected || start.elapsed() > Duration::from_secs(5) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert_eq!(left, expected, "{path}: {each} for each of {CALLS} calls");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_leave_before_the_decision_are_counted() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis)
        .policy("{redis: {timeout: 10s}, limits: [{rate: 100/hour}]}")
        .start();
    assert_eq!(envoy.get("/").send().await.status, 200);
    redis.freeze();
    let callers: Vec<_> = (0..30)
        .map(|_| tokio::spawn(Client::http1(envoy.port).get("/").try_send()))
        .collect();
    let active = || envoy.stat("http.http.downstream_rq_active");
    eventually("30 requests that wait", Duration::from_secs(5), || {
        (active() == 30).then_some(())
    })
    .await;
    callers.iter().for_each(|caller| caller.abort());
    let abandoned = || -> u64 {
        let all = envoy.stats("headgate_requests_total");
        all.iter()
            .filter(|(name, _)| name.contains("decision=abandoned"))
            .map(|(_, count)| count)
            .sum()
    };
    eventually("30 callers that left", Duration::from_secs(5), || {
        (abandoned() == 30).then_some(())
    })
    .await;
    redis.thaw();
    let response = envoy.get("/").send().await;
    assert_eq!(response.status, 200);
    assert_eq!(abandoned(), 30, "and no other");
}
