//! What makes a shipped Envoy an edge: it normalises what callers send before anything reads it, refuses what is
//! ambiguous, and bounds what callers may hold.

use crate::harness::*;
use serde_json::{json, Value};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Every shipped file that is an Envoy's whole configuration.
fn configurations() -> Vec<(PathBuf, Value)> {
    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let paths = entries.map(|entry| entry.expect("a file").path());
        let in_each = |path: PathBuf| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        };
        paths.flat_map(in_each).collect()
    }
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml");
    let all = files(&root().join("envoy")).into_iter().filter(is_yaml);
    let first = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a file");
        // Manifests have several documents, and none of these is a whole configuration.
        let config: Value = serde_yaml_ng::from_str(&text).ok()?;
        config["static_resources"]["listeners"]
            .is_array()
            .then_some((path, config))
    };
    all.filter_map(first).collect()
}

/// Every connection manager within a value.
fn managers(value: &Value) -> Vec<&Value> {
    let is_manager = |value: &Value| {
        let url = value["@type"].as_str().unwrap_or_default();
        url.ends_with(".HttpConnectionManager")
    };
    let within: Vec<&Value> = match value {
        Value::Object(fields) => fields.values().flat_map(managers).collect(),
        Value::Array(items) => items.iter().flat_map(managers).collect(),
        _ => Vec::new(),
    };
    let own = is_manager(value).then_some(value);
    own.into_iter().chain(within).collect()
}

fn elements<'c>(config: &'c Value, list: &str) -> &'c [Value] {
    let list = config["static_resources"][list].as_array();
    list.map(Vec::as_slice).unwrap_or_default()
}

#[test]
fn every_connection_manager_normalises_and_bounds() {
    let expected = json!({
        "use_remote_address": true,
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "max_request_headers_kb": 60,
        "common_http_protocol_options": {
            "headers_with_underscores_action": "REJECT_REQUEST", "max_headers_count": 100, "idle_timeout": "3600s",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65536,
            "initial_connection_window_size": 1048576,
        },
        "request_headers_timeout": "10s",
        "request_timeout": "300s",
        "stream_idle_timeout": "300s",
    });
    let mut names = Vec::new();
    for (path, config) in configurations() {
        for manager in managers(&config) {
            for (field, value) in expected.as_object().expect("fields") {
                assert_eq!(&manager[field], value, "{field} in {}", path.display());
            }
            names.push(path.clone());
        }
    }
    // Each variant, and both of the base for Kubernetes.
    assert_eq!(names.len(), 9, "{names:?}");
}

