//! All shipped manifests as text: right by the schemas of their kinds, right by `headgate check`, and in step with the
//! other shipped files.

use super::{kubernetes, render::*};
use crate::harness::*;
use serde_json::{json, Value};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of a folder of `envoy/`, as paths from the root.
pub fn files(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(folder)).expect("a folder");
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".yaml"))
        .map(|name| format!("{folder}/{name}"))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "{folder}");
    names
}

/// What is wrong with files by the schemas of their kinds; empty if nothing is.
fn mistakes(files: &[PathBuf]) -> String {
    let output = Command::new("node")
        .arg("tests/manifests/check.mjs")
        .args(files)
        .current_dir(root())
        .output()
        .expect("node; `make setup` reports what is missing");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), text.is_empty(), "{text}{errors}");
    text
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

#[test]
fn every_manifest_is_right_by_the_schema_of_its_kind() {
    let mut all: Vec<PathBuf> = ["envoy/istio", "envoy/gateway"]
        .map(files)
        .concat()
        .iter()
        .map(PathBuf::from)
        .collect();
    all.push(write(&new_dir("built"), "kubernetes.yaml", &kubernetes::built()));
    assert_eq!(mistakes(&all), "");
}

/// One mistake for each kind of schema, and its place.
#[test]
fn a_wrong_field_or_value_is_found_by_the_schemas() {
    let dir = new_dir("wrong");
    let built = kubernetes::built();
    let cases = [
        (
            read("envoy/istio/gateway.yaml"),
            "failStrategy",
            "failureStrategy",
        ),
        (read("envoy/istio/gateway.yaml"), "FAIL_RELOAD", "RELOAD"),
        (
            read("envoy/istio/redis-call.yaml"),
            "workloadSelector: {labels",
            "workloadSelector: {matchLabels",
        ),
        (
            read("envoy/istio/redis-call.yaml"),
            "applyTo: CLUSTER",
            "applyTo: CLUSTERS",
        ),
        (read("envoy/istio/workload.yaml"), "secretKeyRef", "secretRef"),
        (
            read("envoy/gateway/gateway.yaml"),
            "gatewayClassName",
            "className",
        ),
        (read("envoy/gateway/gateway.yaml"), "mountPath", "path"),
        (
            read("envoy/gateway/gateway.yaml"),
            "withUnderscoresAction",
            "headersWithUnderscoresAction",
        ),
        (
            read("envoy/gateway/gateway.yaml"),
            "UnescapeAndRedirect",
            "Redirect",
        ),
        (read("envoy/gateway/policy.yaml"), "hostKeys", "hostEnvKeys"),
        (read("envoy/gateway/redis-call.yaml"), "op: add", "op: append"),
        (built.clone(), "serviceName", "service"),
        (built.clone(), "runAsUser: 101", "runAsUser: envoy"),
        (built, "kind: Job", "kind: Jobs"),
    ];
    let paths: Vec<PathBuf> = cases
        .iter()
        .enumerate()
        .map(|(number, (text, right, wrong))| {
            assert!(text.contains(right), "{right}");
            write(&dir, &format!("{number}.yaml"), &text.replace(right, wrong))
        })
        .collect();
    let found = mistakes(&paths);
    for (path, (_, _, wrong)) in paths.iter().zip(&cases) {
        let path = path.to_string_lossy();
        assert!(
            found.lines().any(|line| line.starts_with(&*path)),
            "{wrong:?} is not found:\n{found}"
        );
    }
}

