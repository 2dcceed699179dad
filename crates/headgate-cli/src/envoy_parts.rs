//! Finds the parts of Envoy's configuration on which Headgate depends: listeners and clusters, in any kind of file (a
//! bootstrap, files for LDS and CDS, patches of a mesh), and the addresses that connect them. This module reports no
//! mistakes.

use super::document::{Node, Reader};
use super::find::File;
use serde_json::Value;

/// A listener or a cluster.
pub struct Resource<'f> {
    pub name: &'f str,
    pub node: &'f Node,
    /// Its path from the document's root.
    pub at: String,
    pub document: usize,
}

/// The parts of Envoy's configuration in a file.
pub struct Parts<'f> {
    pub listeners: Vec<Resource<'f>>,
    pub clusters: Vec<Resource<'f>>,
    /// The bootstrap, if the file has one.
    pub bootstrap: Option<&'f Node>,
    /// Whether the file has all listeners of this Envoy, because none come by discovery.
    pub has_all_listeners: bool,
    /// The same for clusters.
    pub has_all_clusters: bool,
}

/// The address of a listener, or of an endpoint of a cluster.
#[derive(Debug, PartialEq)]
pub enum Address<'f> {
    Internal(&'f str),
    Pipe(&'f str),
    Socket { host: &'f str, port: u64 },
}

impl<'f> Parts<'f> {
    pub fn of(file: &'f File) -> Parts<'f> {
        let is_bootstrap = |document: &&Node| document.envoy(&["static_resources"]).is_some();
        let bootstrap = file.documents.iter().find(is_bootstrap);
        let comes_by = |source: &str| {
            let dynamic = bootstrap.and_then(|bootstrap| bootstrap.envoy(&["dynamic_resources", source]));
            dynamic.is_some()
        };
        let mut parts = Parts {
            listeners: Vec::new(),
            clusters: Vec::new(),
            bootstrap,
            has_all_listeners: bootstrap.is_some() && !comes_by("lds_config"),
            has_all_clusters: bootstrap.is_some() && !comes_by("cds_config"),
        };
        for (document, node) in file.documents.iter().enumerate() {
            parts.collect(node, "", document);
        }
        parts
    }

    fn collect(&mut self, node: &'f Node, path: &str, document: usize) {
        // The configuration into which a patch is merged is in another place.
        if node.get("operation").and_then(Node::text) == Some("MERGE") {
            return;
        }
        let has = |keys: &[&str]| keys.iter().any(|key| node.envoy(&[key]).is_some());
        let name = node.get("name").and_then(Node::text).unwrap_or_default();
        let resource = || Resource {
            name,
            node,
            at: path.to_owned(),
            document,
        };
        if has(&[
            "filter_chains",
            "default_filter_chain",
            "internal_listener",
            "api_listener",
        ]) {
            self.listeners.push(resource());
        } else if has(&["load_assignment", "cluster_type", "lb_policy"]) && !name.is_empty() {
            self.clusters.push(resource());
        }
        for entry in node.entries() {
            let path = match path {
                "" => entry.key.clone(),
                _ => format!("{path}.{}", entry.key),
            };
            self.collect(&entry.value, &path, document);
        }
        for (index, item) in node.items().iter().enumerate() {
            self.collect(item, &format!("{path}[{index}]"), document);
        }
    }

    pub fn cluster(&self, name: &str) -> Option<&Resource<'f>> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// The listeners in the file that have this address. Other files may have further listeners.
    pub fn listeners_at<'p>(&'p self, address: &'p Address<'_>) -> impl Iterator<Item = &'p Resource<'f>> {
        self.listeners.iter().filter(move |listener| {
            let own = listener.node.get("address").and_then(Address::of);
            match (address, own) {
                (Address::Internal(name), _) => listener.name == *name,
                // Only the port is compared, because a machine can have several addresses.
                (Address::Socket { port, .. }, Some(Address::Socket { port: own, .. })) => *port == own,
                (address, own) => own.as_ref() == Some(address),
            }
        })
    }
}

impl<'f> Address<'f> {
    /// An `envoy.config.core.v3.Address`.
    pub fn of(node: &'f Node) -> Option<Address<'f>> {
        let text = |keys: &[&str]| node.envoy(keys).and_then(Node::text);
        if let Some(name) = text(&["envoy_internal_address", "server_listener_name"]) {
            return Some(Address::Internal(name));
        }
        if let Some(path) = text(&["pipe", "path"]) {
            return Some(Address::Pipe(path));
        }
        let socket = node.envoy(&["socket_address"])?;
        let port = match socket
            .envoy(&["port_value"])
            .map(|port| port.value(Reader::Envoy))
        {
            Some(Value::Number(port)) => port.as_u64(),
            Some(Value::String(port)) => port.parse().ok(),
            _ => None,
        };
        Some(Address::Socket {
            host: socket.get("address").and_then(Node::text).unwrap_or_default(),
            port: port.unwrap_or_default(),
        })
    }

    /// The addresses of a cluster's endpoints.
    pub fn of_cluster(cluster: &'f Node) -> Vec<Address<'f>> {
        let list = |node: Option<&'f Node>| node.map(Node::items).unwrap_or_default();
        let localities = list(cluster.envoy(&["load_assignment", "endpoints"])).iter();
        let endpoints = localities.flat_map(|locality| list(locality.envoy(&["lb_endpoints"])));
        let addresses = endpoints.filter_map(|endpoint| endpoint.envoy(&["endpoint", "address"]));
        addresses.filter_map(Address::of).collect()
    }
}

/// The last part of the type of a `typed_config`, `RedisProxy` for example, or an empty text.
pub fn type_of(filter: &Node) -> &str {
    let typed = filter.envoy(&["typed_config"]);
    let text = |key: &str| typed.and_then(|typed| typed.envoy(&[key])).and_then(Node::text);
    let url = text("@type").unwrap_or_default();
    let url = match url.ends_with(".TypedStruct") {
        true => text("type_url").unwrap_or_default(),
        false => url,
    };
    url.rsplit(['.', '/']).next().unwrap_or_default()
}
