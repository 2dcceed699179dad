//! Checks the filter's position among the HTTP filters: it must be before the router, and after the filters whose
//! metadata its policy reads.
//!
//! This is checked only if the file has the complete HTTP connection manager. Filters whose configuration comes by
//! discovery, and filters that may write any metadata (Lua, ext_proc, wasm and others), are assumed to write the
//! metadata.

use super::document::{Kind, Node};
use super::envoy::Parsed;
use super::envoy_parts::type_of;
use super::find::{FilterKind, Found};
use super::report::{Report, Severity};
use headgate_core::config::{Plugin, Policy};
use headgate_core::identify::{Source, SourceKind};

/// The metadata namespace of jwt_authn, which the source `jwt` of a policy reads.
const JWT: &str = "envoy.filters.http.jwt_authn";

/// Envoy's built-in filters that write no metadata, or write it only under their own name.
const WRITE_NO_OTHER: [&str; 20] = [
    "BasicAuth",
    "Buffer",
    "Compressor",
    "Cors",
    "CsrfPolicy",
    "Decompressor",
    "ExtAuthz",
    "FaultInject",
    "GrpcJsonTranscoder",
    "GrpcStats",
    "GrpcWeb",
    "HTTPFault",
    "HealthCheck",
    "JwtAuthentication",
    "LocalRateLimit",
    "OAuth2",
    "OnDemand",
    "RBAC",
    "RateLimit",
    "Router",
];

pub fn check(plugins: &[Parsed<'_>], report: &mut Report) {
    for (found, plugin) in plugins {
        let Plugin::Filter(policy) = plugin else { continue };
        phase(found, policy, report);
        let Some(chain) = Chain::of(found) else { continue };
        chain.router(found, report);
        chain.disabled(found, report);
        for (path, metadata) in metadata(policy) {
            chain.writer(found, &path, metadata, report);
        }
    }
}

/// The HTTP filters of a chain; Headgate's is at the index `own`.
struct Chain<'f> {
    filters: &'f [Node],
    own: usize,
}

impl<'f> Chain<'f> {
    fn of(found: &'f Found) -> Option<Chain<'f>> {
        let manager = found
            .manager
            .as_ref()
            .filter(|_| found.filter == Some(FilterKind::Http))?;
        let rest = found.at.strip_prefix(&manager.at)?;
        let (list, rest) = rest.strip_prefix('.')?.split_once('[')?;
        let own = rest.split_once(']')?.0.parse().ok()?;
        let filters = manager
            .node
            .envoy(&["http_filters"])
            .filter(|_| ["http_filters", "httpFilters"].contains(&list))?;
        Some(Chain {
            filters: filters.items(),
            own,
        })
    }

    fn before(&self) -> &'f [Node] {
        self.filters.get(..self.own).unwrap_or_default()
    }

    fn after(&self) -> &'f [Node] {
        self.filters.get(self.own + 1..).unwrap_or_default()
    }

    fn router(&self, found: &Found, report: &mut Report) {
        let is_router = |filter: &Node| type_of(filter) == "Router";
        let message = if self.before().iter().any(is_router) {
            "the filter behind the router, which answers every request before it is counted (Envoy refuses this); put \
             envoy.filters.http.router last"
        } else if self.after().is_empty() {
            "no filter behind this one, so that no request goes anywhere (Envoy refuses this); put \
             envoy.filters.http.router last"
        } else {
            return;
        };
        report.outside(Severity::Error, found.place, &found.at, message);
    }

    /// Reports a filter that is active only on routes that enable it.
    fn disabled(&self, found: &Found, report: &mut Report) {
        let own = self
            .filters
            .get(self.own)
            .and_then(|filter| filter.get("disabled"));
        if let Some(flag) = own.filter(|flag| flag.text() == Some("true")) {
            let message = "disabled: true: the filter is left out on every route that does not turn it on, and counts nothing \
                           there; leave it out (the policy's match says where limits hold)";
            report.outside(Severity::Warning, flag.place, &found.at, message);
        }
    }

    /// Checks that a filter before Headgate's writes this metadata.
    fn writer(&self, found: &Found, path: &str, metadata: &[String], report: &mut Report) {
        let Some(namespace) = metadata.first() else { return };
        let writes = |filter: &&Node| is_writer(filter, namespace);
        if let Some(writer) = self.before().iter().find(writes) {
            if type_of(writer) == "JwtAuthentication" && namespace == JWT {
                payload(found, path, metadata, writer, report);
            }
            return;
        }
        let may_write = |filter: &Node| !WRITE_NO_OTHER.contains(&type_of(filter));
        let message = if self.after().iter().any(|filter| is_writer(filter, namespace)) {
            format!(
                "the metadata of {namespace} is written by a filter behind this one, so it is not there yet, and identifies no \
                 client; put this filter behind that one (a second instance in front of it limits floods: \
                 envoy/two-stage.yaml)"
            )
        } else if self.before().iter().any(may_write) {
            return;
        } else {
            format!(
                "no filter in front of this one writes metadata of {namespace}, so it identifies no client; add the \
                 filter that does, in front of this one"
            )
        };
        report.about(Severity::Error, found, path, message);
    }
}

