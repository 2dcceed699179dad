//! On a developer's machine: envoy/*.yaml unchanged, from the project's root.

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
        each_object(&mut Value::Array(documents(&file)), &mut |object| {
            // other fields called path, in policies and routes, do not name files
            let is_log = object
                .get("@type")
                .is_some_and(|url| url.to_string().contains("access_loggers"));
            let file = |holder: &str, field: &str| object.get(holder).map(|value| value[field].clone());
            let own = |field: &str| object.get(field).cloned();
            let all = [
                own("filename"),
                own("path").filter(|_| is_log),
                file("pipe", "path"),
                file("path_config_source", "path"),
                file("watched_directory", "path"),
            ];
            let texts = all.iter().flatten().filter_map(Value::as_str);
            paths.extend(texts.map(str::to_owned));
        });
        let absolute: Vec<_> = paths
            .iter()
            .filter(|path| path.starts_with('/') || path.contains(".."))
            .collect();
        assert!(absolute.is_empty(), "{file}: {absolute:?}");
        let whole = read(&file).contains("static_resources");
        let names_module = paths.iter().any(|path| path == "target/headgate.wasm");
        assert_eq!(names_module, whole, "{file}: {paths:?}");
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
fn the_main_file_runs_unchanged_and_limits() {
    let dir = new_dir("unchanged");
    let mut command = Command::new("unshare");
    command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if unsafe { libc::geteuid() } != 0 {
        command.arg("--map-root-user");
    }
    command
        .args(["sh", "-c", SCRIPT])
        .current_dir(root())
        .env("RUN", &dir)
        .env("HEADGATE", native_command())
        .env("ENVOY", envoy_binary(default_envoy()));
    for port in ["VARIANT", "PORT", "ADMIN_PORT", "UPSTREAM_PORT", "REDIS_PORT"] {
        command.env_remove(port);
    }
    let process = Process::start(command, &dir);
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
