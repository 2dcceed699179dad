//! What ships in `envoy/`: each configuration starts as it stands, on every supported Envoy, and limits.

use crate::harness::*;
use serde_json::{json, Value};

/// The variants are copies, so that each starts by itself; this keeps the copies together.
#[test]
fn the_variants_differ_from_the_main_one_in_the_redis_cluster_alone() {
    let mut main = config::load(&root().join("envoy/envoy.yaml"));
    config::cluster(&mut main, "redis").take();
    for variant in ["single-redis", "tls-auth"] {
        let mut other = config::load(&root().join(format!("envoy/{variant}.yaml")));
        config::cluster(&mut other, "redis").take();
        assert_eq!(other, main, "envoy/{variant}.yaml");
    }
}

/// A value that one of the files has in a place where the limiter's promises hang on it.
#[test]
fn the_settings_that_faults_are_survived_by_are_all_there() {
    let mut main = config::load(&root().join("envoy/envoy.yaml"));
    let redis = config::cluster(&mut main, "redis").clone();
    assert_eq!(
        (&redis["lb_policy"], &redis["connect_timeout"]),
        (&json!("CLUSTER_PROVIDED"), &json!("0.5s"))
    );
    let refresh = &redis["cluster_type"]["typed_config"];
    let expected = json!({
        "@type": "type.googleapis.com/envoy.extensions.clusters.redis.v3.RedisClusterConfig",
        "cluster_refresh_rate": "1s", "cluster_refresh_timeout": "0.5s", "redirect_refresh_interval": "0.5s",
        "redirect_refresh_threshold": 1, "failure_refresh_threshold": 1, "host_degraded_refresh_threshold": 1,
    });
    assert_eq!(refresh, &expected);
    let filters = &mut config::listener(&mut main, "redis_call")["filter_chains"][0]["filters"];
    let proxy: &Value = config::named(filters, "envoy.filters.network.redis_proxy");
    let settings = &proxy["typed_config"]["settings"];
    let expected = json!({"op_timeout": "0.2s", "enable_redirection": true, "enable_hashtagging": true,
        "max_buffer_size_before_flush": 0});
    assert_eq!(settings, &expected);
}