#[test]
fn every_configuration_bounds_memory_and_connections() {
    for (path, config) in configurations() {
        let file = path.display();
        let overload = &config["overload_manager"];
        let monitor = |name: &str| {
            let name = format!("envoy.resource_monitors.{name}");
            let list = overload["resource_monitors"].as_array().expect("monitors");
            let found = list.iter().find(|one| one["name"] == name);
            found.unwrap_or_else(|| panic!("no {name} in {file}"))["typed_config"].clone()
        };
        assert!(monitor("fixed_heap")["max_heap_size_bytes"].is_u64(), "{file}");
        let connections = monitor("global_downstream_max_connections");
        assert_eq!(connections["max_active_downstream_connections"], 50_000, "{file}");
        let actions = overload["actions"].as_array().expect("actions");
        let names: Vec<&Value> = actions.iter().map(|action| &action["name"]).collect();
        let expected =
            ["shrink_heap", "stop_accepting_requests"].map(|name| format!("envoy.overload_actions.{name}"));
        assert_eq!(names, expected.iter().collect::<Vec<_>>(), "{file}");
        for listener in elements(&config, "listeners") {
            // The internal listener carries the calls of all callers: what bounds one caller must not bound it.
            let is_internal = listener["internal_listener"].is_object();
            let bound = &listener["per_connection_buffer_limit_bytes"];
            assert_eq!(
                bound == &json!(32_768),
                !is_internal,
                "{} in {file}",
                listener["name"]
            );
        }
        for cluster in elements(&config, "clusters") {
            let bound = &cluster["per_connection_buffer_limit_bytes"];
            let is_upstream = cluster["name"] == "upstream";
            assert_eq!(
                bound == &json!(32_768),
                is_upstream,
                "{} in {file}",
                cluster["name"]
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_spelling_of_a_request_reaches_the_upstream() {
    for version in envoy_versions() {
        let envoy = Envoy::with(RedisCluster::shared()).version(version).start();
        for client in [Client::http1(envoy.port), envoy.http2()] {
            let response = client.get("//a/./c/../../b%63//d").send().await;
            assert_eq!(
                (response.status, envoy.upstream.last()["path"].as_str()),
                (200, Some("/bc/d")),
                "{version}"
            );
            let before = envoy.upstream.requests();
            for (sent, to) in [
                ("/a%2Fb", "/a/b"),
                ("/a%5cb?c=%2f", "/a/b?c=%2f"),
                ("/x%2f..%2Fb", "/b"),
            ] {
                let response = client.get(sent).send().await;
                assert_eq!(
                    (response.status, response.header("location").as_deref()),
                    (307, Some(to)),
                    "{sent} on {version}"
                );
            }
            assert_eq!(envoy.upstream.requests(), before, "redirected by Envoy {version}");
        }
        let response = envoy.get("//a/../b").send().await;
        assert_eq!(
            (response.status, envoy.upstream.last()["path"].as_str()),
            (200, Some("/b")),
            "{version}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_ambiguous_or_too_many_are_refused() {
    for version in envoy_versions() {
        let envoy = Envoy::with(RedisCluster::shared()).version(version).start();
        let refused = envoy.get("/").header("x_api_key", "a").send().await;
        assert_eq!(refused.status, 400, "{version}");
        let stream = envoy.http2().get("/").header("x_api_key", "a").try_send().await;
        let is_reset = |error: &String| error.contains("stream error received");
        assert!(
            stream.as_ref().is_err_and(is_reset),
            "{stream:?} over HTTP/2, {version}"
        );
        let many = (0..100).fold(envoy.get("/"), |request, n| {
            request.header(&format!("x-{n}"), "v")
        });
        assert_eq!(many.send().await.status, 431, "{version}");
        assert_eq!(envoy.upstream.requests(), 0, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_of_connections_does_not_bound_redis_calls() {
    for version in envoy_versions() {
        let envoy = Envoy::with(RedisCluster::shared())
            .version(version)
            .edit(|config| {
                let monitors = &mut config["overload_manager"]["resource_monitors"];
                let bound = config::named(
                    monitors,
                    "envoy.resource_monitors.global_downstream_max_connections",
                );
                bound["typed_config"]["max_active_downstream_connections"] = json!(1);
            })
            .start();
        let request = |key: &str| format!("GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n\r\n");
        // Until the connection is gone by which the harness saw that Envoy listens.
        let start = Instant::now();
        let mut only = loop {
            let mut connection = envoy.raw().await;
            let _ = connection.write(request("first")).await;
            if connection.receive().await.is_ok() {
                break connection;
            }
            assert!(start.elapsed() < Duration::from_secs(5), "no connection is taken");
        };
        for key in ["a", "b", "c", "d"] {
            only.write(request(key)).await.expect("a connection");
            assert_eq!(only.receive().await.expect("a response").0, 200);
        }
        let mut second = envoy.raw().await;
        let refused = second.write(request("e")).await.is_err() || second.receive().await.is_err();
        assert!(refused, "a second connection");
        let log = envoy.access_log(5);
        let by: Vec<&Value> = log.iter().map(|entry| &entry["ratelimit_by"]).collect();
        assert_eq!(by, ["redis"; 5]);
    }
}
