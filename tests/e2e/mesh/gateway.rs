//! Envoy Gateway: the shipped EnvoyProxy, ClientTrafficPolicy, EnvoyExtensionPolicy and EnvoyPatchPolicy, as Envoy
//! Gateway carries them out.

use super::render::*;
use crate::harness::*;
use serde_json::{json, Map, Value};

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

    /// Whether a policy holds for the gateway, by what it names.
    fn is_target(&self, policy: &Value) -> bool {
        items(&policy["targetRefs"])
            .iter()
            .any(|reference| self.targets(reference))
    }

    fn targets(&self, reference: &Value) -> bool {
        let gateway = &manifest(&self.manifests, "Gateway", "edge")["metadata"]["name"];
        reference["kind"] == "Gateway" && reference["name"] == *gateway
    }

    fn configuration(&self) -> Value {
        let mut config = shape("envoy-gateway");
        for patch in items(&self.spec("EnvoyProxy")["bootstrap"]["jsonPatches"]) {
            add(&mut config, patch);
        }
        let policy = self.spec("ClientTrafficPolicy");
        if self.is_target(policy) {
            each_object(&mut config, &mut |object| treat_clients(policy, object));
        }
        let policy = self.spec("EnvoyExtensionPolicy");
        if self.is_target(policy) {
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

/// A ClientTrafficPolicy, of which only what is shipped is known here, in a connection manager or in the chain that it
/// is in.
fn treat_clients(policy: &Value, object: &mut Map<String, Value>) {
    let fields = policy.as_object().expect("a policy");
    let known = ["targetRefs", "path", "headers", "connection", "timeout"];
    assert!(
        fields.keys().all(|field| known.contains(&field.as_str())),
        "{policy}"
    );
    let is_manager = |value: &Value| {
        let url = value["@type"].as_str();
        url.is_some_and(|url| url.ends_with(".HttpConnectionManager"))
    };
    if let Some(Value::Array(filters)) = object.get_mut("filters") {
        if filters.iter().any(|filter| is_manager(&filter["typed_config"])) {
            filters.insert(
                0,
                json!({"name": "envoy.filters.network.connection_limit", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
                    "stat_prefix": "http-10080",
                    "max_connections": policy["connection"]["connectionLimit"]["value"],
                }}),
            );
        }
    }
    if !is_manager(&Value::Object(object.clone())) {
        return;
    }
    let word = |value: &Value, words: &[(&str, &str)]| {
        let found = words.iter().find(|(theirs, _)| value == theirs);
        json!(found.unwrap_or_else(|| panic!("{value} is not known here")).1)
    };
    let slashes = [
        ("UnescapeAndRedirect", "UNESCAPE_AND_REDIRECT"),
        ("KeepUnchanged", "KEEP_UNCHANGED"),
    ];
    let underscores = [("RejectRequest", "REJECT_REQUEST"), ("Allow", "ALLOW")];
    let (path, timeout) = (&policy["path"], &policy["timeout"]["http"]);
    for (field, value) in [
        (
            "path_with_escaped_slashes_action",
            word(&path["escapedSlashesAction"], &slashes),
        ),
        ("merge_slashes", json!(path["disableMergeSlashes"] == false)),
        ("request_timeout", timeout["requestReceivedTimeout"].clone()),
        (
            "common_http_protocol_options",
            json!({
                "headers_with_underscores_action": word(&policy["headers"]["withUnderscoresAction"], &underscores),
                "idle_timeout": timeout["idleTimeout"],
            }),
        ),
    ] {
        object.insert(field.to_owned(), value);
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

fn shipped() -> [String; 3] {
    ["gateway", "policy", "redis-call"].map(|file| read(&format!("envoy/gateway/{file}.yaml")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policies_limit_and_show_labelled_metrics() {
    let envoy = limits(Gateway::of(&shipped()).envoy(), "envoy-gateway").await;
    let envoy = envoy.unwrap_or_else(|reason| panic!("{reason}"));
    assert_has_its_key_and_labels(&envoy);
}

/// By the policy, and not only by Envoy Gateway's defaults: each word of it is carried out.
#[tokio::test(flavor = "multi_thread")]
async fn the_policy_for_clients_makes_requests_unambiguous() {
    let envoy = |texts: &[String]| Gateway::of(texts).envoy().start();
    let statuses = async |envoy: &Envoy| {
        let slash = envoy.get("/a%2Fb").send().await;
        let underscore = envoy.get("/").header("x_api_key", "a").send().await;
        let slashes = envoy.get("//a").send().await;
        let path = envoy.upstream.last()["path"].clone();
        (slash.status, underscore.status, slashes.status, path)
    };
    let strict = envoy(&shipped());
    assert_eq!(statuses(&strict).await, (307, 400, 200, json!("/a")));
    let lenient = shipped().map(|text| {
        let text = text.replace("Action: UnescapeAndRedirect", "Action: KeepUnchanged");
        let text = text.replace("Action: RejectRequest", "Action: Allow");
        text.replace("disableMergeSlashes: false", "disableMergeSlashes: true")
    });
    assert_eq!(statuses(&envoy(&lenient)).await, (200, 200, 200, json!("//a")));
}

/// Settings that both files have are equal to the main file's.
#[test]
fn the_policy_for_clients_equals_the_main_file() {
    let mut main = config::load(&root().join("envoy/envoy.yaml"));
    let connections = config::named(
        &mut main["overload_manager"]["resource_monitors"],
        "envoy.resource_monitors.global_downstream_max_connections",
    )["typed_config"]["max_active_downstream_connections"]
        .clone();
    let manager = config::hcm(&mut main);
    let gateway = Gateway::of(&shipped());
    let policy = gateway.spec("ClientTrafficPolicy");
    assert!(gateway.is_target(policy));
    assert_eq!(policy["connection"]["connectionLimit"]["value"], connections);
    let mut own = manager.as_object().expect("a connection manager").clone();
    treat_clients(policy, &mut own);
    let options = own["common_http_protocol_options"].clone();
    for (field, value) in options.as_object().expect("options") {
        assert_eq!(value, &manager["common_http_protocol_options"][field], "{field}");
    }
    own["common_http_protocol_options"] = manager["common_http_protocol_options"].clone();
    assert_eq!(json!(own), *manager);
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
        let texts = shipped().map(|text| text.replace(right, wrong));
        assert_ne!(texts, shipped(), "{right}");
        let verdict = limits(Gateway::of(&texts).envoy(), "envoy-gateway-broken").await;
        assert!(verdict.is_err(), "limits with {wrong:?}");
    }
}
