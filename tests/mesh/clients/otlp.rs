//! OpenTelemetry's exporter in Go retries RESOURCE_EXHAUSTED where `google.rpc.RetryInfo` is there, and nowhere else.

use crate::program::report;
use crate::{attempts, envoy, go, WINDOW};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_otlp_exporter_over_grpc_loses_nothing() {
    let (_server, envoy) = envoy(WINDOW);
    let report = report(go(&format!("otlp {} 11", envoy.port)));
    assert_eq!(report["failures"], json!([]), "{report}");
    let attempts = attempts(&envoy);
    assert!(attempts > 11, "{attempts} attempts: some were refused");
    // Counted by the service. Its answer's route is limited too, so it is asked as another client.
    let spans = envoy.get("/spans").header("x-api-key", "reader").send().await;
    assert_eq!((spans.status, spans.text().as_str()), (200, "11"), "{report}");
}
