//! The way from the filter to Redis in Envoy's configuration.

use super::*;
use serde_json::json;

async fn not_counted(builder: EnvoyBuilder, id: &str, words: &[&str]) {
    let envoy = builder.policy(POLICY).cold().start();
    let report = until_found(&envoy, "not-counted").await;
    report.status(1).has(id, "error", words);
}

fn single(edit: impl Fn(&mut Value) + Send + Sync + 'static) -> (SingleRedis, EnvoyBuilder) {
    let redis = SingleRedis::start();
    let builder = Envoy::with(&redis).edit(edit);
    (redis, builder)
}

fn policys_cluster(config: &mut Value, name: &str) {
    config::headgate(config)["configuration"]["value"]["redis"]["cluster"] = json!(name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_does_not_exist_is_named() {
    let (_redis, builder) = single(|config| policys_cluster(config, "nowhere"));
    not_counted(
        builder,
        "cluster-missing",
        &["nowhere", "redis.cluster", "redis_call"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_redis_in_place_of_the_guards_is_named() {
    let (_redis, builder) = single(|config| policys_cluster(config, "redis"));
    not_counted(
        builder,
        "guard-missing",
        &["no listener of this Envoy", "redis.cluster"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_does_not_exist_is_named() {
    let (_redis, builder) = single(|config| {
        let endpoint = json!({"address": {"envoy_internal_address": {"server_listener_name": "missing"}}});
        config::cluster(config, "redis_call")["load_assignment"]["endpoints"] =
            json!([{"lb_endpoints": [{"endpoint": endpoint}]}]);
    });
    not_counted(builder, "listener-missing", &["missing"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_upstream_config_is_named() {
    let (_redis, builder) = single(|config| {
        let cluster = config::cluster(config, "redis_call").as_object_mut();
        cluster
            .and_then(|cluster| cluster.remove("upstream_config"))
            .expect("the shipped file has it");
    });
    not_counted(builder, "upstream-config", &["envoy.upstreams.http.tcp"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_without_a_guard_is_named() {
    let (_redis, builder) = single(|config| {
        let filters = &mut config::listener(config, "redis_call")["filter_chains"][0]["filters"];
        filters.as_array_mut().expect("filters").remove(0);
    });
    not_counted(builder, "guard-missing", &["role: redis_call"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_prefix_at_the_guard_is_named() {
    let (_redis, builder) = single(|config| {
        config::redis_call(config)["configuration"]["value"]["redis"]["key_prefix"] = json!("other");
    });
    not_counted(builder, "key-prefix", &["other", "redis.key_prefix"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_of_another_release_refuses_and_is_named() {
    let next = root().join("target/headgate-fault-injection.wasm");
    let module = next.to_string_lossy().into_owned();
    let (_redis, builder) = single(move |config| {
        config::headgate(config)["vm_config"]["code"]["local"]["filename"] = json!(next)
    });
    not_counted(
        builder.concurrency(1),
        "guard-refuses",
        &["redis_call", &module, "headgate.wasm"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_after_the_listener_that_calls_it_is_a_warning() {
    let (_redis, builder) = single(|config| {
        config["static_resources"]["listeners"]
            .as_array_mut()
            .expect("listeners")
            .reverse();
    });
    let envoy = builder.start();
    let report = until_counted(&envoy).await;
    report.has(
        "listener-order",
        "warning",
        &["redis_call", "http", "before the others"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_redis_that_does_not_exist_is_named() {
    let (_redis, builder) = single(|config| {
        config::redis_proxy(config)["prefix_routes"]["catch_all_route"]["cluster"] = json!("elsewhere");
    });
    not_counted(builder, "cluster-missing", &["elsewhere", "redis_proxy"]).await;
}
