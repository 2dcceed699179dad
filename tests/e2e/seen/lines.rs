//! The log's lines of denials: their contents and their number.

use crate::harness::*;
use std::time::{Duration, Instant};

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
        "only operators see a hidden limit"
    );
    let lines = wait_for("a line", Duration::from_secs(5), || {
        Some(envoy.events("rate_limit_exceeded")).filter(|lines| !lines.is_empty())
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
    let (mut asked, start) = (0, Instant::now());
    while start.elapsed() < Duration::from_secs(3) {
        envoy.at_once(20, |_| envoy.get("/")).await;
        asked += 20;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    envoy.at_once(8, |_| envoy.get("/")).await;
    let lines = envoy.events("rate_limit_exceeded");
    assert!(
        (4..=2 * 7).contains(&lines.len()),
        "{} lines of {asked} denials",
        lines.len()
    );
    let left_out: u64 = lines.iter().filter_map(|line| line["left_out"].as_u64()).sum();
    let reported = left_out as usize + lines.len();
    assert!(
        (asked..=asked + 8).contains(&reported),
        "{reported} of {asked} denials, and eight at last"
    );
}
