//! The kind of a file, and the positions of its listeners, connection managers and clusters.

use super::path::{Path, Spot};
use super::source::Source;
use crate::document::Node;
use crate::parts::Style;

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// The file for `envoy -c`.
    Bootstrap,
    /// Resources that Envoy reads from a file: listeners, clusters, or others.
    Listeners,
    Clusters,
    /// Resources that `patch` does not change, such as routes, and empty lists.
    Others,
}

const BOOTSTRAP_FIELDS: [&str; 16] = [
    "static_resources",
    "dynamic_resources",
    "admin",
    "node",
    "bootstrap_extensions",
    "layered_runtime",
    "stats_config",
    "stats_sinks",
    "cluster_manager",
    "overload_manager",
    "tracing",
    "watchdogs",
    "hds_config",
    "flags_path",
    "default_regex_engine",
    "typed_dns_resolver_config",
];

/// # Errors
/// For files of other kinds; the message explains what to do.
pub fn kind(root: &Node) -> Result<FileKind, String> {
    let spot = Spot::root(root);
    if root.get("apiVersion").is_some() && root.get("kind").is_some() {
        let kind = root.get("kind").and_then(Node::text).unwrap_or_default();
        return Err(format!(
            "a Kubernetes {kind}, not a configuration of Envoy; patch the envoy.yaml that it is made of, or see \
             docs/meshes.md for Istio, Envoy Gateway and Kubernetes"
        ));
    }
    if BOOTSTRAP_FIELDS.iter().any(|name| spot.field(name).is_some()) {
        return Ok(FileKind::Bootstrap);
    }
    if spot.field("resources").is_none() {
        return Err(
            "not a configuration of Envoy: it has neither static_resources nor resources (LDS, CDS); give the file that \
             `envoy -c` takes"
                .to_owned(),
        );
    }
    let resources: Vec<&str> = spot
        .list("resources")
        .iter()
        .map(|one| resource(one).type_url())
        .collect();
    let has = |name: &str| resources.iter().any(|url| url.ends_with(name));
    Ok(match (has(".Listener"), has(".Cluster")) {
        (true, true) => {
            return Err(
                "listeners and clusters in one file, which Envoy reads as one of them only; write two files"
                    .to_owned(),
            )
        }
        (true, false) => FileKind::Listeners,
        (false, true) => FileKind::Clusters,
        (false, false) => FileKind::Others,
    })
}

/// The resource itself, also if it is wrapped in an `envoy.service.discovery.v3.Resource`.
fn resource<'n>(spot: &Spot<'n>) -> Spot<'n> {
    match spot.type_url().ends_with("service.discovery.v3.Resource") {
        true => spot.field("resource").unwrap_or_else(|| spot.clone()),
        false => spot.clone(),
    }
}

/// The list of listeners or clusters, if it exists, and its path.
pub fn list<'n>(root: &'n Node, kind: FileKind, name: &str) -> Option<Spot<'n>> {
    let root = Spot::root(root);
    match kind {
        FileKind::Bootstrap => root.fields(&["static_resources", name]),
        _ => root.field("resources"),
    }
}

fn resources<'n>(root: &'n Node, kind: FileKind, name: &str, url: &str) -> Vec<Spot<'n>> {
    let all = list(root, kind, name)
        .map(|spot| spot.items())
        .unwrap_or_default();
    match kind {
        FileKind::Bootstrap => all,
        _ => all
            .iter()
            .map(resource)
            .filter(|one| one.type_url().ends_with(url))
            .collect(),
    }
}

pub fn listeners(root: &Node, kind: FileKind) -> Vec<Spot<'_>> {
    resources(root, kind, "listeners", ".Listener")
}

pub fn clusters(root: &Node, kind: FileKind) -> Vec<Spot<'_>> {
    resources(root, kind, "clusters", ".Cluster")
}

/// A connection manager of a listener.
pub struct Manager<'n> {
    /// Its message: the fields of the HttpConnectionManager.
    pub spot: Spot<'n>,
}

/// The connection managers of all filter chains, and those that Envoy cannot read.
pub fn managers<'n>(listener: &Spot<'n>) -> (Vec<Manager<'n>>, Vec<(Path, String)>) {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    let chains = listener.list("filter_chains").into_iter();
    for chain in chains.chain(listener.field("default_filter_chain")) {
        for filter in chain.list("filters") {
            let name = filter.text(&["name"]).unwrap_or_default();
            let Some(config) = filter.field("typed_config") else {
                if filter.field("config").is_some() && name.ends_with("http_connection_manager") {
                    let message = "`config` is of Envoy's API v2, which Envoy no longer reads; write typed_config of API v3";
                    unreadable.push((filter.path.clone(), message.to_owned()));
                }
                continue;
            };
            let url = config.type_url();
            let typed = config.text(&["type_url"]).unwrap_or_default();
            if url.ends_with(".v2.HttpConnectionManager") || typed.ends_with(".v2.HttpConnectionManager") {
                let message = "the type is of Envoy's API v2, which Envoy no longer reads; write \
                               envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
                unreadable.push((config.path.clone(), message.to_owned()));
            } else if url.ends_with(".HttpConnectionManager") {
                found.push(Manager { spot: config });
            } else if url.ends_with(".TypedStruct") && typed.ends_with(".HttpConnectionManager") {
                found.extend(config.field("value").map(|spot| Manager { spot }));
            }
        }
    }
    (found, unreadable)
}

/// The indentation of the file: the most frequent one of its objects, and of its lists in block style.
pub fn style(root: &Node, source: &Source) -> Style {
    let (mut indents, mut dashes) = (Vec::new(), Vec::new());
    measure(root, source, &mut indents, &mut dashes);
    let most = |list: &[usize]| {
        let count = |width: usize| list.iter().filter(|one| **one == width).count();
        (0..=8)
            .rev()
            .max_by_key(|width| count(*width))
            .filter(|width| count(*width) > 0)
    };
    let default = Style::default();
    Style {
        indent: most(&indents)
            .filter(|width| *width > 0)
            .unwrap_or(default.indent),
        dash: most(&dashes).unwrap_or(default.dash),
    }
}

fn measure(node: &Node, source: &Source, indents: &mut Vec<usize>, dashes: &mut Vec<usize>) {
    for entry in node.entries().iter().filter(|_| !node.extent.is_flow) {
        let value = &entry.value;
        let column = entry.key_place.column;
        let is_below = !value.extent.is_flow && value.extent.alias.is_none();
        if let Some(first) = value.entries().first().filter(|_| is_below) {
            indents.push(first.key_place.column.saturating_sub(column));
        }
        if let Some(item) = value.items().first().filter(|_| is_below) {
            let line = item.place.line.saturating_sub(1);
            if source.line_text(line).trim_start().starts_with("- ") {
                dashes.push((source.indent(line) + 1).saturating_sub(column));
            }
        }
    }
    let values = node.entries().iter().map(|entry| &entry.value);
    for value in values.chain(node.items()) {
        measure(value, source, indents, dashes);
    }
}
