//! Envoy as the client: in front of Headgate, with a retry policy of its own.

use super::{CALLS, REFUSALS, WINDOW};
use crate::harness::*;
use serde_json::json;

/// An Envoy without Headgate in front of one with it; the statuses of as many calls, one after the other.
async fn statuses(retry_policy: serde_json::Value, inner: &Envoy) -> Vec<u16> {
    let port = inner.port;
    let front = Envoy::local()
        .without_filter()
        .edit(move |config| {
            config::set_endpoints(config::cluster(config, "upstream"), &[port]);
            let route = &mut config::hcm(config)["route_config"]["virtual_hosts"][0]["routes"][0]["route"];
            assert_eq!(route["cluster"], "upstream");
            route["retry_policy"] = retry_policy.clone();
        })
        .start();
    let mut statuses = Vec::new();
    for _ in 0..CALLS {
        statuses.push(front.get("/").send().await.status);
    }
    statuses
}

fn inner() -> Envoy {
    Envoy::local().policy(&format!("{{limits: [{WINDOW}]}}")).start()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_in_front_waits_by_envoy_ratelimited() {
    let inner = inner();
    let policy = json!({"retry_on": "envoy-ratelimited", "num_retries": 3, "rate_limited_retry_back_off":
        {"reset_headers": [{"name": "Retry-After", "format": "SECONDS"}], "max_interval": "60s"}});
    assert_eq!(statuses(policy, &inner).await, [200; CALLS as usize]);
    let attempts = inner.stat("http.http.downstream_rq_total");
    let attempted = CALLS + REFUSALS..=CALLS + 2 * REFUSALS;
    assert!(attempted.contains(&attempts), "{attempts} attempts");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_retries_of_envoy_leave_a_refusal_alone() {
    let inner = inner();
    let policy = json!({"retry_on": "retriable-status-codes,retriable-4xx,gateway-error",
        "retriable_status_codes": [429], "num_retries": 3});
    let statuses = statuses(policy, &inner).await;
    assert!(statuses.contains(&429), "{statuses:?}");
    let attempts = inner.stat("http.http.downstream_rq_total");
    assert_eq!(attempts, CALLS, "not one of them again: {statuses:?}");
}
