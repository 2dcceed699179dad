//! Finds the parts of Headgate that the files already contain, written by hand or by an earlier run for another
//! listener.

use super::files;
use super::path::Spot;
use super::PatchedFile;
use crate::document::Node;
use crate::find::{FilterKind, Found};
use headgate_core::config::{Plugin, Policy, Store};

/// The guard's listener.
pub struct Guard {
    pub file: usize,
    pub line: usize,
    /// The listener's name.
    pub listener: String,
    /// The cluster that its `redis_proxy` sends to.
    pub redis: Option<String>,
}

/// A policy in an HTTP filter.
pub struct Filter {
    pub file: usize,
    /// Its connection manager's path.
    pub manager: Option<String>,
    pub line: usize,
    pub policy: Option<Policy>,
}

pub struct Present {
    pub guard: Option<Guard>,
    pub filters: Vec<Filter>,
}

pub fn present(all: &[PatchedFile]) -> Present {
    let mut present = Present {
        guard: None,
        filters: Vec::new(),
    };
    for (index, file) in all.iter().enumerate() {
        for found in file.found.iter().filter(|found| found.document == 0) {
            match found.filter {
                Some(FilterKind::Network) => present.guard = present.guard.or(guard(index, found)),
                Some(FilterKind::Http) => present.filters.push(Filter {
                    file: index,
                    manager: found.manager.as_ref().map(|part| part.at.clone()),
                    line: found.place.line,
                    policy: match found.parse() {
                        Ok(Plugin::Filter(policy)) => Some(*policy),
                        _ => None,
                    },
                }),
                None => {}
            }
        }
    }
    present
}

fn guard(file: usize, found: &Found) -> Option<Guard> {
    let listener = found.listener.as_ref()?;
    let text = |node: &Node, keys: &[&str]| node.envoy(keys).and_then(Node::text).map(str::to_owned);
    Some(Guard {
        file,
        line: found.place.line,
        listener: text(&listener.node, &["name"]).unwrap_or_default(),
        redis: proxied(&listener.node),
    })
}

/// The cluster of the first `redis_proxy` in a tree.
fn proxied(node: &Node) -> Option<String> {
    let url = node.get("@type").and_then(Node::text).unwrap_or_default();
    if url.ends_with("redis_proxy.v3.RedisProxy") {
        let cluster = node.envoy(&["prefix_routes", "catch_all_route", "cluster"]);
        return cluster.and_then(Node::text).map(str::to_owned);
    }
    let values = node.entries().iter().map(|entry| &entry.value);
    values.chain(node.items()).find_map(proxied)
}

/// A cluster or a listener with this name, and its file.
pub fn named<'f>(
    all: &'f [PatchedFile],
    name: &str,
    list: fn(&'f Node, files::FileKind) -> Vec<Spot<'f>>,
) -> Option<(usize, Spot<'f>)> {
    all.iter().enumerate().find_map(|(index, file)| {
        let spots = file.root().map(|root| list(root, file.kind)).unwrap_or_default();
        let found = spots.into_iter().find(|spot| spot.text(&["name"]) == Some(name));
        found.map(|spot| (index, spot))
    })
}

/// Whether an endpoint of the cluster is the internal listener with this name.
pub fn leads_to(cluster: &Node, listener: &str) -> bool {
    let own = cluster.envoy(&["server_listener_name"]).and_then(Node::text);
    let values = cluster.entries().iter().map(|entry| &entry.value);
    own == Some(listener) || values.chain(cluster.items()).any(|node| leads_to(node, listener))
}

/// Whether a policy needs the transport to Redis in this Envoy.
pub fn needs_redis(policy: &Policy) -> bool {
    policy.store == Store::Redis && policy.redis.native.is_none()
}
