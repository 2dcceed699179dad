//! Reads what Envoy's `/config_dump` contains about Headgate and the path to Redis, and does not judge it.

use crate::find::{self, FilterKind};
use headgate_core::config::{Plugin, Policy};
use serde_json::Value;
use std::collections::BTreeMap;

/// The configuration of an Envoy.
#[derive(Default)]
pub struct Config {
    /// In Envoy's order.
    pub listeners: Vec<Listener>,
    pub filters: Vec<RunningFilter>,
    /// By name.
    pub clusters: BTreeMap<String, Value>,
    /// Endpoints that a control plane has sent, by cluster.
    pub endpoints: BTreeMap<String, Value>,
    /// Validation contexts of certificates, by the name of their secret.
    pub secrets: BTreeMap<String, Value>,
    /// Updates of listeners that Envoy refused: the name, and why.
    pub refused: Vec<(String, String)>,
    /// Some statistics are left out.
    pub has_stats_matcher: bool,
    /// Plugins of Headgate whose configuration cannot be read: the name, and why.
    pub unreadable: Vec<(String, String)>,
}

pub struct Listener {
    pub name: String,
    pub node: Value,
    pub guards: Vec<RunningGuard>,
}

/// A plugin in the role `redis_call`.
#[derive(Clone)]
pub struct RunningGuard {
    pub key_prefix: String,
    /// Where its module comes from.
    pub module: String,
}

/// An HTTP filter of Headgate.
pub struct RunningFilter {
    pub policy: Box<Policy>,
    /// Its name in the statistics of wasm.
    pub plugin: String,
    /// Its listener; empty if the filter was sent without a listener (ECDS).
    pub listener: String,
    /// `stat_prefix` of its HTTP connection manager, if that is known.
    pub stat_prefix: Option<String>,
    /// Where the hash key comes from.
    pub hash_key: HashKeySource,
    pub module: String,
}

/// The source of the hash key in the plugin's environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashKeySource {
    Missing,
    /// Envoy's own environment.
    Environment,
    /// Written into the configuration, which `/config_dump` shows.
    Written,
}

/// The value at a path of keys.
pub fn at<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

pub fn text<'v>(value: &'v Value, path: &[&str]) -> Option<&'v str> {
    at(value, path)?.as_str()
}

