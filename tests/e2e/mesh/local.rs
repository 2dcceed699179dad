//! On one's own machine: envoy/*.yaml as they stand, from the project's root.

use super::{manifests::files, render::*};
use crate::harness::*;
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// Run from the root, by whatever launcher: no path may depend on whose machine it is.
#[test]
fn every_path_in_the_local_files_is_relative() {
    for file in files("envoy") {
        let mut paths = Vec::new();
        each_object(&mut config::load(&root().join(&file)), &mut |object| {
            for field in ["filename", "path", "watched_directory"] {
                // a route's path is none of a file
                let is_match = object.contains_key("direct_response") || object.contains_key("route");
                if let (Some(Value::String(path)), false) = (object.get(field), is_match) {
                    paths.push(path.clone());
                }
            }
        });
        let absolute: Vec<_> = paths
            .iter()
            .filter(|path| path.starts_with('/') || path.contains(".."))
            .collect();
        assert!(absolute.is_empty(), "{file}: {absolute:?}");
        let modules = paths
            .iter()
            .filter(|path| *path == "target/headgate.wasm")
            .count();
        assert!(modules > 0 || file.ends_with("tracing.yaml"), "{file}: {paths:?}");
    }
}

/// In a network of its own, where the shipped ports are free: `make run`, which runs the file itself.
const SCRIPT: &str = "set -e
    ip link set lo up
    scripts/run.sh start >&2
    read -r pid _ <\"$RUN/envoy.pid\"
    tr '\\0' ' ' <\"/proc/$pid/cmdline\"
    echo
    curl -s -o /dev/null -w '%{http_code}\\n' -H 'x-api-key: bob' 'http://127.0.0.1:10000/?[1-300]'";

#[test]
fn the_main_file_runs_as_it_stands_and_limits() {
    let dir = new_dir("as-it-stands");
    let mut command = Command::new("unshare");
    command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if unsafe { libc::geteuid() } != 0 {
        command.arg("--map-root-user");
    }
    command
        .args(["sh", "-c", SCRIPT])
        .current_dir(root())
        .env("RUN", &dir)
        .env("ENVOY", envoy_binary(DEFAULT_ENVOY));
    for port in ["VARIANT", "PORT", "ADMIN_PORT", "UPSTREAM_PORT", "REDIS_PORT"] {
        command.env_remove(port);
    }
    let mut process = Process::start(command, &dir);
    let code = wait_for("the run", Duration::from_secs(60), || process.exited());
    let log = std::fs::read_to_string(dir.join("log")).expect("its output");
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("/envoy -c envoy/envoy.yaml "), "{log}");
    let answers = |status: &str| log.lines().filter(|line| *line == status).count();
    // What Redis did not count within 100 ms on a busy machine, Envoy has counted for itself: 100 more at most.
    let (passed, denied) = (answers("200"), answers("429"));
    assert_eq!(passed + denied, 300, "{log}");
    assert!((100..=200).contains(&passed), "{passed} passed");
}
