//! What a request costs: a number, a header of the caller's, or what the upstream says afterwards.

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
            (Some("0"), 90, 0),
            (Some("999999"), 50, 0), // its ceiling
            (None, 49, 0),
            (Some("-5"), 48, 1),
            (Some("many"), 47, 2),
            (Some("1.5"), 46, 3),
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
        let dear = || {
            envoy
                .get("/header")
                .header("x-api-key", "a")
                .header("x-cost", "40")
        };
        assert_eq!(dear().send().await.number("x-ratelimit-remaining"), Some(6));
        let denied = dear().send().await;
        assert_eq!(
            (denied.status, denied.number("x-ratelimit-remaining")),
            (429, Some(6))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cost_from_the_response_is_charged_afterwards_and_refuses_only_what_comes_next() {
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
            // What is charged when nobody waits for it is in Redis some moments later.
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
        assert_eq!(
            broken(&envoy),
            3,
            "missing, negative and twice are counted as unread"
        );
        assert_eq!(
            envoy.upstream.requests(),
            7,
            "the denied call cost nothing and reached nobody"
        );
        let other = envoy.get("/tokens").header("x-api-key", "b").send().await;
        assert_eq!(other.number("x-ratelimit-remaining"), Some(100));
    }
}
