//! The series of decisions, calls and streams, and how many there can be.

use crate::harness::*;
use serde_json::{json, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// The series of Headgate's in Prometheus's text form, by name and labels.
fn series(envoy: &Envoy) -> BTreeMap<String, f64> {
    let text = envoy.admin("/stats/prometheus");
    let ours = text
        .lines()
        .filter(|line| line.starts_with("headgate_") || line.starts_with("api_throttle_"));
    ours.filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    })
    .collect()
}

/// The sum of a metric's series that have all these labels.
fn sum(envoy: &Envoy, metric: &str, labels: &[&str]) -> f64 {
    let fits = |name: &str| {
        name.split('{').next() == Some(metric) && labels.iter().all(|label| name.contains(label))
    };
    series(envoy)
        .iter()
        .filter(|(name, _)| fits(name))
        .map(|(_, value)| value)
        .sum()
}

async fn becomes(envoy: &Envoy, metric: &str, labels: &[&str], value: f64) {
    let what = format!("{metric} {labels:?} = {value}");
    let mut last = 0.0;
    for _ in 0..200 {
        last = sum(envoy, metric, labels);
        if last == value {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what}, but it is {last}:\n{:#?}", series(envoy));
}

const POLICY: &str = r#"
    identify: [{header: x-api-key}]
    limits:
    - {name: v1.items, rate: 5/minute, match: {path: "/v1/{id}/items"}}
    - {name: shadowy, rate: 1/minute, enforce: false}
    - {rate: 1000/minute, name: wide}
    metrics: {clients: [{name: partner-7, source: api_key, value: known}]}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_in_labelled_series() {
    let envoy = Envoy::with(RedisCluster::shared()).policy(POLICY).start();
    for key in ["known", "stranger"] {
        for n in 0..10 {
            let path = format!("/v1/{n}/items?secret=1");
            envoy.get(&path).header("x-api-key", key).send().await;
        }
    }
    let decisions = "headgate_decisions_total";
    becomes(
        &envoy,
        decisions,
        &["limit=\"v1.items\"", "outcome=\"allowed\"", "by=\"redis\""],
        10.0,
    )
    .await;
    becomes(
        &envoy,
        decisions,
        &["limit=\"v1.items\"", "outcome=\"denied\""],
        10.0,
    )
    .await;
    assert!(sum(&envoy, decisions, &["limit=\"v1.items\"", "by=\"cache\""]) > 0.0);
    assert!(
        sum(
            &envoy,
            decisions,
            &["limit=\"shadowy\"", "outcome=\"shadow_denied\""]
        ) >= 8.0
    );
    becomes(&envoy, "headgate_requests_total", &["decision=\"denied\""], 10.0).await;
    becomes(
        &envoy,
        "headgate_requests_total",
        &["decision=\"allowed\"", "instance=\"main\""],
        10.0,
    )
    .await;
    becomes(&envoy, "headgate_near_limit_total", &["limit=\"v1.items\""], 2.0).await;
    let rejected = |client| ["limit=\"v1.items\"", "endpoint=\"/v1/{id}/items\"", client];
    becomes(
        &envoy,
        "api_throttle_rejected_total",
        &rejected("client=\"partner-7\""),
        5.0,
    )
    .await;
    becomes(
        &envoy,
        "api_throttle_rejected_total",
        &rejected("client=\"other\""),
        5.0,
    )
    .await;
    assert!(sum(&envoy, "headgate_redis_calls_total", &["outcome=\"ok\""]) >= 10.0);
    // Envoy puts the workers' histograms together every five seconds
    wait_for("the waits", Duration::from_secs(15), || {
        (sum(&envoy, "headgate_redis_wait_microseconds_count", &[]) >= 10.0).then_some(())
    });
    assert!(
        sum(
            &envoy,
            "headgate_redis_wait_microseconds_bucket",
            &["le=\"10000\""]
        ) > 0.0
    );
    becomes(&envoy, "headgate_calls_in_flight", &[], 0.0).await;
    assert!(sum(&envoy, "headgate_streams_open", &[]) > 0.0);
    assert!(sum(&envoy, "headgate_configuration_version", &[]) > 0.0);
    let text = envoy.admin("/stats/prometheus");
    assert!(
        !text.contains("secret") && !text.contains("stranger"),
        "a series contains no value of a caller"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_the_limits_path_pattern_or_the_routes_name() {
    let policy = r#"
        limits:
        - {name: patterns, rate: 1/hour, match: [{methods: [POST], path: "/v1/**"}, {path: "/v1/{id}/items"}]}
        - {name: anywhere, rate: 3/hour}
    "#;
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(policy)
        .edit(|config| {
            let hosts = &mut config::hcm(config)["route_config"]["virtual_hosts"];
            hosts[0]["routes"][0]["name"] = json!("shop");
        })
        .start();
    let ask = async |path: &str, key: &str| envoy.get(path).header("x-api-key", key).send().await.status;
    // denied by Redis, then from memory: the same labels both times
    let mut answers = Vec::new();
    for n in 0..4 {
        answers.push(ask(&format!("/v1/{n}/items"), "a").await);
        answers.push(ask(&format!("/other/{n}"), "b").await);
    }
    answers.push(ask("/other/4", "b").await);
    assert_eq!(
        answers.iter().filter(|status| **status == 429).count(),
        3 + 2,
        "{answers:?}"
    );
    let rejected = "api_throttle_rejected_total";
    let patterns = ["limit=\"patterns\"", "endpoint=\"/v1/{id}/items\""];
    becomes(&envoy, rejected, &patterns, 3.0).await;
    becomes(
        &envoy,
        rejected,
        &["limit=\"anywhere\"", "endpoint=\"shop\""],
        2.0,
    )
    .await;
    assert_eq!(sum(&envoy, rejected, &[]), 5.0, "{:#?}", series(&envoy));
    let lines = envoy.events("rate_limit_exceeded");
    let paths: BTreeSet<&str> = lines.iter().filter_map(|line| line["path"].as_str()).collect();
    assert_eq!(paths, BTreeSet::from(["/v1/{id}/items", "shop"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_callers_and_paths_make_no_series() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy("limits: [{rate: 1/hour}, {name: paths, rate: 1/hour, key: [path]}]")
        .start();
    // Three times, so that denials by Redis and by the cache have their series.
    for _ in 0..3 {
        let request = |n| envoy.get(&format!("/{n}")).header("x-api-key", format!("{n}"));
        envoy.at_once(100, request).await;
    }
    becomes(&envoy, "headgate_requests_total", &[], 300.0).await;
    let before: Vec<String> = series(&envoy).into_keys().collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let enough = asked.clone();
    let report = Load::on(envoy.port)
        .connections(32)
        .duration(Duration::from_secs(20))
        .source(move |connection, number| {
            asked.fetch_add(1, Ordering::Relaxed);
            // each caller, and each path, three times
            let who = format!("{connection}-{}", number / 3);
            Load::get(&format!("/some/{who}"), &[("x-api-key", &who)])
        })
        .until(move || enough.load(Ordering::Relaxed) >= 12_000)
        .run()
        .await;
    let answered: usize = report.statuses.values().map(|count| *count as usize).sum();
    assert!(
        answered >= 6_000 && report.statuses.len() == 2,
        "{:?}",
        report.statuses
    );
    becomes(&envoy, "headgate_requests_total", &[], 300.0 + answered as f64).await;
    let after: Vec<String> = series(&envoy).into_keys().collect();
    assert_eq!(after, before);
    let stats: Vec<String> = envoy.stats("wasmcustom").into_keys().collect();
    assert!(stats.len() < 60, "{stats:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_that_are_off_are_not_there() {
    let policy = "{limits: [{rate: 1/minute}], metrics: {enabled: false}, log: {denials_per_second: 0}}";
    let envoy = Envoy::with(RedisCluster::shared()).policy(policy).start();
    for _ in 0..3 {
        envoy.get("/").send().await;
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    let there: Vec<String> = series(&envoy)
        .into_keys()
        .filter(|name| !name.starts_with("headgate_redis_call_"))
        .collect();
    assert_eq!(there, Vec::<String>::new());
    assert_eq!(envoy.events("rate_limit_exceeded"), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_leaves_no_stream_counted_that_has_gone() {
    if !envoy_has(Capability::ClusterSlots) {
        return;
    }
    let policy = "limits: [{rate: 100/minute}]";
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(policy)
        .dynamic()
        .concurrency(1)
        .start();
    // one for each master, once their borders are known
    let open = async || {
        for _ in 0..100 {
            let request = |n| envoy.get("/").header("x-api-key", format!("{n}"));
            envoy.at_once(20, request).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            if sum(&envoy, "headgate_streams_open", &[]) == 3.0 {
                return;
            }
        }
        panic!("{:#?}", series(&envoy));
    };
    open().await;
    let version = sum(&envoy, "headgate_configuration_version", &[]);
    for n in 0..3 {
        envoy.reload(&format!("limits: [{{rate: 10{n}/hour}}]"));
        envoy.get("/").send().await;
    }
    open().await;
    assert_ne!(sum(&envoy, "headgate_configuration_version", &[]), version);
}
