//! Plain Kubernetes: the shipped Kustomize base, built by kubectl; its Envoy, its Redis and its upstream started.

use super::render::*;
use crate::harness::*;
use serde_json::{json, Value};
use std::process::Command;
use std::sync::LazyLock;

/// What `kubectl apply -k` would apply, as text. Every file that the base lists must be there.
pub fn built() -> String {
    let output = Command::new("kubectl")
        .args(["kustomize", "envoy/kubernetes"])
        .current_dir(root())
        .output()
        .expect("kubectl; `make setup` installs it");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn pod<'a>(all: &'a [Value], kind: &str, name: &str) -> &'a Value {
    &manifest(all, kind, name)["spec"]["template"]["spec"]
}

/// The file of a ConfigMap that a pod mounts as this volume.
fn mounted(all: &[Value], pod: &Value, volume: &str, file: &str) -> String {
    let volume = items(&pod["volumes"]).iter().find(|one| one["name"] == volume);
    let name = volume.expect("a volume")["configMap"]["name"]
        .as_str()
        .expect("a ConfigMap");
    let text = manifest(all, "ConfigMap", name)["data"][file].as_str();
    text.unwrap_or_else(|| panic!("no {file} in {name}")).to_owned()
}

/// A Redis Cluster that is configured as the base's own.
fn redis() -> &'static RedisCluster {
    static REDIS: LazyLock<RedisCluster> = LazyLock::new(|| {
        let all = documents_in(&built());
        let conf = new_dir("redis-conf").join("redis.conf");
        let text = mounted(&all, pod(&all, "StatefulSet", "redis"), "config", "redis.conf");
        std::fs::write(&conf, text).expect("a file");
        RedisCluster::start_with(3, 0, &["--include", &conf.to_string_lossy()], None)
    });
    &REDIS
}

/// The base's Envoy in front of it, and the port of its health.
fn envoy(all: &[Value]) -> (EnvoyBuilder, u16) {
    let template = pod(all, "Deployment", "envoy");
    let container = &template["containers"][0];
    let file = mounted(all, template, "envoy", "envoy.yaml");
    let own = Pod::of(container, &template["volumes"]);
    let (health, seeds) = (free_port(), redis().seeds());
    let builder = own.environment(Envoy::alone()).whole(move |place| {
        let mut config = config::parse(&file);
        own.mount(&mut config);
        be_patient(&mut config);
        let policy = &mut config::headgate(&mut config)["configuration"]["value"];
        *policy = patient(policy.clone());
        #[rustfmt::skip]
        let ports = [
            (9901, place.admin_port), (10000, place.port), (8080, place.upstream), (6379, seeds[0]), (9902, health),
        ];
        relocate(&mut config, &ports);
        seed(&mut config, &seeds);
        config
    });
    (builder, health)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_base_s_envoy_limits_and_shows_no_more_than_its_health() {
    let all = documents_in(&built());
    let (builder, health) = envoy(&all);
    assert_eq!(
        redis().nodes[0].call::<Vec<String>>(&["CONFIG", "GET", "maxmemory-policy"])[1],
        "volatile-ttl"
    );
    let envoy = limits(builder, "kubernetes")
        .await
        .unwrap_or_else(|reason| panic!("{reason}"));
    assert!(
        !envoy.log().contains("HEADGATE_HASH_KEY is not set"),
        "the key has not reached the filter"
    );
    let health = Client::http1(health);
    for (path, status) in [
        ("/ready", 200),
        ("/stats/prometheus", 200),
        ("/config_dump", 404),
        ("/", 404),
    ] {
        assert_eq!(health.get(path).send().await.status, status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_with_unreachable_addresses_does_not_limit() {
    let right = "catch_all_route: {cluster: redis}";
    assert!(built().contains(right));
    let broken = built().replace(right, "catch_all_route: {cluster: rediss}");
    let (builder, _) = envoy(&documents_in(&broken));
    assert!(limits(builder, "kubernetes-broken").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_base_s_upstream_answers() {
    let all = documents_in(&built());
    let container = &pod(&all, "Deployment", "upstream")["containers"][0];
    assert_eq!(container["args"][0], "--config-yaml");
    let text = container["args"][1].as_str().expect("a configuration").to_owned();
    let envoy = Envoy::alone().whole(move |place| {
        let mut config = config::parse(&text);
        config["admin"] = json!({"address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}});
        relocate(&mut config, &[(8080, place.port), (1, place.admin_port)]);
        config
    });
    let response = envoy.start().get("/").send().await;
    assert_eq!((response.status, response.text().as_str()), (200, "hello\n"));
}

/// References between manifests: Services find pods and ports, Envoy finds Services.
#[test]
fn the_base_s_names_fit_together() {
    let all = documents_in(&built());
    let envoy = config::parse(&mounted(
        &all,
        pod(&all, "Deployment", "envoy"),
        "envoy",
        "envoy.yaml",
    ));
    let mut hosts = Vec::new();
    each_object(&mut envoy.clone(), &mut |object| {
        let address = object.get("socket_address");
        if let Some(host) = address.and_then(|address| address["address"].as_str()) {
            hosts.push((
                host.to_owned(),
                address.expect("an address")["port_value"].clone(),
            ));
        }
    });
    for (host, port) in hosts
        .iter()
        .filter(|(host, _)| host.parse::<std::net::IpAddr>().is_err())
    {
        let service = &manifest(&all, "Service", host)["spec"];
        assert!(
            items(&service["ports"]).iter().any(|one| one["port"] == *port),
            "{host}:{port}"
        );
    }
    assert_eq!(
        hosts
            .iter()
            .filter(|(host, _)| host == "redis" || host == "upstream")
            .count(),
        2
    );
    for (kind, name) in [
        ("Deployment", "envoy"),
        ("Deployment", "upstream"),
        ("StatefulSet", "redis"),
    ] {
        let template = &manifest(&all, kind, name)["spec"]["template"];
        let service = &manifest(&all, "Service", name)["spec"];
        assert_eq!(template["metadata"]["labels"], service["selector"], "{name}");
        let ports = items(&template["spec"]["containers"][0]["ports"]);
        for port in items(&service["ports"]) {
            let target = if port["targetPort"].is_null() {
                &port["name"]
            } else {
                &port["targetPort"]
            };
            assert!(ports.iter().any(|one| one["name"] == *target), "{name}: {port}");
        }
    }
    for container in items(&pod(&all, "Deployment", "envoy")["containers"]) {
        for port in items(&container["ports"]) {
            let number = &port["containerPort"];
            assert!(
                hosts
                    .iter()
                    .any(|(host, port)| host == "0.0.0.0" && port == number),
                "nothing listens on {port}"
            );
        }
    }
}
