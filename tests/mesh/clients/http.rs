//! HTTP clients, which read Retry-After: go-retryablehttp, and Apache HttpClient 5 with five retries.

use crate::program::{numbers, report};
use crate::{attempts, envoy, CLIENTS, WINDOW};

#[tokio::test(flavor = "multi_thread")]
async fn http_clients_wait_as_requested_and_all_calls_pass() {
    for (language, client) in CLIENTS {
        let (_server, envoy) = envoy(WINDOW);
        let report = report(client(&format!("http {} / 11", envoy.port)));
        assert_eq!(numbers(&report["statuses"]), [200.0; 11], "{language}: {report}");
        let attempts = attempts(&envoy);
        assert!(
            (12..=15).contains(&attempts),
            "{language}: {attempts} attempts, and 13 if each refusal costs one: {report}"
        );
        let (waits, requested) = (numbers(&report["waits"]), seconds(&report["requested"]));
        assert!(!waits.is_empty(), "{language}: {report}");
        let requested: Vec<f64> = requested.iter().map(|requested| requested * 1_000.0).collect();
        assert_eq!(
            waits, requested,
            "{language}: the wait in ms is what Retry-After says: {report}"
        );
    }
}

/// Numbers, as text or not.
fn seconds(list: &serde_json::Value) -> Vec<f64> {
    let values = list.as_array().into_iter().flatten();
    let number = |value: &serde_json::Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
    values.filter_map(number).collect()
}
