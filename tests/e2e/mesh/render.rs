//! What the control planes have in common: manifests in, one Envoy configuration out.

use crate::harness::*;
use serde::Deserialize as _;
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A YAML text's documents.
pub fn documents_in(text: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap_or_else(|error| panic!("{error} in:\n{text}")))
        .collect()
}

/// A shipped file's documents; the path is from the root.
pub fn documents(file: &str) -> Vec<Value> {
    documents_in(&read(file))
}

pub fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

pub fn shape(name: &str) -> Value {
    config::load(&root().join(format!("tests/e2e/mesh/shapes/{name}.yaml")))
}

/// The manifest of this kind and name.
pub fn manifest<'a>(list: &'a [Value], kind: &str, name: &str) -> &'a Value {
    list.iter()
        .find(|one| one["kind"] == kind && one["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

pub fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub fn each_object(value: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            visit(fields);
            fields.values_mut().for_each(|field| each_object(field, visit));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_object(item, visit)),
        _ => {}
    }
}

/// Moves every address to loopback, by a table of ports; one that is not in it is a mistake.
pub fn relocate(config: &mut Value, ports: &[(u64, u16)]) {
    let ports: BTreeMap<u64, u16> = ports.iter().copied().collect();
    let moved = |port: &Value| {
        let place = port.as_u64().and_then(|port| ports.get(&port));
        *place.unwrap_or_else(|| panic!("no place for port {port}"))
    };
    each_object(config, &mut |object| {
        if let Some(address) = object.get_mut("socket_address") {
            *address = json!({"address": "127.0.0.1", "port_value": moved(&address["port_value"])});
        }
        if let Some(port) = object.get_mut("destination_port") {
            *port = json!(moved(port));
        }
    });
}

/// Where Redis is, if the configuration has a way to it.
pub fn seed(config: &mut Value, seeds: &[u16]) {
    let clusters = config["static_resources"]["clusters"]
        .as_array_mut()
        .expect("clusters");
    if let Some(redis) = clusters.iter_mut().find(|cluster| cluster["name"] == "redis") {
        config::set_endpoints(redis, seeds);
    }
}

/// Redis takes its time on a busy machine, and Envoy and the filter wait for it.
pub fn be_patient(config: &mut Value) {
    each_object(config, &mut |object| {
        if let Some(timeout) = object.get_mut("op_timeout") {
            *timeout = json!("10s");
        }
    });
}

/// The same for a policy.
pub fn patient(mut policy: Value) -> Value {
    policy["redis"]["timeout"] = json!("5s");
    policy
}

/// A Redis Cluster with TLS and the shipped users, and the folder of its certificates.
pub fn secured() -> &'static (RedisCluster, PathBuf) {
    static SECURED: LazyLock<(RedisCluster, PathBuf)> = LazyLock::new(|| {
        let dir = new_dir("mesh-tls");
        (RedisCluster::start_secured(&dir), dir)
    });
    &SECURED
}

/// What a pod's container has out of the Secret `headgate` and the ConfigMap `headgate-module`.
pub struct Pod {
    environment: Vec<(String, String)>,
    files: BTreeMap<String, PathBuf>,
}

impl Pod {
    pub fn of(container: &Value, volumes: &Value) -> Pod {
        let mut pod = Pod {
            environment: Vec::new(),
            files: BTreeMap::new(),
        };
        for variable in items(&container["env"]) {
            let from = &variable["valueFrom"]["secretKeyRef"];
            let value = match (from["name"].as_str(), from["key"].as_str()) {
                (Some("headgate"), Some("hash-key")) => "a key for tests",
                (Some("headgate"), Some("redis-password")) => "change-me",
                _ => panic!("nothing for {variable}"),
            };
            let name = variable["name"].as_str().expect("a name");
            pod.environment.push((name.to_owned(), value.to_owned()));
        }
        for mount in items(&container["volumeMounts"]) {
            let folder = mount["mountPath"].as_str().expect("a path");
            let volume = items(volumes)
                .iter()
                .find(|volume| volume["name"] == mount["name"]);
            let volume = volume.unwrap_or_else(|| panic!("no volume for {mount}"));
            if volume["configMap"]["name"] == "headgate-module" {
                pod.files
                    .insert(format!("{folder}/headgate.wasm"), filter_module());
            }
            for item in items(&volume["secret"]["items"]) {
                assert_eq!(
                    (&volume["secret"]["secretName"], &item["key"]),
                    (&json!("headgate"), &json!("redis-ca.pem"))
                );
                let path = item["path"].as_str().expect("a path");
                pod.files
                    .insert(format!("{folder}/{path}"), secured().1.join("ca.pem"));
            }
        }
        pod
    }

    /// Puts the pod's files where a configuration names them; one that is not mounted is a mistake.
    pub fn mount(&self, config: &mut Value) {
        each_object(config, &mut |object| {
            if let Some(Value::String(name)) = object.get_mut("filename") {
                let file = self
                    .files
                    .get(name.as_str())
                    .unwrap_or_else(|| panic!("{name} is not mounted"));
                *name = file.to_string_lossy().into_owned();
            }
        });
    }

    pub fn environment(&self, builder: EnvoyBuilder) -> EnvoyBuilder {
        let all = self.environment.iter();
        all.fold(builder, |builder, (name, value)| builder.env(name, value))
    }
}

/// Whether it lets 100 of 120 calls of a client pass and Redis has counted them; else what is amiss.
pub async fn limits(builder: EnvoyBuilder, client: &str) -> Result<Envoy, String> {
    let envoy = builder
        .try_start()
        .map_err(|log| format!("Envoy does not start: {log}"))?;
    let start = Instant::now();
    let shows = |prefix: &str| {
        envoy
            .admin("/clusters")
            .lines()
            .any(|line| line.starts_with(prefix))
    };
    while shows("redis::") && !shows("redis::127.0.0.1:") && start.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    minute_with(Duration::from_secs(5)).await;
    let responses = envoy
        .at_once(120, |_| envoy.get("/").header("x-api-key", client))
        .await;
    let count = |status| {
        responses
            .iter()
            .filter(|response| response.status == status)
            .count()
    };
    // The filter hands its metrics on once a second.
    let allowed = |part: &str| -> u64 {
        let all = envoy.stats("headgate_requests_total");
        let wanted = |name: &str| name.contains("decision=allowed") && name.contains(part);
        all.iter()
            .filter(|(name, _)| wanted(name))
            .map(|(_, value)| value)
            .sum()
    };
    let start = Instant::now();
    while allowed("") < 100 && start.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let counted = allowed("by=redis");
    match (count(200), count(429), counted) {
        (100, 20, 100) => Ok(envoy),
        other => Err(format!(
            "passed, denied, counted by Redis: {other:?}; Envoy's log:\n{}",
            envoy.log()
        )),
    }
}

/// Of an Envoy that has let 100 requests pass.
pub fn assert_has_its_key_and_labels(envoy: &Envoy) {
    assert!(
        !envoy.log().contains("HEADGATE_HASH_KEY is not set"),
        "the key has not reached the filter"
    );
    let metrics = envoy.admin("/stats/prometheus");
    let allowed = metrics.lines().find(|line| {
        line.starts_with("headgate_requests_total{")
            && line.contains("decision=\"allowed\"")
            && line.ends_with(" 100")
    });
    assert!(allowed.is_some(), "{metrics}");
}
