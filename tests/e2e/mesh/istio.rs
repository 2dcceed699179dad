//! Istio: the shipped WasmPlugins and EnvoyFilters, as istiod and its agent carry them out.

use super::render::*;
use crate::harness::*;
use serde_json::{json, Value};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const IMAGE: &str = concat!("oci://registry.example.com/headgate:", env!("CARGO_PKG_VERSION"));

/// A pod of envoy/istio/workload.yaml.
struct Workload {
    labels: Value,
    pod: Pod,
    /// What Istio's agent gives to Envoy by `--config-yaml`.
    bootstrap: Option<String>,
    shape: &'static str,
}

impl Workload {
    fn named(name: &str, shape: &'static str) -> Workload {
        let all = documents("envoy/istio/workload.yaml");
        let template = &manifest(&all, "Deployment", name)["spec"]["template"];
        let metadata = &template["metadata"];
        let mut labels = metadata["labels"].clone();
        if metadata["annotations"]["inject.istio.io/templates"] != "gateway" {
            labels["security.istio.io/tlsMode"] = json!("istio"); // Istio's injector
        }
        let containers = items(&template["spec"]["containers"]);
        let container = containers.iter().find(|one| one["name"] == "istio-proxy");
        let map = metadata["annotations"]["sidecar.istio.io/bootstrapOverride"].as_str();
        let bootstrap = map.map(|name| {
            let maps = documents("envoy/istio/bootstrap.yaml");
            let data = &manifest(&maps, "ConfigMap", name)["data"]["custom_bootstrap.json"];
            data.as_str().expect("a text").to_owned()
        });
        Workload {
            labels,
            pod: Pod::of(
                container.expect("the proxy's container"),
                &template["spec"]["volumes"],
            ),
            bootstrap,
            shape,
        }
    }

    fn gateway() -> Workload {
        Workload::named("istio-ingressgateway", "istio-gateway")
    }

    fn sidecar() -> Workload {
        Workload::named("orders", "istio-sidecar")
    }

    fn has(&self, labels: &Value) -> bool {
        let wanted = labels
            .as_object()
            .expect("labels, or a manifest would hold for every pod");
        wanted.iter().all(|(name, value)| self.labels[name] == *value)
    }

    /// What its proxy gets, and the extension configurations that it asks for.
    fn configuration(&self, manifests: &[Value]) -> (Value, Vec<Value>) {
        let mut config = shape("istio-bootstrap");
        let own = shape(self.shape);
        for list in ["listeners", "clusters"] {
            let all = config["static_resources"][list].as_array_mut().expect("a list");
            all.extend_from_slice(items(&own[list]));
        }
        let mut extensions = Vec::new();
        for manifest in manifests {
            let spec = &manifest["spec"];
            match manifest["kind"].as_str() {
                Some("WasmPlugin") if self.has(&spec["selector"]["matchLabels"]) => {
                    extensions.push(install(manifest, &mut config));
                }
                Some("EnvoyFilter") if self.has(&spec["workloadSelector"]["labels"]) => {
                    for patch in items(&spec["configPatches"]) {
                        apply(patch, &mut config, &mut extensions);
                    }
                }
                _ => {}
            }
        }
        (config, extensions)
    }

    fn envoy(self, manifests: Vec<Value>) -> EnvoyBuilder {
        let bootstrap = self.bootstrap.clone();
        let environment = self.pod.environment(Envoy::alone());
        let builder = environment.whole(move |place| {
            let (mut config, extensions) = self.configuration(&manifests);
            discover(&mut config, extensions, &place.dir);
            self.pod.mount(&mut config);
            be_patient(&mut config);
            let seeds = secured().0.seeds();
            let (gateway, inbound) = if self.shape == "istio-gateway" {
                (place.port, free_port())
            } else {
                redirected(&mut config);
                (free_port(), place.port)
            };
            #[rustfmt::skip]
            let ports = [
                (15000, place.admin_port), (15001, free_port()), (15090, free_port()), (8080, gateway), (15006, inbound),
                (8000, place.upstream), (6379, seeds[0]),
            ];
            relocate(&mut config, &ports);
            seed(&mut config, &seeds);
            config
        });
        match &bootstrap {
            Some(text) => builder.option("--config-yaml", text),
            None => builder,
        }
    }
}

/// Where iptables redirected a connection, its destination is the service's port; in a test, the listener's own.
fn redirected(config: &mut Value) {
    each_object(config, &mut |object| {
        if let Some(port) = object.get_mut("destination_port") {
            *port = json!(if *port == 8080 { 15006 } else { 15001 });
        }
    });
}

