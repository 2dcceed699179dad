//! Checks whether a policy uses an address that the client can choose.
//!
//! That depends on the HTTP connection manager around the filter. Without `use_remote_address: true` Envoy believes
//! X-Forwarded-For, which any caller can send. Policies that do not use addresses are not checked. Files without a
//! connection manager are not checked either, because the settings around the filter are unknown.

use super::document::{Node, Reader};
use super::envoy::Parsed;
use super::find::EnclosingPart;
use super::report::{Report, Severity};
use headgate_core::config::{Plugin, Policy};
use headgate_core::identify::{Source, SourceKind};
use headgate_core::limit::{KeyPart, Override};
use serde_json::Value;

/// Checks each connection manager and each listener once, however many filters it has.
pub fn check(plugins: &[Parsed<'_>], report: &mut Report) {
    let mut judged = Vec::new();
    for (found, plugin) in plugins {
        let (Plugin::Filter(policy), Some(manager)) = (plugin, &found.manager) else {
            continue;
        };
        let Some(reliance) = reliance(policy) else {
            continue;
        };
        let mut is_new = |part: &EnclosingPart| {
            let name = (found.document, part.at.clone());
            !judged.contains(&name) && {
                judged.push(name);
                true
            }
        };
        let trust = Trust::of(&manager.node);
        if is_new(manager) {
            trusted(&trust, manager, &reliance, report);
        }
        // With the other kinds, the address comes from a header and does not depend on the connection.
        let by_connection = matches!(trust, Trust::Peer | Trust::Anyone);
        let listener = found.listener.as_ref().filter(|_| by_connection);
        if let Some(listener) = listener.filter(|listener| is_new(listener)) {
            unix_sockets(listener, report);
        }
    }
}

/// The source from which Envoy takes a client's address.
pub enum Trust {
    /// The connection.
    Peer,
    /// X-Forwarded-For: its Nth entry from the right, for N proxies in front of this Envoy.
    Hops,
    /// X-Forwarded-For: its entry N + 1 from the right, for N + 1 proxies.
    HopsAlone(u64),
    /// An extension.
    Detection,
    /// The last entry of X-Forwarded-For, if there is one.
    Anyone,
}

impl Trust {
    pub fn of(manager: &Node) -> Trust {
        let value = |name| manager.envoy(&[name]).map(|node| node.value(Reader::Envoy));
        // Protobuf's JSON accepts both as strings, too.
        let is_true = match value("use_remote_address") {
            Some(Value::Bool(flag)) => flag,
            Some(Value::String(text)) => text == "true",
            _ => false,
        };
        let hops = match value("xff_num_trusted_hops") {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        let extensions = manager.envoy(&["original_ip_detection_extensions"]);
        match (is_true, hops.unwrap_or(0)) {
            (true, 0) => Trust::Peer,
            (true, _) => Trust::Hops,
            (false, _) if extensions.is_some_and(|list| !list.items().is_empty()) => Trust::Detection,
            (false, 0) => Trust::Anyone,
            (false, hops) => Trust::HopsAlone(hops),
        }
    }
}

/// The first part of a policy that uses addresses, as text for the message.
fn reliance(policy: &Policy) -> Option<String> {
    let counts_clients = policy
        .limits
        .iter()
        .any(|limit| limit.key.contains(&KeyPart::Client));
    if counts_clients && policy.identify.iter().any(is_address) {
        return Some("callers are identified by their address".to_owned());
    }
    policy.limits.iter().find_map(|limit| {
        let has_network = |one: &Override| matches!(one, Override::Cidr { .. });
        if limit.key.contains(&KeyPart::Address) {
            Some(format!("{:?} counts by address", limit.name))
        } else if limit.overrides.iter().any(has_network) {
            Some(format!("{:?} has an override by address", limit.name))
        } else {
            None
        }
    })
}

fn is_address(source: &Source) -> bool {
    match &source.kind {
        SourceKind::Address { .. } => true,
        SourceKind::All(parts) => parts.iter().any(is_address),
        _ => false,
    }
}

fn trusted(trust: &Trust, manager: &EnclosingPart, reliance: &str, report: &mut Report) {
    let (severity, message) = match trust {
        Trust::Anyone => (
            Severity::Error,
            format!(
                "{reliance}, and callers choose it themselves: without use_remote_address: true Envoy takes the last \
                 entry of X-Forwarded-For, which anyone can send; write use_remote_address: true (behind N proxies of \
                 your own also xff_num_trusted_hops: N), or original_ip_detection_extensions"
            ),
        ),
        Trust::HopsAlone(hops) => (
            Severity::Warning,
            format!(
                "{reliance}: with xff_num_trusted_hops: {hops} and without use_remote_address: true, {} proxies of \
                 your own must be in front of this Envoy and append to X-Forwarded-For, or callers choose their \
                 address; with use_remote_address: true as well, it is for {hops}",
                hops.saturating_add(1)
            ),
        ),
        Trust::Peer | Trust::Hops | Trust::Detection => return,
    };
    report.outside(severity, manager.node.place, &manager.at, message);
}

/// A connection over a Unix socket has no address, unless the PROXY protocol provides one.
fn unix_sockets(listener: &EnclosingPart, report: &mut Report) {
    let filters = listener.node.envoy(&["listener_filters"]);
    let type_of = |filter: &Node| {
        let url = filter.envoy(&["typed_config", "@type"]).and_then(Node::text);
        url.unwrap_or_default().to_owned()
    };
    let has_proxy_protocol = filters
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .any(|filter| type_of(filter).ends_with(".ProxyProtocol"));
    if has_proxy_protocol {
        return;
    }
    let more = listener.node.envoy(&["additional_addresses"]);
    let more = more.map(Node::items).unwrap_or_default().iter();
    let addresses = more.chain([&listener.node]).filter_map(|one| one.get("address"));
    for pipe in addresses.filter_map(|address| address.get("pipe")) {
        report.outside(
            Severity::Warning,
            pipe.place,
            &listener.at,
            "a Unix socket: its connections have no address, so that limits with key: [address] count all callers \
             together, and callers identified by address are not a client; identify them otherwise, or listen on an IP \
             address",
        );
    }
}

#[cfg(test)]
#[path = "envoy_addresses_tests.rs"]
mod tests;
