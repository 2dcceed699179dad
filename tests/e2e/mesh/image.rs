//! The module as an OCI image: through a real registry and back, and into Envoy by its checksum.

use crate::harness::*;
use serde_json::{json, Value};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub(super) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs a program and returns its output. Panics with its error output if it fails.
pub(super) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; `make setup` installs what the tests need"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}{errors}");
    text
}

/// What `make image` makes of a module; returns what it prints.
fn image(module: &Path, to: &Path) -> String {
    run("python3", &["scripts/image.py", text(module), text(to)])
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A registry on loopback, until dropped.
struct Registry {
    port: u16,
    _process: Process,
}

impl Registry {
    fn start() -> Registry {
        let (dir, port) = (new_dir("registry"), free_port());
        let config = json!({"version": "0.1", "log": {"level": "warn"}, "http": {"addr": format!("127.0.0.1:{port}")},
            "storage": {"filesystem": {"rootdirectory": dir.join("data")}}});
        std::fs::write(dir.join("config.yaml"), config.to_string()).expect("a configuration");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(dir.join("config.yaml"));
        let process = Process::start(command, &dir);
        wait_until_it_listens(port);
        Registry {
            port,
            _process: process,
        }
    }
}

fn wait_until_it_listens(port: u16) {
    wait_for("a server to listen", Duration::from_secs(20), || {
        listens(port).then_some(())
    });
}

/// The module that a mesh's puller takes out of an image layout: `plugin.wasm` of the last layer, which must have the
/// compat variant's type.
pub(super) fn plugin_of(layout: &Path) -> Vec<u8> {
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("a digest");
        layout.join("blobs").join(digest.replace(':', "/"))
    };
    let read = |path: PathBuf| -> Value {
        serde_json::from_slice(&std::fs::read(path).expect("a blob")).expect("JSON")
    };
    let index = read(layout.join("index.json"));
    let manifest = read(blob(&index["manifests"][0]));
    let layer = manifest["layers"]
        .as_array()
        .expect("layers")
        .last()
        .expect("a layer");
    assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    let out = new_dir("layer");
    run(
        "tar",
        &["-xzf", text(&blob(layer)), "-C", text(&out), "plugin.wasm"],
    );
    std::fs::read(out.join("plugin.wasm")).expect("plugin.wasm")
}

#[test]
fn the_image_comes_back_from_a_registry_byte_for_byte() {
    let module = filter_module();
    let bytes = std::fs::read(&module).expect("the module");
    let [made, pulled] = ["image", "pulled"].map(new_dir);
    let printed = image(&module, &made);
    let version = env!("CARGO_PKG_VERSION");
    let registry = Registry::start();
    let remote = format!("docker://127.0.0.1:{}/headgate:{version}", registry.port);
    let local = |dir: &Path| format!("oci:{}:{version}", dir.display());
    let copy = |from: &str, to: &str, plain: &str| {
        run(
            "skopeo",
            &["--insecure-policy", "copy", "--quiet", plain, from, to],
        );
    };
    copy(&local(&made), &remote, "--dest-tls-verify=false");
    copy(&remote, &local(&pulled), "--src-tls-verify=false");
    assert_eq!(plugin_of(&pulled), bytes);
    let index = |dir: &Path| -> Value {
        let text = std::fs::read(dir.join("index.json")).expect("an index");
        serde_json::from_slice::<Value>(&text).expect("JSON")["manifests"][0]["digest"].clone()
    };
    assert_eq!(index(&pulled), index(&made), "the image's own checksum");
    for checksum in [
        index(&made).as_str().expect("a digest"),
        &format!("sha256:{}", sha256(&bytes)),
    ] {
        assert!(printed.contains(checksum), "{checksum} is not in:\n{printed}");
    }
}

#[test]
fn the_same_module_makes_the_same_image() {
    let module = filter_module();
    let [first, second] = ["image", "image"].map(new_dir);
    let lines = |dir: &Path| {
        image(&module, dir)
            .lines()
            .skip(1)
            .take(2)
            .map(String::from)
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&first), lines(&second));
}

/// Serves a folder's files by HTTP, until dropped.
fn files(dir: &Path, port: u16) -> Process {
    let mut command = Command::new("python3");
    command.args([
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "--directory",
        text(dir),
        &port.to_string(),
    ]);
    let process = Process::start(command, dir);
    wait_until_it_listens(port);
    process
}

/// An Envoy that fetches the filter from there and takes it only with this checksum.
fn fetching(port: u16, checksum: &str) -> EnvoyBuilder {
    let code = json!({"remote": {"sha256": checksum,
        "http_uri": {"uri": format!("http://127.0.0.1:{port}/plugin.wasm"), "cluster": "modules", "timeout": "10s"}}});
    Envoy::local()
        .policy("limits: [{rate: 2/hour}]")
        .edit(move |config| {
            config::headgate(config)["vm_config"]["code"] = code.clone();
            let mut modules = config::cluster(config, "upstream").clone();
            modules["name"] = json!("modules");
            modules["load_assignment"]["cluster_name"] = json!("modules");
            config::set_endpoints(&mut modules, &[port]);
            let clusters = config["static_resources"]["clusters"]
                .as_array_mut()
                .expect("clusters");
            clusters.push(modules);
        })
}

/// An Envoy that fetches this module with this checksum, and what serves it until dropped.
pub(super) fn envoy_by_checksum(module: Vec<u8>, checksum: &str) -> (Process, EnvoyBuilder) {
    let (dir, port) = (new_dir("modules"), free_port());
    std::fs::write(dir.join("plugin.wasm"), module).expect("a module");
    (files(&dir, port), fetching(port, checksum))
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_loads_the_image_s_module_only_by_its_checksum() {
    let layout = new_dir("image");
    image(&filter_module(), &layout);
    let (dir, port) = (new_dir("modules"), free_port());
    let module = plugin_of(&layout);
    std::fs::write(dir.join("plugin.wasm"), &module).expect("a module");
    let _server = files(&dir, port);
    let envoy = fetching(port, &sha256(&module)).start();
    for status in [200, 200, 429] {
        assert_eq!(envoy.get("/").send().await.status, status, "{}", envoy.log());
    }
    let other = fetching(port, &sha256(b"another module")).start();
    let response = other.get("/").send().await;
    assert_eq!(
        response.status, 503,
        "let through without the filter: {response:?}"
    );
    assert_eq!(other.upstream.requests(), 0);
}
