//! connect-go reads a refusal's code over each of its protocols.

use crate::program::report;
use crate::{attempts, envoy, go};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn connect_go_reads_a_refusal_over_each_protocol() {
    let (_server, envoy) = envoy("{name: slow, rate: 0/hour}");
    let report = report(go(&format!("connect {}", envoy.port)));
    assert_eq!(attempts(&envoy), 6, "one call each: {report}");
    for (protocol, code) in [
        ("grpc", "resource_exhausted"),
        ("grpc_stream", "resource_exhausted"),
        ("connect_post", "resource_exhausted"),
        ("connect_get", "resource_exhausted"),
        // as with Envoy's own local_ratelimit: from the HTTP status 429
        ("connect_stream", "unavailable"),
        ("grpc_web", "unavailable"),
    ] {
        assert_eq!(report[protocol]["code"], json!(code), "{protocol}: {report}");
    }
    for protocol in ["connect_post", "connect_get"] {
        assert_eq!(report[protocol]["retry_after"], "3600", "{protocol}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_go_passes_over_each_protocol() {
    let (_server, envoy) = envoy("{name: wide, rate: 1000/hour}");
    let report = report(go(&format!("connect {}", envoy.port)));
    for (protocol, outcome) in report.as_object().into_iter().flatten() {
        assert_eq!(outcome["code"], "ok", "{protocol}: {report}");
    }
    assert_eq!(attempts(&envoy), 6, "{report}");
}
