//! The path of a call through Envoy's configuration: the cluster that the filter calls, the listener behind it, the
//! guard and `redis_proxy` there, and the cluster of Redis. Finds what is missing on it.

use super::config::{proxy_clusters, text, Config, Endpoint, Listener, RunningFilter, REDIS_PROXY};
use super::finding::Diagnosis;
use serde_json::Value;

/// The end of the path: the clusters of Redis, and the proxy in front of them.
pub struct Way<'c> {
    pub proxy: &'c Value,
    pub listener: &'c Listener,
    pub clusters: Vec<&'c Value>,
}

/// Follows the path of a filter's calls.
///
/// # Errors
/// What is missing on it.
pub fn follow<'c>(config: &'c Config, filter: &RunningFilter) -> Result<Way<'c>, Diagnosis> {
    let name = filter.policy.redis.cluster.as_str();
    let Some(cluster) = config.clusters.get(name) else {
        return Err(missing(config, name, "redis.cluster of the policy"));
    };
    let endpoints = config.endpoints_of(cluster);
    let listener = endpoints.iter().find_map(|endpoint| leads_to(config, endpoint));
    let Some(listener) = listener else {
        return Err(no_listener(name, &endpoints));
    };
    let pool = text(cluster, &["upstream_config", "typed_config", "@type"]).unwrap_or_default();
    if !pool.ends_with("TcpConnectionPoolProto") {
        let message = format!(
            "the cluster {name:?} has no upstream_config: Envoy sends HTTP to the guard, which expects the calls without HTTP"
        );
        let remedy = "write upstream_config: {name: envoy.upstreams.http.tcp, typed_config: {\"@type\": \
                      type.googleapis.com/envoy.extensions.upstreams.http.tcp.v3.TcpConnectionPoolProto}}";
        return Err(Diagnosis::error("upstream-config", message, remedy));
    }
    let Some(guard) = listener.guards.first() else {
        let message = format!(
            "the listener {:?} has no guard: nothing removes the gRPC frames of the filter's calls",
            listener.name
        );
        let remedy = "put headgate.wasm with role: redis_call before redis_proxy, as in envoy/envoy.yaml";
        return Err(Diagnosis::error("guard-missing", message, remedy));
    };
    let own = &filter.policy.redis.key_prefix;
    if *own != guard.key_prefix {
        let message = format!(
            "the guard lets through keys that begin with {:?}, and the filter's begin with {own:?}: it refuses every call",
            guard.key_prefix
        );
        let remedy = "write the same redis.key_prefix in both configurations";
        return Err(Diagnosis::error("key-prefix", message, remedy));
    }
    let proxies = listener.network_filters(REDIS_PROXY);
    let Some(proxy) = proxies.first().copied() else {
        let message = format!(
            "the listener {:?} has no redis_proxy: nothing sends the calls to Redis",
            listener.name
        );
        let remedy = "put envoy.filters.network.redis_proxy behind the guard, as in envoy/envoy.yaml";
        return Err(Diagnosis::error("redis-proxy-missing", message, remedy));
    };
    let mut clusters = Vec::new();
    for name in proxy_clusters(proxy) {
        match config.clusters.get(name) {
            Some(cluster) => clusters.push(cluster),
            None => return Err(missing(config, name, "prefix_routes of redis_proxy")),
        }
    }
    Ok(Way {
        proxy,
        listener,
        clusters,
    })
}

fn missing(config: &Config, name: &str, by: &str) -> Diagnosis {
    let known: Vec<&str> = config.clusters.keys().map(String::as_str).collect();
    let message = format!("this Envoy has no cluster {name:?}, which {by} names");
    let remedy = format!("add the cluster as in envoy/envoy.yaml, or correct the name in {by}");
    Diagnosis::error("cluster-missing", message, remedy)
        .seen(format!("/config_dump: clusters {}", known.join(", ")))
}

/// The listener of this Envoy at an address.
fn leads_to<'c>(config: &'c Config, endpoint: &Endpoint) -> Option<&'c Listener> {
    config.listeners.iter().find(|listener| match endpoint {
        Endpoint::Internal(name) => listener.name == *name,
        other => listener.address().as_ref() == Some(other),
    })
}

fn no_listener(cluster: &str, endpoints: &[Endpoint]) -> Diagnosis {
    let shown: Vec<String> = endpoints.iter().map(Endpoint::to_string).collect();
    let Some(Endpoint::Socket { .. }) = endpoints.first() else {
        let message = match endpoints.is_empty() {
            true => format!("the cluster {cluster:?} has no endpoint"),
            false => format!(
                "the cluster {cluster:?} leads to {}, which this Envoy does not have",
                shown.join(", ")
            ),
        };
        let remedy = "add the listener redis_call as in envoy/envoy.yaml, or correct its name in the cluster's endpoint; \
                      an internal listener needs the bootstrap extension envoy.bootstrap.internal_listener";
        return Diagnosis::error("listener-missing", message, remedy);
    };
    let message = format!(
        "the cluster {cluster:?} leads to {}, which is no listener of this Envoy: the filter's calls need a guard before \
         they reach Redis",
        shown.join(", ")
    );
    let remedy =
        "redis.cluster names the cluster that leads to the listener redis_call, not the one of Redis: see \
                  envoy/envoy.yaml";
    Diagnosis::error("guard-missing", message, remedy)
}

/// The listener of the guard comes after one that calls it: an update then reaches the filter first.
pub fn order(config: &Config, filter: &RunningFilter, guard: &Listener) -> Option<Diagnosis> {
    let place = |name: &str| config.listeners.iter().position(|listener| listener.name == name);
    let (filter, guard) = (place(&filter.listener)?, place(&guard.name)?);
    let [filter, guard] = [filter, guard].map(|at| config.listeners.get(at));
    let (filter, guard) = (filter?, guard?);
    let is_after = place(&guard.name) > place(&filter.name);
    is_after.then(|| {
        let message = format!(
            "the listener {:?} comes after {:?}: Envoy takes over new listeners in this order, so during an update the new \
             filter calls the old guard",
            guard.name, filter.name
        );
        let remedy = format!("write the listener {:?} before the others", guard.name);
        Diagnosis::warning("listener-order", message, remedy)
    })
}
