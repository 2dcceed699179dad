//! Envoy's configuration as a JSON value: from the shipped YAML, changed only where a test must.
//!
//! The functions find what they change by name and panic where it is missing, so a renamed cluster in a shipped
//! file is noticed.

use serde_json::{json, Value};
use std::path::Path;

/// A YAML or JSON text as a value.
pub fn parse(text: &str) -> Value {
    serde_yaml_ng::from_str(text).unwrap_or_else(|error| panic!("{error} in:\n{text}"))
}

pub fn load(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse(&text)
}

/// The element of a list that has this name.
pub fn named<'a>(list: &'a mut Value, name: &str) -> &'a mut Value {
    let elements = list
        .as_array_mut()
        .unwrap_or_else(|| panic!("a list with {name}"));
    elements
        .iter_mut()
        .find(|element| element["name"] == name)
        .unwrap_or_else(|| panic!("nothing called {name}"))
}

pub fn listener<'a>(config: &'a mut Value, name: &str) -> &'a mut Value {
    named(&mut config["static_resources"]["listeners"], name)
}

pub fn cluster<'a>(config: &'a mut Value, name: &str) -> &'a mut Value {
    named(&mut config["static_resources"]["clusters"], name)
}

/// The HTTP connection manager in front of the upstream.
pub fn hcm(config: &mut Value) -> &mut Value {
    let filters = &mut listener(config, "http")["filter_chains"][0]["filters"];
    &mut named(filters, "envoy.filters.network.http_connection_manager")["typed_config"]
}

/// Headgate's HTTP filter: the wasm plugin's `config`.
pub fn headgate(config: &mut Value) -> &mut Value {
    &mut named(&mut hcm(config)["http_filters"], "headgate")["typed_config"]["config"]
}

/// Headgate's network filter: the wasm plugin's `config`.
pub fn redis_call(config: &mut Value) -> &mut Value {
    let filters = &mut listener(config, "redis_call")["filter_chains"][0]["filters"];
    &mut named(filters, "headgate-redis-call")["typed_config"]["config"]
}

/// Envoy's own filter behind it, its `typed_config`.
pub fn redis_proxy(config: &mut Value) -> &mut Value {
    let filters = &mut listener(config, "redis_call")["filter_chains"][0]["filters"];
    &mut named(filters, "envoy.filters.network.redis_proxy")["typed_config"]
}

pub fn has_redis_call(config: &Value) -> bool {
    config["static_resources"]["listeners"]
        .as_array()
        .is_some_and(|all| all.iter().any(|l| l["name"] == "redis_call"))
}

/// A plugin configuration that Envoy passes on as protobuf.
pub fn as_struct(value: Value) -> Value {
    json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": value})
}

/// A plugin configuration that Envoy passes on unchanged.
pub fn as_string(text: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": text})
}

pub fn set_port(owner: &mut Value, port: u16) {
    let address = &mut owner["address"]["socket_address"];
    assert!(address.is_object(), "an address in {owner}");
    *address = json!({"address": "127.0.0.1", "port_value": port});
}

pub fn set_endpoints(cluster: &mut Value, ports: &[u16]) {
    let endpoints: Vec<Value> = ports
        .iter()
        .map(|port| json!({"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}))
        .collect();
    assert!(cluster["load_assignment"].is_object(), "endpoints in {cluster}");
    cluster["load_assignment"]["endpoints"] = json!([{"lb_endpoints": endpoints}]);
}

/// Bursts over one HTTP/2 connection: the shipped files bound its streams to what one caller may need.
pub fn many_streams(config: &mut Value) {
    let streams = &mut hcm(config)["http2_protocol_options"]["max_concurrent_streams"];
    assert!(streams.is_u64(), "a bound of streams");
    *streams = json!(1024);
}

/// Points the access log at a file, in its shipped format or in one of the test's.
pub fn set_access_log(config: &mut Value, path: &Path, format: Option<&Value>) {
    let log = &mut hcm(config)["access_log"][0];
    assert_eq!(log["name"], "envoy.access_loggers.stdout");
    let mut fields = log["typed_config"]["log_format"]["json_format"].clone();
    if let Some(format) = format {
        fields = format.clone();
    }
    *log = json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "log_format": {"json_format": fields},
        },
    });
}

/// HTTP filters right in front of Headgate and right behind it.
pub fn put_around_headgate(config: &mut Value, before: &[Value], after: &[Value]) {
    let filters = hcm(config)["http_filters"].as_array_mut().expect("HTTP filters");
    let named = |filter: &Value| filter["name"] == "headgate";
    let at = filters.iter().position(named).expect("Headgate");
    filters.splice(at + 1..at + 1, after.iter().cloned());
    filters.splice(at..at, before.iter().cloned());
}

/// Removes Headgate from the configuration.
pub fn remove_headgate(config: &mut Value) {
    let drop = |list: &mut Value, names: &[&str]| {
        let elements = list.as_array_mut().expect("a list");
        elements.retain(|element| !names.iter().any(|name| element["name"] == *name));
    };
    drop(&mut hcm(config)["http_filters"], &["headgate"]);
    drop(&mut config["static_resources"]["listeners"], &["redis_call"]);
    drop(
        &mut config["static_resources"]["clusters"],
        &["redis_call", "redis"],
    );
}
