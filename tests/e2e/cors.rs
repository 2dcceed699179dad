//! Pages of other origins, with Envoy's own cors filter in front, as `envoy/cors.yaml` ships it.

use crate::harness::*;

const ORIGIN: &str = "https://app.example.com";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_may_read_a_denial_and_preflights_cost_nothing() {
    let policy = "{exempt: [{methods: [OPTIONS], headers: {access-control-request-method: '*'}}], limits: [{rate: 2/hour}]}";
    let envoy = Envoy::with(RedisCluster::shared())
        .file("envoy/cors.yaml")
        .policy(policy)
        .start();
    let preflight = |origin: &str| {
        let request = envoy.request("OPTIONS", "/").header("origin", origin);
        request.header("access-control-request-method", "PUT")
    };
    for _ in 0..4 {
        let response = preflight(ORIGIN).send().await;
        assert_eq!(
            (
                response.status,
                response.header("access-control-allow-origin").as_deref()
            ),
            (200, Some(ORIGIN))
        );
        assert_eq!(response.header("x-ratelimit-limit"), None);
    }
    assert_eq!(envoy.upstream.requests(), 0, "answered by the cors filter");
    let strange = preflight("https://elsewhere.example").send().await;
    assert_eq!(
        (
            strange.status,
            strange.header("access-control-allow-origin"),
            strange.header("x-ratelimit-limit")
        ),
        (200, None, None)
    );
    let call = || envoy.get("/").header("origin", ORIGIN).send();
    for left in [1, 0] {
        let response = call().await;
        assert_eq!(
            (response.status, response.number("x-ratelimit-remaining")),
            (200, Some(left))
        );
    }
    let denied = call().await;
    assert_eq!(denied.status, 429);
    assert_eq!(
        denied.header("access-control-allow-origin").as_deref(),
        Some(ORIGIN),
        "or the page sees nothing"
    );
    let exposed = denied.header("access-control-expose-headers").unwrap_or_default();
    let exposed: Vec<&str> = exposed.split(", ").collect();
    let shown = denied
        .headers
        .keys()
        .filter(|name| name.as_str().contains("ratelimit-") || *name == "retry-after");
    let shown: Vec<&str> = shown
        .map(|name| name.as_str())
        .filter(|name| !name.starts_with("x-envoy"))
        .collect();
    assert_eq!(shown.len(), 4, "{shown:?}");
    let of_others = [
        "ratelimit",
        "ratelimit-policy",
        "retry-after-ms",
        "x-should-retry",
    ];
    for name in shown.into_iter().chain(of_others) {
        assert!(exposed.contains(&name), "a page may read {name}, of {exposed:?}");
    }
    let log = envoy.access_log(8);
    let exempt = log
        .iter()
        .filter(|entry| entry["ratelimit_decision"] == "exempt")
        .count();
    assert_eq!(
        exempt, 1,
        "the preflight of an unknown origin passes uncounted: {log:?}"
    );
}
