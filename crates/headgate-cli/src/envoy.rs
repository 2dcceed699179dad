//! What must fit together between Headgate's two roles and the Envoy around them.

use super::document::Node;
use super::find::{File, FilterKind, Found};
use super::report::{Report, Severity};
use super::{envoy_addresses, envoy_filter_state, envoy_redis_call};
use headgate_core::config::{Plugin, Policy, Store};

/// A configuration and its parsed form.
pub type Parsed<'f> = (&'f Found, Plugin);

/// Checks the valid configurations of one file against each other and against the Envoy configuration around them.
pub fn check(file: &File, plugins: &[Parsed<'_>], report: &mut Report) {
    for (index, (found, plugin)) in plugins.iter().enumerate() {
        role(found, plugin, report);
        let Plugin::Filter(policy) = plugin else { continue };
        let others = plugins.iter().enumerate().filter(|(other, _)| *other != index);
        for (other, (other_found, other_plugin)) in others {
            match other_plugin {
                Plugin::RedisCall { key_prefix } => {
                    prefixes(found, policy, other_found, key_prefix, report);
                    machines(found, other_found, report);
                }
                Plugin::Filter(other_policy) if other < index => {
                    instances(found, policy, other_found, other_policy, report);
                }
                Plugin::Filter(_) => {}
            }
        }
        let document = file.documents.get(found.document);
        if let Some(resources) = document
            .filter(|_| policy.store == Store::Redis)
            .and_then(bootstrap)
        {
            clusters(found, policy, resources, report);
            let has_role = plugins
                .iter()
                .any(|(_, plugin)| matches!(plugin, Plugin::RedisCall { .. }));
            if !has_role {
                report.about(
                    Severity::Warning,
                    found,
                    "",
                    "no network filter with role: redis_call in this file: no call reaches Redis unless the listener is configured elsewhere",
                );
            }
        }
    }
    envoy_addresses::check(plugins, report);
    envoy_filter_state::check(plugins, report);
    envoy_redis_call::check(file, plugins, report);
    for document in file.documents.iter().filter(|_| !plugins.is_empty()) {
        redis_clusters(document, report);
        redis_proxies(document, "", report);
    }
}

/// The kind of filter decides the role. With a configuration for the other role, every request or connection is
/// refused.
fn role(found: &Found, plugin: &Plugin, report: &mut Report) {
    let (path, message) = match (found.filter, plugin) {
        (Some(FilterKind::Http), Plugin::RedisCall { .. }) => (
            "role",
            "the configuration of role redis_call in an HTTP filter, which would answer every request with 503; write \
             limits, and leave out role: redis_call",
        ),
        (Some(FilterKind::Network), Plugin::Filter(_)) => (
            "limits",
            "limits in a network filter, which would close every connection; write role: redis_call and \
             redis.key_prefix, and nothing else",
        ),
        _ => return,
    };
    report.about(Severity::Error, found, path, message);
}

/// Envoy's bootstrap, if the document is one.
fn bootstrap(document: &Node) -> Option<&Node> {
    document.envoy(&["static_resources"]).map(|_| document)
}

fn prefixes(found: &Found, policy: &Policy, other: &Found, key_prefix: &str, report: &mut Report) {
    let own = &policy.redis.key_prefix;
    if own != key_prefix {
        let message = format!(
            "{key_prefix:?}, but the filter {:?} (line {}) counts under {own:?}: every call would be refused; write the \
             same in both",
            found.name, found.place.line
        );
        report.about(Severity::Error, other, "redis.key_prefix", message);
    }
}

/// If both roles share one VM, opening the internal connection re-enters the module, and every request hangs.
fn machines(found: &Found, other: &Found, report: &mut Report) {
    if found.vm.id.is_some() && found.vm.id == other.vm.id {
        let message = format!(
            "vm_id {:?} is the filter's as well: the two roles need two VMs, or every request hangs; give each its own",
            found.vm.id.as_deref().unwrap_or_default()
        );
        report.about(Severity::Error, other, "", message);
    }
}

fn instances(found: &Found, policy: &Policy, other: &Found, other_policy: &Policy, report: &mut Report) {
    if !found.chain.is_empty() && found.chain == other.chain && policy.instance == other_policy.instance {
        let message = format!(
            "{:?} is also the instance on line {} of this chain: both would count in the same counters; give each its own",
            policy.instance, other.place.line
        );
        report.about(Severity::Error, found, "instance", message);
    }
}

fn clusters(found: &Found, policy: &Policy, bootstrap: &Node, report: &mut Report) {
    let wanted = policy.redis.cluster.as_str();
    let listed = bootstrap
        .envoy(&["static_resources", "clusters"])
        .map(Node::items)
        .unwrap_or_default();
    let names: Vec<&str> = listed
        .iter()
        .filter_map(|c| c.get("name").and_then(Node::text))
        .collect();
    if !names.contains(&wanted) {
        let dynamic = bootstrap.envoy(&["dynamic_resources", "cds_config"]).is_some();
        let severity = if dynamic {
            Severity::Warning
        } else {
            Severity::Error
        };
        let message = format!(
            "{wanted:?}: no such cluster in this file; it has {}",
            names.join(", ")
        );
        report.about(severity, found, "redis.cluster", message);
    }
}

/// A Redis Cluster without `CLUSTER_PROVIDED` works, and sends two thirds of all calls to the wrong node first.
fn redis_clusters(document: &Node, report: &mut Report) {
    let listed = document
        .envoy(&["static_resources", "clusters"])
        .map(Node::items)
        .unwrap_or_default();
    for (index, cluster) in listed.iter().enumerate() {
        let kind = cluster.envoy(&["cluster_type", "name"]).and_then(Node::text);
        let policy = cluster.envoy(&["lb_policy"]).and_then(Node::text);
        if kind == Some("envoy.clusters.redis") && policy != Some("CLUSTER_PROVIDED") {
            report.outside(
                Severity::Error,
                cluster.place,
                &format!("static_resources.clusters[{index}]"),
                "a Redis Cluster without lb_policy: CLUSTER_PROVIDED: commands go to any node and come back as MOVED, and \
                 one frozen node stalls everybody; write it",
            );
        }
    }
}

/// Envoy's own Redis proxies, anywhere in the document.
fn redis_proxies(node: &Node, path: &str, report: &mut Report) {
    let url = node.get("@type").and_then(Node::text).unwrap_or_default();
    if url.ends_with("redis_proxy.v3.RedisProxy") {
        let settings = node.get("settings");
        let flag = |name: &str| settings.and_then(|s| s.envoy(&[name])).and_then(Node::text) == Some("true");
        let place = settings.map_or(node.place, |settings| settings.place);
        if !flag("enable_hashtagging") {
            report.outside(
                Severity::Error,
                place,
                path,
                "redis_proxy without enable_hashtagging: the keys of one client would lie on several nodes; write true",
            );
        }
        let resolves = settings.is_some_and(|settings| settings.envoy(&["dns_cache_config"]).is_some());
        if !flag("enable_redirection") {
            report.outside(
                Severity::Warning,
                place,
                path,
                "redis_proxy without enable_redirection: calls fail while slots move; write true",
            );
        } else if !resolves {
            report.outside(
                Severity::Warning,
                place,
                path,
                "redis_proxy with enable_redirection and without dns_cache_config: where the nodes of a Redis Cluster \
                 announce names (cluster-announce-hostname), MOVED and ASK are not followed, and calls fail while slots \
                 move; write dns_cache_config: {name: headgate_redis, dns_lookup_family: V4_PREFERRED}",
            );
        }
    }
    for entry in node.entries() {
        let path = if path.is_empty() {
            entry.key.clone()
        } else {
            format!("{path}.{}", entry.key)
        };
        redis_proxies(&entry.value, &path, report);
    }
    for (index, item) in node.items().iter().enumerate() {
        redis_proxies(item, &format!("{path}[{index}]"), report);
    }
}
