//! gRPC clients with a usual retry policy: they read `grpc-retry-pushback-ms` and nothing else.

use crate::program::{numbers, report};
use crate::{attempts, envoy, CLIENTS, WINDOW};

const OK: f64 = 0.0;
const RESOURCE_EXHAUSTED: f64 = 8.0;

#[tokio::test(flavor = "multi_thread")]
async fn grpc_clients_wait_as_requested_and_all_calls_pass() {
    for (language, client) in CLIENTS {
        let (_server, envoy) = envoy(WINDOW);
        let report = report(client(&format!("grpc {} Window 15 0", envoy.port)));
        assert_eq!(numbers(&report["codes"]), [OK; 15], "{language}: {report}");
        let attempts = attempts(&envoy);
        assert!(
            (16..=20).contains(&attempts),
            "{language}: {attempts} attempts, and 17 if each refusal costs one: {report}"
        );
        let waited = numbers(&report["took"]).into_iter().filter(|ms| *ms > 1_000.0);
        assert!(
            waited.count() >= 1,
            "{language}: a call takes as long as its wait: {report}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_wait_beyond_the_deadline_ends_at_once() {
    const DEADLINE_MS: f64 = 10_000.0;
    for (language, client) in CLIENTS {
        let (_server, envoy) = envoy("{name: slow, rate: 1/hour}");
        let report = report(client(&format!("grpc {} Slow 2 {DEADLINE_MS}", envoy.port)));
        let codes = numbers(&report["codes"]);
        assert_eq!(
            codes,
            [OK, RESOURCE_EXHAUSTED],
            "{language}: not DEADLINE_EXCEEDED: {report}"
        );
        assert_eq!(attempts(&envoy), 2, "{language}: one attempt each: {report}");
        let took = numbers(&report["took"]);
        assert!(
            took.last() < Some(&(DEADLINE_MS / 2.0)),
            "{language}: at once: {report}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_clients_give_up_a_call_that_can_never_pass() {
    for (language, client) in CLIENTS {
        let (_server, envoy) = envoy("{name: never, rate: 0/s}");
        let report = report(client(&format!("grpc {} Never 1 0", envoy.port)));
        assert_eq!(
            numbers(&report["codes"]),
            [RESOURCE_EXHAUSTED],
            "{language}: {report}"
        );
        assert_eq!(attempts(&envoy), 1, "{language}: {report}");
    }
}
