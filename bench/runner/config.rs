//! Changes the shipped configuration into that of each setup.

use crate::harness::{self, free_port};
use crate::options::Place;
use serde_json::{json, Value};
use std::path::Path;

/// The changes for all setups: no access log, and the common upstream.
pub fn common(config: &mut Value, place: Place, upstream: u16) {
    hcm(config)
        .as_object_mut()
        .expect("a connection manager")
        .remove("access_log");
    let port = match place {
        Place::Own => upstream,
        Place::Envoy => add_upstream(config),
    };
    harness::config::set_endpoints(harness::config::cluster(config, "upstream"), &[port]);
}

/// Adds a listener with a direct response, and returns its port.
fn add_upstream(config: &mut Value) -> u16 {
    let port = free_port();
    let listener = json!({
        "name": "upstream",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "upstream",
                "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}},
                ]}]},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                }],
            },
        }]}],
    });
    list(&mut config["static_resources"]["listeners"]).push(listener);
    port
}

/// Adds Envoy's own local limiter, with a bucket that never gets empty.
pub fn add_local(config: &mut Value) {
    let always = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
    let filter = json!({
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "local",
            "token_bucket": {"max_tokens": u32::MAX, "tokens_per_fill": u32::MAX, "fill_interval": "1s"},
            "filter_enabled": always,
            "filter_enforced": always,
        },
    });
    list(&mut hcm(config)["http_filters"]).insert(0, filter);
}

/// Adds a module in place of Headgate's.
pub fn add_module(config: &mut Value, module: &Path) {
    let filter = json!({
        "name": "module",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {"vm_config": {
                "vm_id": "module",
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": module}},
            }},
        },
    });
    list(&mut hcm(config)["http_filters"]).insert(0, filter);
}

/// Uses this module for both roles of Headgate.
pub fn set_module(config: &mut Value, module: &Path) {
    for plugin in [harness::config::headgate, harness::config::redis_call] {
        plugin(config)["vm_config"]["code"]["local"]["filename"] = json!(module);
    }
}

/// Adds Envoy's own `ratelimit` filter with a service on this port and these `rate_limits`.
pub fn add_service(config: &mut Value, port: u16, rate_limits: Value) {
    let filter = json!({
        "name": "envoy.filters.http.ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit",
            "domain": "bench",
            "timeout": "1s",
            "failure_mode_deny": true, // a failure is to be seen
            "rate_limit_service": {
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": "rls"}},
            },
        },
    });
    list(&mut hcm(config)["http_filters"]).insert(0, filter);
    let route = &mut hcm(config)["route_config"]["virtual_hosts"][0]["routes"][0]["route"];
    assert!(route.is_object(), "a route to the upstream");
    route["rate_limits"] = rate_limits;
    let mut cluster = json!({
        "name": "rls",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }},
        "load_assignment": {"cluster_name": "rls"},
    });
    harness::config::set_endpoints(&mut cluster, &[port]);
    list(&mut config["static_resources"]["clusters"]).push(cluster);
    // Envoy has two HTTP/2 codecs. This one is 6% faster here.
    let nghttp2 = json!({"envoy.reloadable_features.http2_use_oghttp2": false});
    config["layered_runtime"] = json!({"layers": [{"name": "rls", "static_layer": nghttp2}]});
}

/// Adds the shipped tracing, which samples every request, with a collector on this port.
pub fn add_tracing(config: &mut Value, port: u16) {
    let mut shipped = harness::config::load(&harness::root().join("envoy/tracing.yaml"));
    harness::config::set_endpoints(&mut shipped["cluster"], &[port]);
    hcm(config)["tracing"] = shipped["tracing"].take();
    list(&mut config["static_resources"]["clusters"]).push(shipped["cluster"].take());
}

fn hcm(config: &mut Value) -> &mut Value {
    harness::config::hcm(config)
}

fn list(value: &mut Value) -> &mut Vec<Value> {
    value.as_array_mut().expect("a list")
}