/// Whether the type, the name or the configuration of a filter contains this namespace.
fn is_writer(filter: &Node, namespace: &str) -> bool {
    let by_type = match type_of(filter) {
        "JwtAuthentication" => namespace == JWT,
        "ExtAuthz" => namespace == "envoy.filters.http.ext_authz",
        "RBAC" => namespace == "envoy.filters.http.rbac",
        _ => false,
    };
    by_type || mentions(filter, namespace)
}

fn mentions(node: &Node, text: &str) -> bool {
    match &node.kind {
        Kind::Scalar { text: own, .. } => own == text,
        Kind::List(items) => items.iter().any(|item| mentions(item, text)),
        Kind::Map(entries) => entries
            .iter()
            .any(|entry| entry.key == text || mentions(&entry.value, text)),
    }
}

/// The key under which jwt_authn writes the claims.
fn payload(found: &Found, path: &str, metadata: &[String], jwt_authn: &Node, report: &mut Report) {
    let providers = jwt_authn
        .envoy(&["typed_config", "providers"])
        .map(Node::entries)
        .unwrap_or_default();
    let keys = providers.iter().filter_map(|provider| {
        let key = |name| provider.value.envoy(&[name]).and_then(Node::text);
        key("payload_in_metadata").or(key("header_in_metadata"))
    });
    let keys: Vec<&str> = keys.collect();
    let wanted = metadata.get(1).map(String::as_str).unwrap_or_default();
    if providers.is_empty() || keys.contains(&wanted) {
        return;
    }
    let message = match keys.first() {
        None => format!(
            "jwt_authn writes no claims into metadata, so they identify no client; write payload_in_metadata: \
             {wanted} into its provider"
        ),
        Some(key) => format!(
            "jwt_authn writes the claims under {key:?} (payload_in_metadata), and this reads {wanted:?}; write the same in \
             both"
        ),
    };
    report.about(Severity::Error, found, path, message);
}

/// Istio puts filters of this phase in front of authentication.
fn phase(found: &Found, policy: &Policy, report: &mut Report) {
    if found.phase.as_deref() != Some("AUTHN") {
        return;
    }
    let is_jwt =
        |(_, metadata): &(String, &[String])| metadata.first().is_some_and(|namespace| namespace == JWT);
    if let Some((path, _)) = metadata(policy).into_iter().find(is_jwt) {
        let message =
            "phase: AUTHN is in front of authentication, where no token has been verified, so it identifies \
                       no client; write phase: AUTHZ";
        report.about(Severity::Error, found, &path, message);
    }
}

/// All metadata that the policy reads: the path in the policy, and the metadata path, which begins with the namespace.
fn metadata(policy: &Policy) -> Vec<(String, &[String])> {
    fn of_source<'p>(source: &'p Source, path: String, all: &mut Vec<(String, &'p [String])>) {
        match &source.kind {
            SourceKind::Metadata(metadata) => all.push((path, metadata)),
            SourceKind::All(parts) => {
                for (index, part) in parts.iter().enumerate() {
                    of_source(part, format!("{path}.all[{index}]"), all);
                }
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    for (index, source) in policy.identify.iter().enumerate() {
        of_source(source, format!("identify[{index}]"), &mut all);
    }
    all
}

#[cfg(test)]
#[path = "envoy_chain_tests.rs"]
mod tests;
