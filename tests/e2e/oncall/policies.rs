//! `headgate explain` and `simulate --replay`: their results for a policy equal the filter's behaviour.

use super::{program, statuses, Headgate};
use crate::harness::*;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_explained_is_where_the_filter_counts() {
    let cluster = RedisCluster::shared();
    let policy = "redis: {key_prefix: explain}\nlimits:\n- {name: few, rate: 50/hour}\n- {name: paths, rate: 500/hour, key: [client, path, method], match: {path: /a/*}}\n- {name: hosts, rate: 500/hour, key: [host, 'header:x-a']}\n- {name: top, rate: 900/hour, key: [address]}\n- {name: other, rate: 5/hour, match: {path: /b}}\n";
    let envoy = Envoy::with(cluster).policy(policy).key_prefix("explain").start();
    let call = envoy.get("/a/./b?c").header("x-api-key", "k").header("x-a", "b");
    let response = call.send().await;
    assert_eq!(response.status, 200);
    let authority = response.upstream_header("host").expect("a host");
    let headgate = Headgate::on(cluster.nodes[0].port, "explain").policy(policy);
    let explained = program()
        .args([
            "explain",
            &headgate.more[1],
            "--json",
            "--address",
            "127.0.0.1",
            "--host",
            &authority,
        ])
        .args([
            "--request",
            "GET /a/./b?c",
            "--header",
            "x-api-key: k",
            "--header",
            "x-a: b",
        ])
        .output()
        .expect("the command headgate");
    let explained: Value = serde_json::from_slice(&explained.stdout).expect("JSON");
    let calls = explained[0]["calls"].as_array().expect("calls");
    let mut keys: Vec<&str> = calls
        .iter()
        .flat_map(|call| call["charges"].as_array().expect("charges"))
        .map(|charge| charge["key"].as_str().expect("a key"))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let mut found = cluster.keys("explain:*");
    found.sort_unstable();
    assert_eq!(keys, found);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_of_an_envoy_is_replayed() {
    let policy = "limits: [{name: few, rate: 2/hour}]";
    let envoy = Envoy::with(RedisCluster::shared()).policy(policy).start();
    assert_eq!(statuses(&envoy, "/", "a", 5).await, [200, 200, 429, 429, 429]);
    assert_eq!(statuses(&envoy, "/", "b", 1).await, [200]);
    let dir = new_dir("replay");
    let lines: Vec<String> = envoy.access_log(6).iter().map(Value::to_string).collect();
    std::fs::write(dir.join("access.log"), lines.join("\n")).expect("a log");
    std::fs::write(dir.join("policy.yaml"), policy).expect("a policy");
    let output = program()
        .current_dir(&dir)
        .args(["simulate", "policy.yaml", "--replay", "access.log", "--json"])
        .output()
        .expect("the command headgate");
    let tally: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&tally["requests"], &tally["denied"]),
        (&6.into(), &3.into()),
        "{tally:#}"
    );
}
