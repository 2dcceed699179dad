//! Checks that the transport from the filter to Redis is complete: the cluster in the policy, the listener that is its
//! endpoint, the guard and `redis_proxy` in that listener, and the Redis clusters of `redis_proxy`.
//!
//! Each part may be in another file or in a mesh's own configuration. So a missing part is reported only if the file
//! has the bootstrap, and if parts of this kind do not come by discovery. Parts that are in the file are always
//! checked.

use super::document::Node;
use super::envoy::Parsed;
use super::envoy_parts::{type_of, Address, Parts, Resource};
use super::find::{FilterKind, Found};
use super::report::{Report, Severity};
use headgate_core::config::{Plugin, Policy, Store};

pub fn check(parts: &Parts<'_>, plugins: &[Parsed<'_>], report: &mut Report) {
    let mut walk = TransportWalk { parts, report };
    for (found, plugin) in plugins {
        match plugin {
            Plugin::Filter(policy) if policy.store == Store::Redis && policy.redis.native.is_none() => {
                walk.filter_side(found, policy);
            }
            Plugin::Filter(_) => {}
            Plugin::RedisCall { .. } => walk.guard_side(found),
        }
    }
}

struct TransportWalk<'w> {
    parts: &'w Parts<'w>,
    report: &'w mut Report,
}

impl<'w> TransportWalk<'w> {
    fn filter_side(&mut self, found: &Found, policy: &Policy) {
        let wanted = policy.redis.cluster.as_str();
        let Some(cluster) = self.parts.cluster(wanted) else {
            if self.parts.has_all_clusters {
                let names: Vec<&str> = self.parts.clusters.iter().map(|cluster| cluster.name).collect();
                let message = format!(
                    "{wanted:?}: no such cluster in this file; it has {}",
                    names.join(", ")
                );
                self.report
                    .about(Severity::Error, found, "redis.cluster", message);
            }
            return;
        };
        let addresses = Address::of_cluster(cluster.node);
        if let Some(what) = self.is_redis(cluster, &addresses) {
            let message = format!(
                "{wanted:?} {what}, which understands no stream of the filter: nothing would be counted; write the \
                 cluster that leads to the listener with the guard (redis_call in the shipped files)"
            );
            self.report
                .about(Severity::Error, found, "redis.cluster", message);
            return;
        }
        self.transport_cluster(cluster);
        for address in &addresses {
            self.transport_listener(found, cluster, address);
        }
    }