/// A WasmPlugin: a filter that is discovered, in front of the others (phase AUTHN), and what is discovered.
fn install(plugin: &Value, config: &mut Value) -> Value {
    let (metadata, spec) = (&plugin["metadata"], &plugin["spec"]);
    assert_eq!(spec["phase"], "AUTHN");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    // Current istiod carries a WasmPlugin out as a TrafficExtension.
    let own = format!(
        "{}.{}~istio-translated-wasmplugin",
        text(&metadata["namespace"]),
        text(&metadata["name"])
    );
    let name = format!("extensions.istio.io/trafficextension/{own}");
    let url = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
    let directions: Vec<&str> = match spec["match"][0]["mode"].as_str() {
        Some("SERVER") => vec!["INBOUND"],
        Some("CLIENT") => vec!["OUTBOUND"],
        _ => vec!["INBOUND", "OUTBOUND"],
    };
    for listener in config["static_resources"]["listeners"]
        .as_array_mut()
        .expect("listeners")
    {
        if !directions
            .iter()
            .any(|direction| listener["traffic_direction"] == *direction)
        {
            continue;
        }
        let filter = json!({"name": name, "config_discovery": {
            "config_source": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
            "type_urls": [url, "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"]}});
        insert_first(listener, &filter);
    }
    // Istio's agent removes the variables that istiod sends to it.
    let (mut values, mut host) = (json!({}), Vec::new());
    for variable in items(&spec["vmConfig"]["env"]) {
        match variable["valueFrom"].as_str() {
            Some("HOST") => host.push(variable["name"].clone()),
            _ => values[text(&variable["name"])] = variable["value"].clone(),
        }
    }
    json!({"name": name, "typed_config": {"@type": url, "config": {
        "name": own,
        "root_id": spec["pluginName"],
        "configuration": config::as_string(&patient(spec["pluginConfig"].clone()).to_string()),
        "failure_policy": spec["failStrategy"],
        "vm_config": {
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"remote": {"http_uri": {"uri": spec["url"], "timeout": "30s", "cluster": "_"}}},
            "environment_variables": {"key_values": values, "host_env_keys": host},
        },
    }}})
}

/// Puts a filter in front of the others, in each list of HTTP filters.
fn insert_first(listener: &mut Value, filter: &Value) {
    each_object(listener, &mut |object| {
        if let Some(Value::Array(filters)) = object.get_mut("http_filters") {
            filters.insert(0, filter.clone());
        }
    });
}

/// A patch of an EnvoyFilter; those that the shipped ones have.
fn apply(patch: &Value, config: &mut Value, extensions: &mut Vec<Value>) {
    let value = patch["patch"]["value"].clone();
    let resources = &mut config["static_resources"];
    if patch["applyTo"] == "HTTP_FILTER" {
        assert_eq!(patch["patch"]["operation"], "INSERT_FIRST", "not known here");
        let inbound = patch["match"]["context"] == "SIDECAR_INBOUND";
        let listeners = resources["listeners"].as_array_mut().expect("listeners");
        // A gateway's listeners are outbound ones.
        let holds = |listener: &&mut Value| (listener["traffic_direction"] == "INBOUND") == inbound;
        for listener in listeners.iter_mut().filter(holds) {
            insert_first(listener, &value);
        }
        return;
    }
    let to = match (patch["applyTo"].as_str(), patch["patch"]["operation"].as_str()) {
        (Some("LISTENER"), Some("ADD")) => resources["listeners"].as_array_mut(),
        (Some("CLUSTER"), Some("ADD")) => resources["clusters"].as_array_mut(),
        (Some("EXTENSION_CONFIG"), Some("ADD")) => Some(extensions),
        other => panic!("{other:?} is not known here"),
    };
    to.expect("a list").push(value);
}

/// Discovery by files in place of istiod's streams; Istio's agent has fetched the image by then.
fn discover(config: &mut Value, extensions: Vec<Value>, dir: &Path) {
    let file = |name: &str| dir.join(format!("{}.json", name.replace('/', "-")));
    for mut extension in extensions {
        each_object(&mut extension, &mut |object| {
            if let Some(remote) = object.get("remote") {
                assert_eq!(remote["http_uri"]["uri"], IMAGE, "the image of this release");
                *object = json!({"local": {"filename": filter_module()}})
                    .as_object()
                    .expect("an object")
                    .clone();
            }
        });
        let name = extension["name"].as_str().expect("a name").to_owned();
        extension["@type"] = json!("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig");
        let resources = json!({"resources": [extension]});
        std::fs::write(file(&name), resources.to_string()).expect("a file to discover");
    }
    each_object(config, &mut |object| {
        let name = object.get("name").and_then(Value::as_str).map(file);
        if let (Some(discovery), Some(file)) = (object.get_mut("config_discovery"), name) {
            discovery["config_source"] =
                json!({"resource_api_version": "V3", "path_config_source": {"path": file}});
        }
        if let Some(pipe) = object.get_mut("pipe") {
            let path = pipe["path"]
                .as_str()
                .and_then(|path| path.strip_prefix("/etc/istio/proxy/"));
            pipe["path"] = json!(dir.join(path.expect("a path in the proxy's folder")));
        }
    });
}

