//! What `make release` makes: by path, by the image's layer and by checksum into Envoy, and twice the same.

use super::image::{envoy_by_checksum, plugin_of, run, sha256, text};
use crate::harness::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A release of the modules that `make build build-higress` has left.
fn release() -> PathBuf {
    let to = new_dir("release").join("files");
    run("scripts/release.sh", &["write", text(&to)]);
    to
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a release").flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

fn read(dir: &Path, name: &str) -> Vec<u8> {
    std::fs::read(dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The checksum that SHA256SUMS has for a file.
fn listed(dir: &Path, name: &str) -> String {
    let sums = String::from_utf8(read(dir, "SHA256SUMS")).expect("text");
    let line = sums.lines().find(|line| line.ends_with(&format!(" {name}")));
    let line = line.unwrap_or_else(|| panic!("{name} is not in:\n{sums}"));
    line.split(' ').next().expect("a checksum").to_owned()
}

#[test]
#[ignore = "needs cargo-cyclonedx"]
fn two_releases_of_the_same_modules_are_identical() {
    let [first, second] = [release(), release()];
    assert_eq!(names(&first), names(&second));
    assert_eq!(names(&first).len(), 8, "{:?}", names(&first));
    for name in names(&first) {
        assert!(read(&first, &name) == read(&second, &name), "{name} differs");
        if name != "SHA256SUMS" {
            assert_eq!(listed(&first, &name), sha256(&read(&first, &name)), "{name}");
        }
    }
}

#[test]
#[ignore = "needs cargo-cyclonedx"]
fn the_bill_of_materials_lists_exactly_what_is_linked() {
    let dir = release();
    for name in ["headgate", "headgate-higress"] {
        let bill: Value =
            serde_json::from_slice(&read(&dir, &format!("{name}-{VERSION}.cdx.json"))).expect("JSON");
        assert_eq!(bill["bomFormat"], "CycloneDX");
        assert!(!bill.to_string().contains("file:"), "no path of this machine");
        let module = sha256(&read(&dir, &format!("{name}-{VERSION}.wasm")));
        assert_eq!(bill["metadata"]["component"]["hashes"][0]["content"], module);
        let components = bill["components"].as_array().expect("components");
        let has = |name: &str| components.iter().any(|component| component["name"] == name);
        for linked in ["headgate-core", "log", "redis-call", "serde_json", "sha2"] {
            assert!(has(linked), "{linked}");
        }
        for other in ["clap", "redis", "tokio", "criterion"] {
            assert!(!has(other), "{other}");
        }
        for component in components {
            let own = ["headgate-core", "redis-call"].map(Value::from);
            if !own.contains(&component["name"]) {
                let checksum = component["hashes"][0]["content"].as_str().expect("a checksum");
                assert_eq!(checksum.len(), 64, "{component}");
            }
            assert!(component["licenses"][0]["expression"].is_string(), "{component}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs cargo-cyclonedx"]
async fn envoy_loads_the_release_by_path_by_layer_and_by_checksum() {
    let dir = release();
    let file = format!("headgate-{VERSION}.wasm");
    let layout = new_dir("layout");
    let archive = dir.join(format!("headgate-{VERSION}.oci.tar"));
    run("tar", &["-xf", text(&archive), "-C", text(&layout)]);
    let layer = new_dir("layer").join("plugin.wasm");
    std::fs::write(&layer, plugin_of(&layout)).expect("a module");
    let by_path = |path: PathBuf| {
        Envoy::local().edit(move |config| {
            config::headgate(config)["vm_config"]["code"] =
                serde_json::json!({"local": {"filename": text(&path)}});
        })
    };
    let (_server, by_checksum) = envoy_by_checksum(read(&dir, &file), &listed(&dir, &file));
    for envoy in [by_path(dir.join(&file)), by_path(layer), by_checksum] {
        let envoy = envoy.policy("limits: [{rate: 2/hour}]").start();
        for status in [200, 200, 429] {
            assert_eq!(envoy.get("/").send().await.status, status, "{}", envoy.log());
        }
    }
}
