//! What `make release` makes: by path, by the image's layer and by checksum into Envoy, and twice the same.

use super::image::{envoy_by_checksum, plugin_of, run, sha256, text};
use crate::harness::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A release of what `make build build-higress build-commands` has left.
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
#[ignore = "needs make build-commands"]
fn two_releases_of_the_same_modules_are_identical() {
    let [first, second] = [release(), release()];
    assert_eq!(names(&first), names(&second));
    let all = ["oci.tar", "wasm", "cdx.json"].map(|end| format!("headgate-{VERSION}.{end}"));
    let all = all
        .into_iter()
        .chain(["oci.tar", "wasm", "cdx.json"].map(|end| format!("headgate-higress-{VERSION}.{end}")));
    let archives = ["cli-linux-x86_64", "cli-linux-aarch64", "dashboards", "manifests"];
    let all = all.chain(archives.map(|name| format!("headgate-{name}-{VERSION}.tar.gz")));
    let others = [
        "headgate-cli-VERSION.cdx.json",
        "headgate-policy-VERSION.schema.json",
        "LICENSE",
        "SHA256SUMS",
    ];
    let mut all: Vec<_> = all
        .chain(others.map(|name| name.replace("VERSION", VERSION)))
        .collect();
    all.sort();
    assert_eq!(names(&first), all);
    for name in names(&first) {
        assert!(read(&first, &name) == read(&second, &name), "{name} differs");
        if name != "SHA256SUMS" {
            assert_eq!(listed(&first, &name), sha256(&read(&first, &name)), "{name}");
        }
    }
}

#[test]
#[ignore = "needs make build-commands"]
fn the_released_commands_run_anywhere_on_their_cpu() {
    let dir = release();
    for (cpu, machine) in [("x86_64", 62), ("aarch64", 183)] {
        let name = format!("headgate-cli-linux-{cpu}-{VERSION}");
        let to = new_dir(cpu);
        let archive = dir.join(format!("{name}.tar.gz"));
        run("tar", &["-xf", text(&archive), "-C", text(&to)]);
        let folder = to.join(&name);
        assert_eq!(names(&folder), ["LICENSE", "headgate"]);
        let command = folder.join("headgate");
        let bytes = std::fs::read(&command).expect("the command");
        // ELF's e_machine, and no program interpreter: linked statically.
        assert_eq!(u16::from_le_bytes([bytes[18], bytes[19]]), machine, "{cpu}");
        let headers = run("readelf", &["--program-headers", text(&command)]);
        assert!(!headers.contains("INTERP"), "{headers}");
        let root = root().display().to_string();
        assert!(
            !bytes.windows(root.len()).any(|part| part == root.as_bytes()),
            "no path of this machine"
        );
        if cpu == std::env::consts::ARCH {
            let version = run(text(&command), &["--version"]);
            assert_eq!(version.trim(), format!("headgate {VERSION}"));
            let policy = folder.join("policy.yaml");
            std::fs::write(&policy, "limits: [{name: all, rate: 10/s}]").expect("a policy");
            run(text(&command), &["check", text(&policy)]);
        }
    }
}

#[test]
#[ignore = "needs make build-commands"]
fn the_released_manifests_are_those_of_the_tree() {
    let dir = release();
    let to = new_dir("manifests");
    for (name, file, of) in [
        ("manifests", "envoy/envoy.yaml", "envoy/envoy.yaml"),
        (
            "manifests",
            "envoy/istio/gateway-filter.yaml",
            "envoy/istio/gateway-filter.yaml",
        ),
        ("dashboards", "headgate.json", "dashboards/headgate.json"),
        ("dashboards", "rules.yaml", "dashboards/rules.yaml"),
    ] {
        let name = format!("headgate-{name}-{VERSION}");
        run(
            "tar",
            &["-xf", text(&dir.join(format!("{name}.tar.gz"))), "-C", text(&to)],
        );
        assert_eq!(read(&to.join(name), file), read(root(), of), "{file}");
    }
    let schema = read(&dir, &format!("headgate-policy-{VERSION}.schema.json"));
    assert_eq!(schema, read(root(), "docs/policy.schema.json"));
}

#[test]
#[ignore = "needs make build-commands"]
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
#[ignore = "needs make build-commands"]
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
