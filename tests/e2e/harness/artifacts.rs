//! Where the programs under test are: Envoy's binaries and the filter's module.

use super::process::root;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::SystemTime;

/// The version that tests run on unless they choose another: `ENVOY_VERSION`, else the newest that is supported.
pub fn default_envoy() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let asked = std::env::var("ENVOY_VERSION").ok();
        asked
            .filter(|version| !version.is_empty())
            .unwrap_or_else(|| "1.40.0".into())
    });
    &VERSION
}

/// The oldest that is supported, and [`default_envoy`].
pub fn envoy_versions() -> Vec<&'static str> {
    let mut versions = vec!["1.36.2", default_envoy()];
    versions.dedup();
    versions
}

/// What not every supported Envoy can do.
#[derive(Clone, Copy, Debug)]
pub enum Capability {
    /// CLUSTER SLOTS through `redis_proxy`, and so a stream for each master.
    ClusterSlots,
    /// `custom_tags` with a `value` by formatter.
    TagsByFormat,
}

/// Whether [`default_envoy`] has it; a test that is skipped for this reason prints a line.
pub fn envoy_has(capability: Capability) -> bool {
    let since = match capability {
        Capability::ClusterSlots => 37,
        Capability::TagsByFormat => 37,
    };
    let version = default_envoy();
    let number = version
        .split('.')
        .nth(1)
        .and_then(|part| part.parse::<u32>().ok());
    let has = number.unwrap_or_else(|| panic!("ENVOY_VERSION={version} is no version")) >= since;
    if !has {
        println!("left out: Envoy {version} has no {capability:?}");
    }
    has
}

/// A missing one panics with the remedy.
pub fn envoy_binary(version: &str) -> PathBuf {
    let own = std::env::var("ENVOY")
        .ok()
        .filter(|path| version == default_envoy() && !path.is_empty());
    let path = own.map_or_else(
        || root().join(format!(".tools/envoy-{version}/envoy")),
        PathBuf::from,
    );
    assert!(
        path.exists(),
        "no Envoy {version} at {}: run `scripts/setup.sh envoy {version}`",
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
    let source = [
        "src",
        "Cargo.toml",
        "crates/headgate-core/src",
        "crates/headgate-core/build.rs",
        "crates/redis-call/src",
    ];
    let newest = source.iter().filter_map(|path| newest(&root().join(path))).max();
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

/// When a file, or the newest file of a folder, was written.
fn newest(path: &Path) -> Option<SystemTime> {
    if !path.is_dir() {
        return modified(path);
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| newest(&entry.path())).max()
}
