//! Checks that `redis_proxy` and its Redis clusters are set up for Headgate's calls. Other uses of `redis_proxy` in the
//! same Envoy are not checked.

use super::document::Node;
use super::envoy::Parsed;
use super::envoy_parts::{type_of, Address, Parts, Resource};
use super::envoy_transport::{chains, is_redis_cluster, targets};
use super::report::{Report, Severity};
use headgate_core::config::{Plugin, Policy};

/// A `redis_proxy` and its path from the document's root.
type Proxy<'f> = (&'f Node, String);

pub fn check(parts: &Parts<'_>, plugins: &[Parsed<'_>], report: &mut Report) {
    if plugins.is_empty() {
        return;
    }
    for (proxy, at) in own_proxies(parts, plugins) {
        settings(proxy, &at, report);
        passwords(proxy, &at, report);
        let routes = targets(proxy);
        for target in &routes {
            let name = target.text().unwrap_or_default();
            match parts.cluster(name) {
                Some(cluster) => redis_cluster(cluster, report),
                None if parts.has_all_clusters => missing(parts, target, &at, report),
                None => {}
            }
        }
        if routes.is_empty() {
            report.outside(
                Severity::Error,
                proxy.place,
                &at,
                "redis_proxy without a cluster, which Envoy refuses; write prefix_routes: {catch_all_route: {cluster: \
                 redis}}",
            );
        }
    }
}

/// Each `redis_proxy` that is after a guard, or that receives calls of the filter.
fn own_proxies<'f>(parts: &Parts<'f>, plugins: &[Parsed<'_>]) -> Vec<Proxy<'f>> {
    let policies = plugins.iter().filter_map(|(_, plugin)| match plugin {
        Plugin::Filter(policy) => Some(policy.as_ref()),
        Plugin::RedisCall { .. } => None,
    });
    let addresses = policies.filter_map(|policy: &Policy| parts.cluster(&policy.redis.cluster));
    let addresses: Vec<Address<'_>> = addresses
        .flat_map(|cluster| Address::of_cluster(cluster.node))
        .collect();
    let is_reached = |listener: &Resource<'_>| {
        let mut reached = addresses.iter().flat_map(|address| parts.listeners_at(address));
        reached.any(|other| std::ptr::eq(other.node, listener.node))
    };
    let mut own = Vec::new();
    for listener in &parts.listeners {
        let is_internal = listener.node.envoy(&["internal_listener"]).is_some();
        for chain in chains(listener.node) {
            let is_guard =
                |filter: &Node| type_of(filter) == "Wasm" || filter.envoy(&["config_discovery"]).is_some();
            let filters = chain.items();
            if is_internal || filters.iter().any(is_guard) || is_reached(listener) {
                let proxies = filters.iter().filter(|filter| type_of(filter) == "RedisProxy");
                let typed = proxies.filter_map(|filter| filter.envoy(&["typed_config"]));
                own.extend(typed.map(|proxy| (proxy, listener.at.clone())));
            }
        }
    }
    own
}

fn settings(proxy: &Node, at: &str, report: &mut Report) {
    let settings = proxy.get("settings");
    let flag = |name: &str| settings.and_then(|s| s.envoy(&[name])).and_then(Node::text) == Some("true");
    let place = settings.map_or(proxy.place, |settings| settings.place);
    let mut found = |severity, message| report.outside(severity, place, at, message);
    if !flag("enable_hashtagging") {
        found(
            Severity::Error,
            "redis_proxy without enable_hashtagging: the keys of one client would lie on several nodes; write true",
        );
    }
    let resolves = settings.is_some_and(|settings| settings.envoy(&["dns_cache_config"]).is_some());
    if !flag("enable_redirection") {
        found(
            Severity::Warning,
            "redis_proxy without enable_redirection: calls fail while slots move; write true",
        );
    } else if !resolves {
        found(
            Severity::Warning,
            "redis_proxy with enable_redirection and without dns_cache_config: where the nodes of a Redis Cluster \
             announce names (cluster-announce-hostname), MOVED and ASK are not followed, and calls fail while slots \
             move; write dns_cache_config: {name: headgate_redis, dns_lookup_family: V4_PREFERRED}",
        );
    }
}

/// Reports a password that clients of redis_proxy must send: the filter sends none.
fn passwords(proxy: &Node, at: &str, report: &mut Report) {
    let names = [
        "downstream_auth_password",
        "downstream_auth_passwords",
        "downstream_auth_username",
        "external_auth_provider",
    ];
    if let Some((name, node)) = names.iter().find_map(|name| Some((name, proxy.envoy(&[name])?))) {
        let message = format!(
            "{name} is asked of the filter, which sends none: every call ends in NOAUTH. The password of Redis belongs to \
             the cluster: typed_extension_protocol_options, envoy.filters.network.redis_proxy, auth_password"
        );
        report.outside(Severity::Error, node.place, at, message);
    }
}

fn missing(parts: &Parts<'_>, target: &Node, at: &str, report: &mut Report) {
    let names: Vec<&str> = parts.clusters.iter().map(|cluster| cluster.name).collect();
    let message = format!(
        "redis_proxy sends commands to the cluster {:?}, which this file does not have: nothing is counted; it has {}",
        target.text().unwrap_or_default(),
        names.join(", ")
    );
    report.outside(Severity::Error, target.place, at, message);
}

fn redis_cluster(cluster: &Resource<'_>, report: &mut Report) {
    let (node, name) = (cluster.node, cluster.name);
    let mut found = |severity, message: String| report.outside(severity, node.place, &cluster.at, message);
    let policy = node.envoy(&["lb_policy"]).and_then(Node::text);
    if is_redis_cluster(node) {
        if policy != Some("CLUSTER_PROVIDED") {
            found(
                Severity::Error,
                "a Redis Cluster without lb_policy: CLUSTER_PROVIDED: commands go to any node and come back as MOVED, and \
                 one frozen node stalls everybody; write it"
                    .to_owned(),
            );
        }
    } else if Address::of_cluster(node).len() > 1 {
        found(
            Severity::Error,
            format!(
                "the cluster {name:?} has several addresses and no cluster_type: Envoy spreads the keys over them as \
                 over single Redises; for a Redis Cluster write cluster_type: {{name: envoy.clusters.redis, …}} as in \
                 envoy/envoy.yaml, for one Redis one address"
            ),
        );
    }
    let is_internal = |address: &Address<'_>| matches!(address, Address::Internal(_));
    if Address::of_cluster(node).iter().any(is_internal) {
        found(
            Severity::Error,
            format!(
                "the cluster {name:?} of redis_proxy leads back into this Envoy; write the address of Redis"
            ),
        );
    }
    let tls = node
        .envoy(&["transport_socket"])
        .filter(|socket| type_of(socket) == "UpstreamTlsContext");
    let verifies = |context: &Node| {
        let common = context.envoy(&["typed_config", "common_tls_context"]);
        let kinds = [
            "validation_context",
            "combined_validation_context",
            "validation_context_sds_secret_config",
            "tls_certificate_certificate_provider_instance",
        ];
        common.is_some_and(|common| kinds.iter().any(|kind| common.envoy(&[kind]).is_some()))
    };
    if tls.is_some_and(|context| !verifies(context)) {
        found(
            Severity::Warning,
            format!(
                "the cluster {name:?} takes any certificate: whoever answers in place of Redis gets its password; write \
                 common_tls_context: {{validation_context: {{trusted_ca: {{filename: ca.pem}}}}}}"
            ),
        );
    }
}
