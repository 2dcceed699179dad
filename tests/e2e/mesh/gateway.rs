//! Envoy Gateway: the shipped EnvoyProxy, EnvoyExtensionPolicy and EnvoyPatchPolicy, as Envoy Gateway carries them out.

use super::render::*;
use crate::harness::*;
use serde_json::{json, Value};

/// Envoy Gateway, and what it was given.
struct Gateway {
    manifests: Vec<Value>,
}

impl Gateway {
    fn of(texts: &[String]) -> Gateway {
        Gateway {
            manifests: texts.iter().flat_map(|text| documents_in(text)).collect(),
        }
    }

    fn spec(&self, kind: &str) -> &Value {
        &manifest(&self.manifests, kind, "headgate")["spec"]
    }

    /// A policy holds for the gateway that it names.
    fn targets(&self, reference: &Value) -> bool {
        let gateway = &manifest(&self.manifests, "Gateway", "edge")["metadata"]["name"];
        reference["kind"] == "Gateway" && reference["name"] == *gateway
    }

    fn configuration(&self) -> Value {
        let mut config = shape("envoy-gateway");
        for patch in items(&self.spec("EnvoyProxy")["bootstrap"]["jsonPatches"]) {
            add(&mut config, patch);
        }
        let policy = self.spec("EnvoyExtensionPolicy");
        if items(&policy["targetRefs"])
            .iter()
            .any(|reference| self.targets(reference))
        {
            for (index, wasm) in items(&policy["wasm"]).iter().enumerate() {
                install(
                    wasm,
                    &format!("envoyextensionpolicy/default/headgate/wasm/{index}"),
                    &mut config,
                );
            }
        }
        let policy = self.spec("EnvoyPatchPolicy");
        if self.targets(&policy["targetRef"]) {
            for patch in items(&policy["jsonPatches"]) {
                let (operation, kind) = (&patch["operation"], patch["type"].as_str().unwrap_or_default());
                assert_eq!(
                    (&operation["op"], &operation["path"]),
                    (&json!("add"), &json!("")),
                    "not known here"
                );
                let list = match kind.rsplit('.').next() {
                    Some("Listener") => "listeners",
                    Some("Cluster") => "clusters",
                    other => panic!("{other:?} is not known here"),
                };
                let value = operation["value"].clone();
                assert_eq!(value["name"], patch["name"]);
                config["static_resources"][list]
                    .as_array_mut()
                    .expect("a list")
                    .push(value);
            }
        }
        config
    }

    fn envoy(self) -> EnvoyBuilder {
        let deployment = &self.spec("EnvoyProxy")["provider"]["kubernetes"]["envoyDeployment"];
        let pod = Pod::of(&deployment["container"], &deployment["pod"]["volumes"]);
        pod.environment(Envoy::alone()).whole(move |place| {
            let mut config = self.configuration();
            pod.mount(&mut config);
            fetch(&mut config);
            be_patient(&mut config);
            let seeds = secured().0.seeds();
            let ports = [
                (19000, place.admin_port),
                (10080, place.port),
                (8000, place.upstream),
                (6379, seeds[0]),
            ];
            relocate(&mut config, &ports);
            seed(&mut config, &seeds);
            config
        })
    }
}

/// JSON Patch's `add`, to a field or to the end of a list.
fn add(config: &mut Value, patch: &Value) {
    assert_eq!(patch["op"], "add", "not known here");
    let path = patch["path"].as_str().expect("a path");
    let (parent, last) = path.rsplit_once('/').expect("a path with a slash");
    let parent = config
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("nothing at {parent}"));
    match (parent, last) {
        (Value::Array(list), "-") => list.push(patch["value"].clone()),
        (Value::Object(fields), name) => {
            fields.insert(name.to_owned(), patch["value"].clone());
        }
        _ => panic!("{path} is not known here"),
    }
}

/// A policy's module: a filter in front of the router, off until a route turns it on.
fn install(wasm: &Value, id: &str, config: &mut Value) {
    let image = &wasm["code"]["image"]["url"];
    let filter = json!({"name": format!("envoy.filters.http.wasm/{id}"), "disabled": true, "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {
            "name": wasm["name"],
            "configuration": config::as_string(&patient(wasm["config"].clone()).to_string()),
            "fail_open": wasm["failOpen"],
            "vm_config": {
                "vm_id": id,
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"remote": {"http_uri": {"uri": image, "cluster": "wasm_cluster", "timeout": "10s"}}},
                "environment_variables": {"host_env_keys": wasm["env"]["hostKeys"]},
            },
        },
    }});
    let on = json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}});
    each_object(config, &mut |object| {
        if let Some(Value::Array(filters)) = object.get_mut("http_filters") {
            filters.insert(filters.len() - 1, filter.clone());
        }
        for route in object
            .get_mut("routes")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            route["typed_per_filter_config"][filter["name"].as_str().expect("a name")] = on.clone();
        }
    });
}

/// Envoy Gateway fetches the image and serves the module; here it is a file.
fn fetch(config: &mut Value) {
    each_object(config, &mut |object| {
        if let Some(remote) = object.remove("remote") {
            let image = concat!("registry.example.com/headgate:", env!("CARGO_PKG_VERSION"));
            assert_eq!(remote["http_uri"]["uri"], image, "the image of this release");
            object.insert("local".into(), json!({"filename": filter_module()}));
        }
    });
}

fn shipped() -> Vec<String> {
    ["gateway", "policy", "redis-call"]
        .map(|file| read(&format!("envoy/gateway/{file}.yaml")))
        .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policies_limit_and_show_labelled_metrics() {
    let envoy = limits(Gateway::of(&shipped()).envoy(), "envoy-gateway").await;
    let envoy = envoy.unwrap_or_else(|reason| panic!("{reason}"));
    assert_has_its_key_and_labels(&envoy);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_policies_do_not_limit() {
    for (right, wrong) in [
        (
            "catch_all_route: {cluster: redis}",
            "catch_all_route: {cluster: rediss}",
        ),
        ("path: /bootstrap_extensions", "path: /bootstrap_extension"),
        ("kind: Gateway, name: edge}]", "kind: Gateway, name: edges}]"),
    ] {
        let texts: Vec<String> = shipped().iter().map(|text| text.replace(right, wrong)).collect();
        assert_ne!(texts, shipped(), "{right}");
        let verdict = limits(Gateway::of(&texts).envoy(), "envoy-gateway-broken").await;
        assert!(verdict.is_err(), "limits with {wrong:?}");
    }
}