pub fn list<'v>(value: &'v Value, path: &[&str]) -> &'v [Value] {
    at(value, path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

impl Config {
    /// Reads the text of `/config_dump?include_eds`.
    ///
    /// # Errors
    /// A text that is no such answer.
    pub fn parse(dump: &str) -> Result<Config, String> {
        let dump: Value = serde_json::from_str(dump).map_err(|error| error.to_string())?;
        let parts = dump.get("configs").and_then(Value::as_array);
        let mut config = Config::default();
        // Guards that Envoy got without their listener (ECDS), by the name of the filter.
        let mut sent = BTreeMap::new();
        for part in parts.ok_or("it has no \"configs\"")? {
            match text(part, &["@type"]).and_then(|url| url.rsplit('.').next()) {
                Some("BootstrapConfigDump") => {
                    config.has_stats_matcher =
                        at(part, &["bootstrap", "stats_config", "stats_matcher"]).is_some();
                }
                Some("ListenersConfigDump") => config.listeners(part),
                Some("ClustersConfigDump") => config.clusters(part),
                Some("EndpointsConfigDump") => config.endpoints(part),
                Some("SecretsConfigDump") => config.secrets(part),
                Some("EcdsConfigDump") => {
                    for filter in list(part, &["ecds_filters"]) {
                        let guards = config.plugins(filter, "");
                        let name = text(filter, &["ecds_filter", "name"]).unwrap_or_default();
                        sent.extend(guards.into_iter().map(|guard| (name.to_owned(), guard)));
                    }
                }
                _ => {}
            }
        }
        for listener in &mut config.listeners {
            let guards: Vec<RunningGuard> = listener
                .discovered_filters()
                .filter_map(|name| sent.get(name).cloned())
                .collect();
            listener.guards.extend(guards);
        }
        Ok(config)
    }

    fn listeners(&mut self, part: &Value) {
        for listener in list(part, &["static_listeners"]) {
            self.listener(listener);
        }
        for listener in list(part, &["dynamic_listeners"]) {
            if let Some(active) = at(listener, &["active_state"]) {
                self.listener(active);
            }
            if let Some(why) = text(listener, &["error_state", "details"]) {
                let failed = &["error_state", "failed_configuration", "name"];
                let name = text(listener, &["name"]).or_else(|| text(listener, failed));
                let refused = (name.unwrap_or_default().to_owned(), why.trim().to_owned());
                if !self.refused.contains(&refused) {
                    self.refused.push(refused);
                }
            }
        }
    }

    fn listener(&mut self, state: &Value) {
        let Some(node) = state.get("listener") else { return };
        let name = text(node, &["name"]).unwrap_or_default().to_owned();
        let guards = self.plugins(node, &name);
        self.listeners.push(Listener {
            name,
            node: node.clone(),
            guards,
        });
    }

    /// Collects Headgate's filters from a part of the configuration, and returns the guards in it.
    fn plugins(&mut self, part: &Value, listener: &str) -> Vec<RunningGuard> {
        let mut guards = Vec::new();
        let text = part.to_string();
        // A part without wasm is not parsed, because an Envoy in a mesh has many listeners.
        let file = match text.contains("wasm.v3.Wasm") {
            true => find::find(&text, true).ok(),
            false => None,
        };
        for found in file.iter().flat_map(|file| &file.found) {
            let Some(kind) = found.filter else { continue };
            let module = found.vm.module.clone().unwrap_or_default();
            match (found.parse(), kind) {
                (Ok(Plugin::Filter(policy)), FilterKind::Http) => self.filters.push(RunningFilter {
                    policy,
                    plugin: found.name.clone(),
                    listener: listener.to_owned(),
                    stat_prefix: found
                        .manager
                        .as_ref()
                        .and_then(|manager| manager.node.get("stat_prefix")?.text().map(str::to_owned)),
                    hash_key: match (found.vm.has_hash_key, found.vm.writes_hash_key) {
                        (_, true) => HashKeySource::Written,
                        (Some(true), _) => HashKeySource::Environment,
                        _ => HashKeySource::Missing,
                    },
                    module,
                }),
                (Ok(Plugin::RedisCall { key_prefix }), FilterKind::Network) => {
                    guards.push(RunningGuard { key_prefix, module });
                }
                (Ok(_), _) => self.unreadable.push((
                    found.name.clone(),
                    "the configuration is that of the other role".to_owned(),
                )),
                (Err(errors), _) => self
                    .unreadable
                    .push((found.name.clone(), errors.to_string().replace('\n', "; "))),
            }
        }
        guards
    }

    fn clusters(&mut self, part: &Value) {
        let lists = ["static_clusters", "dynamic_active_clusters"];
        for state in lists.iter().flat_map(|name| list(part, &[name])) {
            if let (Some(cluster), Some(name)) = (state.get("cluster"), text(state, &["cluster", "name"])) {
                self.clusters.insert(name.to_owned(), cluster.clone());
            }
        }
    }

    fn endpoints(&mut self, part: &Value) {
        let lists = ["static_endpoint_configs", "dynamic_endpoint_configs"];
        for state in lists.iter().flat_map(|name| list(part, &[name])) {
            let config = state.get("endpoint_config");
            if let Some((name, config)) =
                config.and_then(|config| Some((text(config, &["cluster_name"])?, config)))
            {
                self.endpoints.insert(name.to_owned(), config.clone());
            }
        }
    }

    fn secrets(&mut self, part: &Value) {
        let lists = ["static_secrets", "dynamic_active_secrets"];
        for state in lists.iter().flat_map(|name| list(part, &[name])) {
            let context = at(state, &["secret", "validation_context"]);
            if let (Some(name), Some(context)) = (text(state, &["name"]), context) {
                self.secrets.insert(name.to_owned(), context.clone());
            }
        }
    }

    /// The clusters on the path to Redis: those that filters call, and those that Redis proxies send to.
    pub fn redis_clusters(&self) -> Vec<&str> {
        let called = self
            .filters
            .iter()
            .map(|filter| filter.policy.redis.cluster.as_str());
        let proxies = self
            .listeners
            .iter()
            .filter(|listener| !listener.guards.is_empty());
        let proxies = proxies.flat_map(|listener| listener.network_filters(REDIS_PROXY));
        let mut names: Vec<&str> = called.chain(proxies.flat_map(proxy_clusters)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The endpoints of a cluster as they are configured.
    pub fn endpoints_of(&self, cluster: &Value) -> Vec<Endpoint> {
        let own = at(cluster, &["load_assignment", "endpoints"]);
        let service = text(cluster, &["eds_cluster_config", "service_name"])
            .or_else(|| text(cluster, &["name"]))
            .unwrap_or_default();
        let assigned = own.or_else(|| self.endpoints.get(service)?.get("endpoints"));
        let localities = assigned.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let endpoints = localities
            .iter()
            .flat_map(|locality| list(locality, &["lb_endpoints"]));
        endpoints
            .filter_map(|endpoint| Endpoint::read(at(endpoint, &["endpoint", "address"])?))
            .collect()
    }
}

/// The end of the type of Envoy's proxy for Redis.
pub const REDIS_PROXY: &str = "redis_proxy.v3.RedisProxy";

/// The clusters that a `redis_proxy` sends to, each once.
pub fn proxy_clusters(proxy: &Value) -> Vec<&str> {
    let routes = list(proxy, &["prefix_routes", "routes"]).iter();
    let routes = routes.chain(at(proxy, &["prefix_routes", "catch_all_route"]));
    let mut names: Vec<&str> = routes.filter_map(|route| text(route, &["cluster"])).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The address of an endpoint of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    Socket {
        host: String,
        port: u16,
    },
    /// A listener of the same Envoy.
    Internal(String),
    Pipe(String),
}

impl Endpoint {
    /// An `envoy.config.core.v3.Address`.
    pub fn read(address: &Value) -> Option<Endpoint> {
        if let Some(name) = text(address, &["envoy_internal_address", "server_listener_name"]) {
            return Some(Endpoint::Internal(name.to_owned()));
        }
        if let Some(path) = text(address, &["pipe", "path"]) {
            return Some(Endpoint::Pipe(path.to_owned()));
        }
        let socket = address.get("socket_address")?;
        let port = at(socket, &["port_value"]).and_then(Value::as_u64)?;
        Some(Endpoint::Socket {
            host: text(socket, &["address"])?.to_owned(),
            port: u16::try_from(port).ok()?,
        })
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Socket { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Endpoint::Socket { host, port } => write!(f, "{host}:{port}"),
            Endpoint::Internal(name) => write!(f, "the internal listener {name:?}"),
            Endpoint::Pipe(path) => write!(f, "the socket {path}"),
        }
    }
}

impl Listener {
    /// Its address; `None` for an internal listener.
    pub fn address(&self) -> Option<Endpoint> {
        Endpoint::read(self.node.get("address")?)
    }

    /// Its network filters whose type ends with `url`.
    pub fn network_filters(&self, url: &str) -> Vec<&Value> {
        self.filters()
            .filter_map(|filter| filter.get("typed_config"))
            .filter(|config| text(config, &["@type"]).is_some_and(|named| named.ends_with(url)))
            .collect()
    }

    /// The names of the network filters whose configuration comes by discovery.
    fn discovered_filters(&self) -> impl Iterator<Item = &str> {
        self.filters()
            .filter(|filter| filter.get("config_discovery").is_some())
            .filter_map(|filter| text(filter, &["name"]))
    }

    fn filters(&self) -> impl Iterator<Item = &Value> {
        let chains = list(&self.node, &["filter_chains"]).iter();
        let chains = chains.chain(self.node.get("default_filter_chain"));
        chains.flat_map(|chain| list(chain, &["filters"]))
    }
}
