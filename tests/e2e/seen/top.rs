//! Who is rejected most, from Envoy's log by `headgate top`.

use crate::harness::*;
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// One caller is rejected far more often than the others; its name comes to `headgate top` by Envoy's log.
async fn the_most_rejected_are_shown(envoy: Envoy, every: u64) {
    let ask = |key: String| envoy.get("/").header("x-api-key", key);
    for _ in 0..2 {
        envoy.at_once(40, |n| ask(format!("caller-{n}"))).await;
    }
    for _ in 0..5 {
        envoy.at_once(40, |_| ask("abusive".to_owned())).await;
    }
    // each worker reports its own, and a slow machine may take several intervals for it
    let most = |reports: &[Value]| -> Option<u64> {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for client in reports
            .iter()
            .filter_map(|report| report["clients"].as_array())
            .flatten()
        {
            assert_eq!(client["error"], 0, "all clients fit into the sketch: {client}");
            *sums.entry(client["client"].as_str()?).or_default() += client["rejected"].as_u64()?;
        }
        sums.into_values().max()
    };
    let reports = wait_for("reports of 199", Duration::from_secs(every + 15), || {
        Some(envoy.events("most_rejected")).filter(|reports| most(reports) == Some(199))
    });
    for report in &reports {
        assert_eq!(
            (&report["seconds"], &report["instance"]),
            (&json!(every), &json!("main"))
        );
        assert!(
            report["clients"]
                .as_array()
                .is_some_and(|clients| clients.len() <= 10),
            "{report}"
        );
    }
    let log = envoy.log();
    assert!(!log.contains("abusive") && !log.contains("caller-"), "{log}");
    let top = crate::oncall::program()
        .args(["top", "--json", "-n", "3"])
        .arg(envoy.log_file())
        .output()
        .expect("the command headgate");
    let reported: Value = serde_json::from_slice(&top.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&top.stderr)));
    let first = &reported["clients"][0];
    assert_eq!(
        (&first["limit"], &first["rejected"], &first["at_least"]),
        (&json!("few"), &json!(199), &json!(199))
    );
    assert!(first["client"]
        .as_str()
        .is_some_and(|client| client.starts_with("api_key:") && client.len() == 40));
    assert_eq!(reported["clients"][1]["rejected"], 1, "{reported:#}");
}

const FEW: &str = "{limits: [{name: few, rate: 1/hour}], log: {denials_per_second: 0}}";

#[tokio::test(flavor = "multi_thread")]
async fn headgate_top_finds_the_most_rejected_in_envoys_log() {
    let builder = Envoy::with(RedisCluster::shared()).policy(FEW).fault_injection();
    the_most_rejected_are_shown(builder.start(), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: a minute"]
async fn the_most_rejected_are_reported_each_minute() {
    let builder = Envoy::with(RedisCluster::shared()).policy(FEW);
    the_most_rejected_are_shown(builder.start(), 60).await;
}