    /// Whether a cluster has the Redis servers as endpoints.
    fn is_redis(&self, cluster: &Resource<'_>, addresses: &[Address<'_>]) -> Option<&'static str> {
        if is_redis_cluster(cluster.node) {
            return Some("is Redis itself");
        }
        let is_target = |proxy: &Node| {
            targets(proxy)
                .iter()
                .any(|target| target.text() == Some(cluster.name))
        };
        if self.proxies().any(is_target) {
            return Some("is where redis_proxy sends commands, so Redis itself");
        }
        let is_elsewhere = |address: &Address<'_>| {
            matches!(address, Address::Socket { .. }) && self.parts.listeners_at(address).next().is_none()
        };
        let elsewhere = !addresses.is_empty() && addresses.iter().all(is_elsewhere);
        (elsewhere && self.parts.has_all_listeners)
            .then_some("leads to an address outside of this Envoy, such as Redis itself")
    }

    /// Every redis_proxy in the file.
    fn proxies(&self) -> impl Iterator<Item = &'w Node> {
        let listeners = self.parts.listeners.iter();
        let filters = listeners.flat_map(|listener| chains(listener.node).flat_map(Node::items));
        let proxies = filters.filter(|filter| type_of(filter) == "RedisProxy");
        proxies.filter_map(|filter| filter.envoy(&["typed_config"]))
    }

    /// Checks the settings with which Envoy opens a raw connection for each stream.
    fn transport_cluster(&mut self, cluster: &Resource<'_>) {
        let name = cluster.name;
        let upstream = cluster.node.envoy(&["upstream_config"]);
        if upstream.map(type_of) != Some("TcpConnectionPoolProto") {
            self.report.outside(
                Severity::Error,
                cluster.node.place,
                &cluster.at,
                format!(
                    "the cluster {name:?} without upstream_config envoy.upstreams.http.tcp: Envoy speaks HTTP/2 to the \
                     guard, which closes the connection, and nothing is counted; write upstream_config: {{name: \
                     envoy.upstreams.http.tcp, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.\
                     upstreams.http.tcp.v3.TcpConnectionPoolProto}}}}"
                ),
            );
        }
        let socket = cluster.node.envoy(&["transport_socket"]);
        if let Some(socket) = socket.filter(|socket| type_of(socket).ends_with("TlsContext")) {
            self.report.outside(
                Severity::Error,
                socket.place,
                &format!("{}.transport_socket", cluster.at),
                format!(
                    "TLS on the cluster {name:?}, which leads to a listener of this Envoy, where the guard speaks none; \
                     TLS to Redis belongs to the cluster of redis_proxy"
                ),
            );
        }
        let is_bounded = cluster.node.envoy(&["circuit_breakers", "thresholds"]).is_some();
        if !is_bounded {
            self.report.outside(
                Severity::Warning,
                cluster.node.place,
                &cluster.at,
                format!(
                    "the cluster {name:?} without circuit_breakers: each stream is a connection, tens for each worker, \
                     and Envoy's own bound is 1024; write circuit_breakers: {{thresholds: [{{max_connections: 65536, \
                     max_pending_requests: 65536, max_requests: 65536}}]}}"
                ),
            );
        }
    }

    fn transport_listener(&mut self, found: &Found, cluster: &Resource<'_>, address: &Address<'_>) {
        let place = cluster
            .node
            .envoy(&["load_assignment"])
            .unwrap_or(cluster.node)
            .place;
        let at = format!("{}.load_assignment", cluster.at);
        let Some(listener) = self.parts.listeners_at(address).next() else {
            if let (Address::Internal(name), true) = (address, self.parts.has_all_listeners) {
                let message = format!(
                    "the cluster {:?} leads to the internal listener {name:?}, which this file does not have: nothing \
                     leads to Redis; add the listener with the guard and redis_proxy, as in envoy/envoy.yaml",
                    cluster.name
                );
                self.report.outside(Severity::Error, place, &at, message);
            }
            return;
        };
        if let Address::Internal(name) = address {
            if listener.node.envoy(&["internal_listener"]).is_none() {
                let message = format!(
                    "the listener {name:?} is no internal one, so that the cluster {:?} does not reach it; write \
                     internal_listener: {{}} in place of its address",
                    cluster.name
                );
                self.report
                    .outside(Severity::Error, listener.node.place, &listener.at, message);
            }
        }
        self.guarded(listener);
        self.order(found, listener);
    }

    /// The guard must be before redis_proxy. A filter that comes by discovery may be the guard.
    fn guarded(&mut self, listener: &Resource<'_>) {
        for chain in chains(listener.node) {
            let filters = chain.items();
            let is_guard =
                |filter: &Node| type_of(filter) == "Wasm" || filter.envoy(&["config_discovery"]).is_some();
            let proxy = filters.iter().position(|filter| type_of(filter) == "RedisProxy");
            if proxy.is_some() && !filters.iter().any(is_guard) {
                self.report.outside(
                    Severity::Error,
                    chain.place,
                    &listener.at,
                    format!(
                        "the listener {:?} without the guard: redis_proxy does not understand the filter's streams, and \
                         nothing is counted; put the wasm filter with role: redis_call in front of redis_proxy",
                        listener.name
                    ),
                );
            }
        }
    }

    /// Envoy updates listeners in the order in which they are written.
    fn order(&mut self, found: &Found, guard: &Resource<'_>) {
        let Some(own) = &found.listener else { return };
        let index = |at: &str| {
            let own = |listener: &Resource<'_>| listener.document == found.document && listener.at == at;
            self.parts.listeners.iter().position(own)
        };
        let (Some(filter), Some(of_guard)) = (index(&own.at), index(&guard.at)) else {
            return;
        };
        let list = |at: &str| at.rsplit_once('[').map(|(list, _)| list.to_owned());
        if guard.document == found.document && list(&own.at) == list(&guard.at) && filter < of_guard {
            self.report.outside(
                Severity::Warning,
                guard.node.place,
                &guard.at,
                format!(
                    "the listener {:?} comes after the one with the filter: Envoy takes over listeners in this order, so \
                     that with a new release the filter meets the old guard, which refuses its script; put it first",
                    guard.name
                ),
            );
        }
    }

    /// Checks the order of the guard and redis_proxy.
    fn guard_side(&mut self, found: &Found) {
        if found.filter != Some(FilterKind::Network) {
            return;
        }
        let Some(listener) = &found.listener else { return };
        let is_own = |chain: &&Node| chain.items().iter().any(|filter| holds(filter, found));
        let Some(chain) = chains(&listener.node).find(is_own) else {
            return;
        };
        let filters = chain.items();
        let own = filters.iter().position(|filter| holds(filter, found));
        let proxy = filters.iter().position(|filter| type_of(filter) == "RedisProxy");
        let message = match (own, proxy) {
            (Some(own), Some(proxy)) if proxy < own => {
                "the guard behind redis_proxy, which Envoy refuses, as redis_proxy ends a chain; put the guard in front"
            }
            (Some(own), None) if own + 1 == filters.len() => {
                "nothing behind the guard, which Envoy refuses; put envoy.filters.network.redis_proxy behind it"
            }
            _ => return,
        };
        self.report
            .outside(Severity::Error, found.place, &found.at, message);
    }
}

/// Whether a filter is the one with this configuration.
fn holds(filter: &Node, found: &Found) -> bool {
    fn contains(node: &Node, place: super::document::Place) -> bool {
        node.place == place
            || node.entries().iter().any(|entry| contains(&entry.value, place))
            || node.items().iter().any(|item| contains(item, place))
    }
    contains(filter, found.place)
}

/// The lists of network filters of a listener.
pub fn chains(listener: &Node) -> impl Iterator<Item = &Node> {
    let several = listener
        .envoy(&["filter_chains"])
        .map(Node::items)
        .unwrap_or_default();
    let fallback = listener.envoy(&["default_filter_chain"]);
    several
        .iter()
        .chain(fallback)
        .filter_map(|chain| chain.envoy(&["filters"]))
}

pub fn is_redis_cluster(cluster: &Node) -> bool {
    cluster.envoy(&["cluster_type", "name"]).and_then(Node::text) == Some("envoy.clusters.redis")
}

/// The names of the clusters to which a redis_proxy sends commands.
pub fn targets(proxy: &Node) -> Vec<&Node> {
    let routes = proxy.envoy(&["prefix_routes"]);
    let catch_all = routes.and_then(|routes| routes.envoy(&["catch_all_route"]));
    let listed = routes
        .and_then(|routes| routes.envoy(&["routes"]))
        .map(Node::items);
    let all = listed.unwrap_or_default().iter().chain(catch_all);
    all.filter_map(|route| route.envoy(&["cluster"])).collect()
}