fn manifests(files: &[&str]) -> Vec<Value> {
    files
        .iter()
        .flat_map(|file| documents(&format!("envoy/istio/{file}.yaml")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_limits_and_shows_labelled_metrics() {
    let builder = Workload::gateway().envoy(manifests(&["gateway", "sidecar", "redis-call"]));
    let envoy = limits(builder, "istio-gateway")
        .await
        .unwrap_or_else(|reason| panic!("{reason}"));
    assert_has_its_key_and_labels(&envoy);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_limits_over_a_socket_private_to_the_proxy() {
    let builder = Workload::gateway().envoy(manifests(&["gateway", "redis-call-socket"]));
    let envoy = limits(builder, "istio-socket")
        .await
        .unwrap_or_else(|reason| panic!("{reason}"));
    let socket = std::fs::metadata(envoy.dir().join("headgate.sock")).expect("the socket");
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_limits_by_an_envoy_filter() {
    let builder = Workload::gateway().envoy(manifests(&["gateway-filter", "sidecar-filter", "redis-call"]));
    let envoy = limits(builder, "istio-gateway-filter").await;
    assert_has_its_key_and_labels(&envoy.unwrap_or_else(|reason| panic!("{reason}")));
}

/// Here is only the chain for callers without mutual TLS; limits by a peer's identity are shown by `make test-meshes`.
#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_filters_inbound_requests_alone() {
    for (file, name) in [
        (
            "sidecar",
            "trafficextension/istio-system.headgate-sidecar~istio-translated-wasmplugin",
        ),
        ("sidecar-filter", "headgate-sidecar-filter"),
    ] {
        let all = manifests(&["gateway", file, "redis-call"]);
        let (config, _) = Workload::sidecar().configuration(&all);
        let limited = |listener: &&Value| listener.to_string().contains(name);
        let names: Vec<_> = items(&config["static_resources"]["listeners"])
            .iter()
            .filter(limited)
            .map(|listener| listener["name"].clone())
            .collect();
        assert_eq!(names, ["virtualInbound"], "and not what goes out");
        let envoy = Workload::sidecar().envoy(all).start();
        let statuses = [
            envoy.get("/").send().await.status,
            envoy.get("/").header("x-api-key", "made-up").send().await.status,
        ];
        assert_eq!(
            statuses,
            [403, 403],
            "{file}: no certificate, with and without a key"
        );
    }
}

/// What sidecar.yaml's comment says for a mesh that is being moved to mutual TLS: one counter for all such callers.
#[tokio::test(flavor = "multi_thread")]
async fn callers_without_mutual_tls_can_share_a_counter() {
    let text = read("envoy/istio/sidecar.yaml");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("#   - "));
    let limit = format!("    limits:\n    - {}\n", line.expect("the limit in the comment"));
    let moving = text
        .replace("on_no_client: deny", "on_no_client: allow")
        .replace("    limits:\n", &limit);
    let mut all = manifests(&["redis-call"]);
    all.extend(documents_in(&moving));
    let envoy = limits(Workload::sidecar().envoy(all), "any").await;
    envoy.unwrap_or_else(|reason| panic!("{reason}"));
}

/// The tests above must be able to fail: the same with one word changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_manifest_does_not_limit() {
    for (right, wrong) in [
        (
            "catch_all_route: {cluster: redis}",
            "catch_all_route: {cluster: rediss}",
        ),
        ("enable_hashtagging", "enable_hash_tagging"),
        ("labels: {headgate: enabled}", "labels: {headgate: on}"),
    ] {
        let text = read("envoy/istio/redis-call.yaml");
        assert!(text.contains(right), "{right}");
        let mut all = manifests(&["gateway"]);
        all.extend(documents_in(&text.replace(right, wrong)));
        let verdict = limits(Workload::gateway().envoy(all), "istio-broken").await;
        assert!(verdict.is_err(), "limits with {wrong:?}");
    }
}
