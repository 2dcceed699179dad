//! Checks whether clients can reach the cluster `redis_call`.
//!
//! If any part of Envoy sends a client's bytes to this cluster, the client talks to the guard directly. The guard
//! allows the counting script, on the counters of any client. Two cases are not checked: clusters with other names and
//! the same endpoint, and clusters that extensions choose (Lua, ext_proc, cluster specifier plugins).

use super::document::Node;
use super::envoy::Parsed;
use super::find::File;
use super::report::{Report, Severity};
use headgate_core::config::{Plugin, Policy, Store};

/// The consequence, repeated in every finding.
const RISK: &str = "whoever reaches it can spend other callers' quotas and restore their own";

pub fn check(file: &File, plugins: &[Parsed<'_>], report: &mut Report) {
    let policies = plugins.iter().filter_map(|(_, plugin)| match plugin {
        Plugin::Filter(policy) => Some(policy),
        Plugin::RedisCall { .. } => None,
    });
    let clusters: Vec<&str> = policies.filter_map(|policy| cluster(policy)).collect();
    if clusters.is_empty() {
        return;
    }
    for (index, document) in file.documents.iter().enumerate() {
        // Invalid configurations have the cluster's name as well.
        let mut walk = ClusterWalk {
            clusters: &clusters,
            own: file
                .found
                .iter()
                .filter(|found| found.document == index)
                .map(|found| found.at.as_str())
                .collect(),
            report,
        };
        walk.node(document, "");
    }
}

/// The cluster through which a filter reaches Redis.
fn cluster(policy: &Policy) -> Option<&str> {
    let by_streams = policy.store == Store::Redis && policy.redis.native.is_none();
    by_streams.then_some(policy.redis.cluster.as_str())
}

struct ClusterWalk<'w> {
    clusters: &'w [&'w str],
    /// The places of Headgate's own configurations, which contain the cluster's name.
    own: Vec<&'w str>,
    report: &'w mut Report,
}

impl ClusterWalk<'_> {
    fn node(&mut self, node: &Node, path: &str) {
        // Where redis_proxy sends commands is checked with it.
        let kind = node.get("@type").and_then(Node::text).unwrap_or_default();
        if self.own.contains(&path) || kind.ends_with(".RedisProxy") {
            return;
        }
        for entry in node.entries() {
            let path = match path {
                "" => entry.key.clone(),
                _ => format!("{path}.{}", entry.key),
            };
            match entry.key.as_str() {
                "cluster_header" | "clusterHeader" => self.report.outside(
                    Severity::Error,
                    entry.key_place,
                    &path,
                    format!(
                        "a header names the cluster, and callers may name {:?}, Headgate's way to Redis: {RISK}; write \
                         a route with its own cluster for each value of the header",
                        self.clusters.first().copied().unwrap_or_default()
                    ),
                ),
                "cluster" => self.target(&entry.value, &path),
                "weighted_clusters" | "weightedClusters" => self.weighted(&entry.value, &path),
                _ => {}
            }
            self.node(&entry.value, &path);
        }
        for (index, item) in node.items().iter().enumerate() {
            self.node(item, &format!("{path}[{index}]"));
        }
    }

    fn weighted(&mut self, weighted: &Node, path: &str) {
        let listed = weighted.get("clusters").map(Node::items).unwrap_or_default();
        for (index, one) in listed.iter().enumerate() {
            if let Some(name) = one.get("name") {
                self.target(name, &format!("{path}.clusters[{index}].name"));
            }
        }
    }

    /// The name of a cluster to which something is sent.
    fn target(&mut self, name: &Node, path: &str) {
        let Some(cluster) = name.text().filter(|name| self.clusters.contains(name)) else {
            return;
        };
        self.report.outside(
            Severity::Error,
            name.place,
            path,
            format!("{cluster:?} is Headgate's way to Redis: {RISK}; send this elsewhere"),
        );
    }
}

#[cfg(test)]
#[path = "envoy_redis_call_tests.rs"]
mod tests;
