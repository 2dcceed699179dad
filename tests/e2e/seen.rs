//! What operators see: series, log lines, the most rejected. Dashboards and traces have files of their own.

use crate::harness::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(5);

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

/// The filter's log lines that are JSON, with this event.
fn events(envoy: &Envoy, event: &str) -> Vec<Value> {
    let log = envoy.log();
    let lines = log.lines().filter_map(|line| line.get(line.find("{\"")?..));
    lines
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|value| value["event"] == event)
        .collect()
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
async fn decisions_stand_in_labelled_series() {
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
        "nothing of a caller's stands in a series"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_and_their_paths_make_no_series() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy("limits: [{rate: 1/minute, key: [address]}]")
        .start();
    let ask = |from: usize| {
        let envoy = &envoy;
        async move {
            let request = |n| {
                envoy
                    .get(&format!("/{}", from + n))
                    .header("x-api-key", format!("{}", from + n))
            };
            envoy.at_once(200, request).await;
        }
    };
    // Twice, so that denials by Redis and by the cache have their series.
    ask(0).await;
    ask(0).await;
    becomes(&envoy, "headgate_requests_total", &[], 400.0).await;
    let before: Vec<String> = series(&envoy).into_keys().collect();
    ask(200).await;
    becomes(&envoy, "headgate_requests_total", &[], 600.0).await;
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
    assert_eq!(events(&envoy, "rate_limit_exceeded"), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_leaves_no_stream_counted_that_has_gone() {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_gets_one_line_without_any_secret() {
    let policy = r#"{limits: [{name: login, rate: 1/minute, match: {path: "/login/*"}, expose: false}]}"#;
    let envoy = Envoy::with(RedisCluster::shared()).policy(policy).start();
    let ask = || {
        let request = envoy
            .request("POST", "/login/alice?token=hidden")
            .header("x-api-key", "secret-key");
        let request = request.header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        );
        request.send()
    };
    ask().await;
    let denied = ask().await;
    assert_eq!(denied.status, 429);
    assert!(
        !denied.text().contains("login"),
        "a hidden limit is told to operators alone"
    );
    let lines = wait_for("a line", SOON, || {
        Some(events(&envoy, "rate_limit_exceeded")).filter(|lines| !lines.is_empty())
    });
    let [line] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    assert_eq!(
        (&line["limit"], &line["path"], &line["method"]),
        (&"login".into(), &"/login/*".into(), &"POST".into())
    );
    assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(line["retry_after"].as_i64(), denied.number("retry-after"));
    assert_eq!(line["request_id"].as_str().map(str::len), Some(36), "{line}");
    assert!(line["client"]
        .as_str()
        .is_some_and(|client| client.starts_with("api_key:") && client.len() == 40));
    assert_eq!(line["left_out"], 0);
    let log = envoy.log();
    assert!(
        !log.contains("secret-key") && !log.contains("hidden") && !log.contains("alice"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_denials_few_get_a_line_and_the_rest_are_counted() {
    let policy = "{limits: [{name: few, rate: 1/hour}], log: {denials_per_second: 2}}";
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(policy)
        .concurrency(1)
        .start();
    envoy.get("/").send().await;
    let (mut asked, start) = (0, std::time::Instant::now());
    while start.elapsed() < Duration::from_secs(3) {
        envoy.at_once(20, |_| envoy.get("/")).await;
        asked += 20;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    envoy.at_once(8, |_| envoy.get("/")).await;
    let lines = events(&envoy, "rate_limit_exceeded");
    assert!(
        (4..=2 * 7).contains(&lines.len()),
        "{} lines of {asked} denials",
        lines.len()
    );
    let left_out: u64 = lines.iter().filter_map(|line| line["left_out"].as_u64()).sum();
    let told = left_out as usize + lines.len();
    assert!(
        (asked..=asked + 8).contains(&told),
        "{told} of {asked} denials, and eight at last"
    );
}
