//! Checks the settings of Envoy's bootstrap that Headgate needs, if the file has a bootstrap, and the path of the
//! module.

use super::envoy::Parsed;
use super::envoy_parts::{Address, Parts};
use super::find::Found;
use super::report::{Report, Severity};
use std::path::Path;

pub fn check(parts: &Parts<'_>, plugins: &[Parsed<'_>], report: &mut Report) {
    if plugins.is_empty() {
        return;
    }
    internal_listeners(parts, report);
    for (found, _) in plugins {
        module(found, report);
    }
}

fn internal_listeners(parts: &Parts<'_>, report: &mut Report) {
    let Some(bootstrap) = parts.bootstrap else { return };
    let is_internal = |address: &Address<'_>| matches!(address, Address::Internal(_));
    let needs = parts
        .listeners
        .iter()
        .any(|listener| listener.node.envoy(&["internal_listener"]).is_some())
        || parts
            .clusters
            .iter()
            .any(|cluster| Address::of_cluster(cluster.node).iter().any(is_internal));
    let extensions = bootstrap
        .envoy(&["bootstrap_extensions"])
        .map(super::document::Node::items);
    let has = extensions
        .unwrap_or_default()
        .iter()
        .any(|extension| super::envoy_parts::type_of(extension) == "InternalListener");
    if needs && !has {
        report.outside(
            Severity::Error,
            bootstrap.place,
            "bootstrap_extensions",
            "missing: without envoy.bootstrap.internal_listener Envoy refuses internal listeners; write \
             bootstrap_extensions: [{name: envoy.bootstrap.internal_listener, typed_config: {\"@type\": \
             type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener}}]",
        );
    }
}

/// Reports a module file that does not exist. If its directory does not exist either, the configuration is probably for
/// another machine, and nothing is reported.
fn module(found: &Found, report: &mut Report) {
    let Some(file) = &found.vm.file else { return };
    let path = Path::new(file.text().unwrap_or_default());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if path.is_file() || !folder.is_some_and(Path::is_dir) {
        return;
    }
    let message = format!(
        "code.local.filename: {:?}: no such file, seen from here, and Envoy does not start without it; write the path of \
         headgate.wasm, from the root or from the folder that Envoy is started in (`make build` writes \
         target/headgate.wasm)",
        path.display().to_string()
    );
    report.outside(Severity::Warning, file.place, &found.at, message);
}
