//! Sizes and numbers at and beyond the bounds.

use super::large_headers;
use crate::harness::*;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn sizes_at_envoys_bounds_are_counted_like_any_other() {
    let redis = SingleRedis::start();
    let policy = r#"
        identify: [{name: session, cookie: sid}, {name: app, query: app_id}, {header: x-api-key}]
        limits: [{rate: 99/hour, key: [client, path, host, method]}]
    "#;
    let envoy = Envoy::with(&redis).policy(policy).edit(large_headers).start();
    for client in [Client::http1(envoy.port), envoy.http2()] {
        let many = (0..90).fold(client.get("/many").header("x-api-key", "a"), |request, n| {
            request.header(&format!("x-{n}"), "v".repeat(600))
        });
        let cookies: Vec<String> = (0..4_000).map(|n| format!("c{n}={n}")).collect();
        let cookies = client
            .get("/cookies")
            .header("cookie", format!("{}; sid=7", cookies.join("; ")));
        let query: Vec<String> = (0..3_000).map(|n| format!("q{n}=%61%zz&&=")).collect();
        let query = client.get(&format!("/query?{}&app_id=7", query.join("&")));
        let path = client
            .get(&format!("/{}", "a/../%2e/b/".repeat(5_000)))
            .header("x-api-key", "a");
        for request in [many, cookies, query, path] {
            assert_eq!(request.send().await.status, 200);
        }
    }
    let decisions = envoy.access_log(8);
    assert!(
        decisions
            .iter()
            .all(|entry| entry["ratelimit_decision"] == "allowed"),
        "{decisions:?}"
    );
    let clients: BTreeSet<&str> = decisions
        .iter()
        .filter_map(|entry| entry["ratelimit_client"].as_str())
        .collect();
    assert_eq!(
        clients.len(),
        3,
        "a cookie, a parameter and a key, whatever the protocol: {clients:?}"
    );
    assert!(redis.keys("*").iter().all(|key| key.len() < 300));
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_callers_with_large_headers_do_not_grow_memory() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis)
        .policy("{limits: [{rate: 1/hour}], verdict_cache: {max_age: 10s}}")
        .edit(large_headers)
        .start();
    let filler = "f".repeat(50_000);
    let wave = async |from: usize, count: usize| {
        for start in (from..from + count).step_by(50) {
            let request = |n: usize| {
                let key = format!("{}-{}", start + n % 25, "k".repeat(9_000));
                envoy
                    .get("/")
                    .header("x-api-key", key)
                    .header("x-filler", &filler)
            };
            for response in envoy.at_once(50, request).await {
                assert!([200, 429].contains(&response.status));
            }
        }
    };
    wave(0, 200).await;
    let before = envoy.resident_kib();
    wave(200, 1_000).await;
    let grown = envoy.resident_kib().saturating_sub(before);
    assert!(grown < 24 << 10, "{grown} KiB more after 60 MB of headers");
    assert_eq!(
        envoy.get("/").header("x-api-key", "new").send().await.status,
        200,
        "the filter lives"
    );
}
