//! HTTP clients read Retry-After; the SDK of OpenAI, and those that were made with the same generator, also
//! `retry-after-ms` and `x-should-retry`.

use super::program::{node, numbers, python, report};
use super::{CALLS, REFUSALS, WINDOW};
use crate::harness::*;
use serde_json::{json, Value};

fn attempts(envoy: &Envoy) -> u64 {
    envoy.stat("http.http.downstream_rq_total")
}

/// All calls pass, with one attempt more for each refusal.
fn assert_waits_as_asked(envoy: &Envoy, report: &Value) {
    let statuses = numbers(&report["statuses"]);
    assert_eq!(statuses, [200.0; CALLS as usize], "{report}");
    let attempts = attempts(envoy);
    // A timer that fires early, by less than a millisecond, costs another.
    let expected = CALLS + REFUSALS..=CALLS + 2 * REFUSALS;
    assert!(expected.contains(&attempts), "{attempts} attempts: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn got_waits_as_asked_and_passes() {
    let envoy = Envoy::local().policy(&format!("{{limits: [{WINDOW}]}}")).start();
    let report = report(node(&format!("http.mjs got {} / {CALLS}", envoy.port)));
    assert_waits_as_asked(&envoy, &report);
    for refusal in report["refusals"].as_array().expect("refusals") {
        let wait = refusal["retry-after"]
            .as_str()
            .and_then(|text| text.parse::<f64>().ok());
        let wait = wait.expect("Retry-After") * 1_000.0;
        assert!(numbers(&report["timers"]).contains(&wait), "{wait}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn urllib3_waits_as_asked_and_passes() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(&format!("{{limits: [{WINDOW}]}}"))
        .start();
    let report = report(python(&format!("urllib3_client.py {} / {CALLS}", envoy.port)));
    assert_waits_as_asked(&envoy, &report);
    let slept = numbers(&report["slept"]);
    assert!(
        !slept.is_empty() && slept.iter().all(|wait| (1.0..=2.0).contains(wait)),
        "{report}"
    );
}

/// Of a model that does not exist; the SDK takes whatever is JSON.
fn model(envoy: &Envoy) {
    let headers = json!({"content-type": "application/json"});
    envoy
        .upstream
        .answer(json!({"headers": headers, "body": {"id": "m", "object": "model"}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_waits_in_seconds_or_milliseconds_as_asked() {
    for (limit, header, unit, calls) in [
        ("rate: 4/s, algorithm: gcra, burst: 1", "retry-after-ms", 1.0, 4),
        ("rate: 1/3s", "retry-after", 1_000.0, 2),
    ] {
        let envoy = Envoy::local()
            .policy(&format!("{{limits: [{{name: a, {limit}}}]}}"))
            .start();
        model(&envoy);
        let report = report(node(&format!("http.mjs openai {} /v1 {calls}", envoy.port)));
        let statuses = numbers(&report["statuses"]);
        assert_eq!(statuses, vec![200.0; calls], "{report}");
        let refusals = report["refusals"].as_array().expect("refusals");
        // A timer that fires early, by less than a millisecond, costs another.
        assert!((1..=calls).contains(&refusals.len()), "{report}");
        let wait = refusals[0][header]
            .as_str()
            .and_then(|text| text.parse::<f64>().ok());
        let wait = wait.unwrap_or_else(|| panic!("no {header}: {report}")) * unit;
        assert!(
            numbers(&report["timers"]).contains(&wait),
            "{header} {wait}: {report}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_does_not_repeat_what_can_never_pass() {
    let envoy = Envoy::local()
        .policy("{limits: [{name: never, rate: 0/s}]}")
        .start();
    let report = report(node(&format!("http.mjs openai {} /v1 1", envoy.port)));
    assert_eq!(numbers(&report["statuses"]), [429.0], "{report}");
    assert_eq!(report["refusals"][0]["x-should-retry"], "false", "{report}");
    assert_eq!(attempts(&envoy), 1, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_policy_identifies_an_sdk_by_its_token() {
    let envoy = Envoy::local().start();
    model(&envoy);
    report(node(&format!("http.mjs openai {} /v1 1", envoy.port)));
    let client = &envoy.access_log(1)[0]["ratelimit_client"];
    let client = client.as_str().expect("a client");
    assert!(
        client.starts_with("token:"),
        "{client}: SDKs send their key as Authorization: Bearer"
    );
}
