//! envoy/policy-updates: another policy for a running Envoy, from a file that it watches, as docs/policy-updates.md describes.

use crate::harness::*;
use crate::survival::{counted, Steady, HALF};
use serde_json::{json, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;

const STATS: &str = "extension_config_discovery.http_filter.headgate.";
const SHIPPED: &str = "envoy/policy-updates";

/// The shipped policy.yaml with another policy.
fn file_with(policy: &str) -> String {
    let mut file = config::load(&root().join(SHIPPED).join("policy.yaml"));
    let plugin = &mut file["resources"][0]["typed_config"]["config"];
    assert!(plugin["configuration"]["value"]["limits"].is_array());
    plugin["configuration"]["value"] = config::parse(policy);
    plugin["vm_config"]["code"]["local"]["filename"] = json!(filter_module());
    format!("{file:#}")
}

/// As the page says: on the same file system, in one step.
fn put(folder: &Path, text: &str) {
    let next = folder.join("next");
    std::fs::write(&next, text).expect("the next policy");
    std::fs::rename(next, folder.join("policy.yaml")).expect("the policy in its place");
}

/// The shipped envoy.yaml, which watches a folder of the test's.
fn envoy(redis: &SingleRedis, folder: PathBuf) -> EnvoyBuilder {
    let port = redis.port;
    Envoy::alone().cold().text(move |place| {
        let mut config = config::load(&root().join(SHIPPED).join("envoy.yaml"));
        config::set_port(&mut config["admin"], place.admin_port);
        config::set_port(config::listener(&mut config, "http"), place.port);
        config::set_endpoints(config::cluster(&mut config, "upstream"), &[place.upstream]);
        config::set_endpoints(config::cluster(&mut config, "redis"), &[port]);
        config::set_access_log(&mut config, &place.dir.join("access.log"), None);
        config::redis_proxy(&mut config)["settings"]["op_timeout"] = json!("10s");
        let guard = config::redis_call(&mut config);
        guard["vm_config"]["code"]["local"]["filename"] = json!(filter_module());
        let filter = config::named(&mut config::hcm(&mut config)["http_filters"], "headgate");
        let source = &mut filter["config_discovery"]["config_source"]["path_config_source"];
        assert_eq!(source["path"], format!("{SHIPPED}/policy.yaml"));
        assert_eq!(source["watched_directory"]["path"], SHIPPED);
        *source = json!({"path": folder.join("policy.yaml"), "watched_directory": {"path": folder}});
        config.to_string()
    })
}

/// N of the limit that callers see now.
async fn limit(envoy: &Envoy) -> Option<i64> {
    let response = envoy.get("/").header("x-api-key", "observer").send().await;
    response.number("x-ratelimit-limit")
}

/// Waits until the policy with this N is in force.
async fn in_force(envoy: &Envoy, n: i64) {
    for _ in 0..200 {
        if limit(envoy).await == Some(n) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never {n}; Envoy's log:\n{}", envoy.log());
}

const MILLION: i64 = 1_000_000;

/// Every call is counted, and no call passes uncounted.
fn strict(n: i64) -> String {
    let limit = format!("{{name: x, rate: {n}/day, algorithm: fixed_window}}");
    file_with(&format!(
        "{{on_error: deny, redis: {{timeout: 5s}}, limits: [{limit}]}}"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_policy_under_load_loses_no_request_and_no_count() {
    let redis = SingleRedis::start();
    let folder = new_dir("policy-updates");
    put(&folder, &strict(MILLION));
    let envoy = envoy(&redis, folder.clone()).start();
    let load = Steady::through(&envoy, usize::MAX).await;
    for round in 1..=8 {
        // The last has the first one's N, by which requests are counted below.
        let n = MILLION - (8 - round) * 10;
        put(&folder, &strict(n));
        in_force(&envoy, n).await;
        tokio::time::sleep(HALF / 2).await;
    }
    let report = load.end().await;
    let answered = report.latencies.len() as u64;
    assert!(answered > 100, "{report:?}");
    assert_eq!((report.status(200), report.errors), (answered, 0), "{report:?}");
    assert_eq!(counted(&envoy).await, answered, "{report:?}");
    assert_eq!(envoy.stat(&format!("{STATS}config_reload")), 9);
    assert_eq!(envoy.stat("listener_manager.listener_modified"), 0);
    assert_eq!(
        envoy.stat("http.http.downstream_cx_drain_close"),
        0,
        "no connection ends"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_leaves_the_policy_in_force() {
    let redis = SingleRedis::start();
    let folder = new_dir("policy-broken");
    put(&folder, &strict(50));
    let envoy = envoy(&redis, folder.clone()).start();
    assert_eq!(limit(&envoy).await, Some(50));
    put(&folder, &file_with("{limits: [{rate: 9/fortnight}]}"));
    envoy.wait_for_log("configuration refused: limits[0].rate: \"9/fortnight\": unknown period");
    envoy.wait_for_log("config update rejected: Unable to create Wasm plugin headgate");
    assert_eq!(limit(&envoy).await, Some(50));
    put(&folder, "resources: [");
    envoy.wait_for_log("config update failure");
    assert_eq!(limit(&envoy).await, Some(50));
    let get = |name: &str| envoy.stat(&format!("{STATS}{name}"));
    assert_eq!((get("update_rejected"), get("update_failure")), (1, 1));
    put(&folder, &strict(60));
    in_force(&envoy, 60).await;
}

/// A ConfigMap's files are links through `..data`, of which Kubernetes replaces that one.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_as_kubernetes_mounts_it_is_watched() {
    use std::os::unix::fs::symlink;
    let redis = SingleRedis::start();
    let folder = new_dir("policy-mounted");
    let publish = |version: &str, n: i64| {
        std::fs::create_dir(folder.join(version)).expect("a folder");
        std::fs::write(folder.join(version).join("policy.yaml"), strict(n)).expect("a policy");
        symlink(version, folder.join("..data_tmp")).expect("a link");
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("the link in its place");
    };
    publish("..1", 50);
    symlink("..data/policy.yaml", folder.join("policy.yaml")).expect("a link");
    let envoy = envoy(&redis, folder.clone()).start();
    assert_eq!(limit(&envoy).await, Some(50));
    publish("..2", 60);
    in_force(&envoy, 60).await;
}

#[test]
fn the_example_is_single_redis_with_its_filter_in_a_file() {
    let rest = |file: &str| {
        let mut config = config::load(&root().join(file));
        config.as_object_mut().expect("a configuration").remove("node");
        let filters = &mut config::hcm(&mut config)["http_filters"];
        let filter = config::named(filters, "headgate").take();
        (config, filter)
    };
    let (single, filter) = rest("envoy/single-redis.yaml");
    let (example, discovery) = rest("envoy/policy-updates/envoy.yaml");
    assert_eq!(example, single);
    let file = config::load(&root().join(SHIPPED).join("policy.yaml"));
    let [resource] = file["resources"].as_array().expect("resources").as_slice() else {
        panic!("{file}")
    };
    assert_eq!(
        (&resource["name"], &resource["typed_config"]),
        (&discovery["name"], &filter["typed_config"])
    );
    let types = Value::from(vec![filter["typed_config"]["@type"].clone()]);
    assert_eq!(discovery["config_discovery"]["type_urls"], types);
}