#[test]
fn headgate_check_reads_every_configuration_of_the_plugin() {
    let check = |files: &[String]| {
        let mut command = Command::new(native_command());
        let output = command.arg("check").args(files).current_dir(root()).output();
        let output = output.expect("the command");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let with_plugins = [
        "envoy/istio/gateway.yaml",
        "envoy/istio/gateway-filter.yaml",
        "envoy/istio/sidecar.yaml",
        "envoy/istio/sidecar-filter.yaml",
        "envoy/istio/redis-call.yaml",
        "envoy/istio/redis-call-socket.yaml",
        "envoy/gateway/policy.yaml",
        "envoy/gateway/policy-filter.yaml",
        "envoy/gateway/redis-call.yaml",
        "envoy/kubernetes/envoy.yaml",
    ]
    .map(String::from);
    let (good, text) = check(&with_plugins);
    assert!(good, "{text}");
    for file in &with_plugins {
        assert!(text.contains(&format!("{file}: good: ")), "{file}:\n{text}");
    }
    let dir = new_dir("unchecked");
    for file in [
        "envoy/istio/gateway.yaml",
        "envoy/istio/gateway-filter.yaml",
        "envoy/gateway/policy.yaml",
        "envoy/gateway/policy-filter.yaml",
    ] {
        let broken = write(
            &dir,
            "broken.yaml",
            &read(file).replace("100/minute", "100/fortnight"),
        );
        let (good, text) = check(&[broken.to_string_lossy().into_owned()]);
        assert!(!good && text.contains("limits[0].rate"), "{file}: {text}");
    }
}

/// The first object below a value that has this name.
fn named(value: &Value, name: &str) -> Value {
    let mut found = None;
    each_object(&mut value.clone(), &mut |object| {
        // a patch has the name of what it adds
        if found.is_none() && object.get("name") == Some(&json!(name)) && !object.contains_key("operation") {
            found = Some(Value::Object(object.clone()));
        }
    });
    found.unwrap_or_else(|| panic!("nothing called {name}"))
}

/// The manifests repeat what envoy/tls-auth.yaml has, so that each works by itself; this test keeps the copies equal.
#[test]
fn the_way_to_redis_is_the_same_everywhere() {
    let parts = |config: &Value| {
        let mut redis = named(config, "redis");
        redis["load_assignment"].take();
        redis["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]["trusted_ca"]
            .take();
        let mut way = named(config, "redis_call");
        if way["type"].is_null() {
            way = named(&remove(config, "filter_chains"), "redis_call");
        }
        way["load_assignment"].take();
        [redis, way, named(config, "envoy.filters.network.redis_proxy")]
    };
    let main = config::load(&root().join("envoy/tls-auth.yaml"));
    for file in [
        "istio/redis-call",
        "istio/redis-call-socket",
        "gateway/redis-call",
    ] {
        let own = json!(documents(&format!("envoy/{file}.yaml")));
        assert_eq!(parts(&own), parts(&main), "{file}");
    }
}

/// A value without the objects that have this field.
fn remove(value: &Value, field: &str) -> Value {
    match value {
        Value::Array(list) => list.iter().map(|item| remove(item, field)).collect(),
        Value::Object(fields) if fields.contains_key(field) => Value::Null,
        Value::Object(fields) => {
            let kept = fields
                .iter()
                .map(|(name, value)| (name.clone(), remove(value, field)));
            Value::Object(kept.collect())
        }
        other => other.clone(),
    }
}

#[test]
fn the_policies_are_the_main_file_s() {
    let mut main = config::load(&root().join("envoy/envoy.yaml"));
    let policy = &config::headgate(&mut main)["configuration"]["value"];
    let istio = documents("envoy/istio/gateway.yaml");
    assert_eq!(&istio[0]["spec"]["pluginConfig"], policy);
    let gateway = documents("envoy/gateway/policy.yaml");
    assert_eq!(&gateway[0]["spec"]["wasm"][0]["config"], policy);
    for file in ["istio/gateway-filter", "gateway/policy-filter"] {
        assert_eq!(&filter_config(file), policy, "{file}");
    }
    let sidecar = documents("envoy/istio/sidecar.yaml");
    assert_eq!(
        sidecar[0]["spec"]["pluginConfig"],
        filter_config("istio/sidecar-filter")
    );
}

/// The policy in a shipped file that names the filter as Envoy does.
fn filter_config(file: &str) -> Value {
    let mut found = Value::Null;
    each_object(
        &mut json!(documents(&format!("envoy/{file}.yaml"))),
        &mut |object| {
            if let Some(configuration) = object.get("configuration") {
                found = configuration["value"].clone();
            }
        },
    );
    found
}

#[test]
fn the_base_s_envoy_differs_in_addresses_memory_and_health() {
    let plain = |file: &str| {
        let mut config = config::load(&root().join(file));
        for list in ["listeners", "clusters"] {
            let all = config["static_resources"][list].as_array_mut().expect("a list");
            all.retain(|one| one["name"] != "health" && one["name"] != "admin");
        }
        for cluster in ["upstream", "redis"] {
            config::cluster(&mut config, cluster)["load_assignment"]["endpoints"].take();
        }
        config["overload_manager"]["resource_monitors"][0]["typed_config"]["max_heap_size_bytes"].take();
        config::listener(&mut config, "http")["address"].take();
        config::headgate(&mut config)["vm_config"]["code"].take();
        config::redis_call(&mut config)["vm_config"]["code"].take();
        config
    };
    assert_eq!(plain("envoy/kubernetes/envoy.yaml"), plain("envoy/envoy.yaml"));
}
