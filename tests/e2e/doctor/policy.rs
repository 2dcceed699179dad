//! What the policy and the module mean for the answer.

use super::*;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn counting_locally_is_right_where_it_is_configured() {
    let envoy = Envoy::local().start();
    let report = until_counted(&envoy).await;
    report.has("store-local", "note", &["as configured"]);
    assert!(report.text.contains("in this Envoy's memory"), "{}", report.text);
    assert_eq!(report.json["envoys"][0]["instances"][0]["store"], "local");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_in_shadow_is_counted_and_named() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis)
        .policy("{enforce: false, limits: [{name: x, rate: 2/hour}]}")
        .start();
    until_counted(&envoy)
        .await
        .has("shadow", "note", &["none is denied", "enforce: true"]);
    let some = "{limits: [{name: x, rate: 2/hour, enforce: false}, {name: y, rate: 900/hour}]}";
    let envoy = Envoy::with(&redis).policy(some).start();
    until_counted(&envoy)
        .await
        .has("shadow", "note", &["deny nothing: x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_turned_off_is_1() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis)
        .policy("{enabled: false, limits: [{name: x, rate: 2/hour}]}")
        .start();
    envoy.get("/").send().await;
    doctor(&envoy)
        .status(1)
        .has("disabled", "error", &["enabled: true"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_without_metrics_is_2() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis)
        .policy("{metrics: {enabled: false}, limits: [{name: x, rate: 2/hour}]}")
        .start();
    envoy.get("/").send().await;
    doctor(&envoy)
        .status(2)
        .has("metrics-off", "unreadable", &["metrics: {enabled: true}"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn series_that_envoy_leaves_out_are_2() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis)
        .edit(|config| {
            config["stats_config"]["stats_matcher"] =
                json!({"exclusion_list": {"patterns": [{"prefix": "wasmcustom"}]}});
        })
        .start();
    envoy.get("/").send().await;
    doctor(&envoy)
        .status(2)
        .has("metrics-hidden", "unreadable", &["wasmcustom"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_was_never_loaded_is_named() {
    let redis = SingleRedis::start();
    let port = free_port();
    let uri = format!("http://127.0.0.1:{port}/headgate.wasm");
    let from = uri.clone();
    let envoy = Envoy::with(&redis)
        .edit(move |config| {
            config::headgate(config)["vm_config"]["code"] = json!({"remote": {
                "http_uri": {"uri": from, "cluster": "upstream", "timeout": "1s"},
                "sha256": "0000000000000000000000000000000000000000000000000000000000000000"}});
        })
        .start();
    envoy.get("/").send().await;
    let report = doctor(&envoy);
    report.status(1).has(
        "module-not-loaded",
        "error",
        &[&uri, "remote_load_fetch_failures"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_envoy_refused_is_named_with_the_reason() {
    let envoy = Envoy::local().dynamic().start();
    until_counted(&envoy).await;
    envoy.try_reload("{limits: [{name: x, rate: 9/fortnight}]}");
    envoy.wait_for_log("configuration refused");
    let report = until_found(&envoy, "update-refused").await;
    report
        .status(0)
        .has("update-refused", "warning", &["http", "headgate check"]);
}
