//! Where the programs under test are: Envoy's binaries and the filter's module.

use super::process::root;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The version that tests run on unless they say otherwise.
pub const DEFAULT_ENVOY: &str = "1.40.0";

/// A missing one panics with the remedy.
pub fn envoy_binary(version: &str) -> PathBuf {
    let own = std::env::var("ENVOY")
        .ok()
        .filter(|path| version == DEFAULT_ENVOY && !path.is_empty());
    let path = own.map_or_else(
        || root().join(format!(".tools/envoy-{version}/envoy")),
        PathBuf::from,
    );
    assert!(
        path.exists(),
        "no Envoy {version} at {}: run `make setup`",
        path.display()
    );
    path
}

/// The filter, which must not be older than its source.
pub fn filter_module() -> PathBuf {
    if let Ok(path) = std::env::var("HEADGATE_WASM") {
        return std::path::absolute(path).expect("a path");
    }
    let path = root().join("target/headgate.wasm");
    let built = modified(&path).unwrap_or_else(|| panic!("no {}: run `make build`", path.display()));
    let newest = newest(&root().join("src")).max(modified(&root().join("Cargo.toml")));
    assert!(
        newest <= Some(built),
        "{} is older than its source: run `make build`",
        path.display()
    );
    path
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

fn newest(dir: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            if entry.path().is_dir() {
                newest(&entry.path())
            } else {
                modified(&entry.path())
            }
        })
        .max()?
}
