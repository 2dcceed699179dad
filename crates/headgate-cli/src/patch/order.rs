//! Decides the position of Headgate in `http_filters`.
//!
//! Denied requests should cost as little work as possible, so Headgate is before authentication and other expensive
//! filters. It is after filters that must see its responses (`cors`, so that a web page may read a 429), and after
//! filters that answer requests of the platform (`health_check`, whose probes are not counted). If the policy
//! identifies clients by metadata, Headgate is directly after the filter that writes the metadata, because the metadata
//! does not exist before.

use super::path::Spot;
use headgate_core::config::Policy;
use headgate_core::identify::{Source, SourceKind};

/// Filters that belong in front of Headgate.
const IN_FRONT: [&str; 3] = ["cors", "health_check", "original_src"];

/// Filters that authenticate, or that run a program which may authenticate.
const AUTHENTICATION: [&str; 13] = [
    "jwt_authn",
    "ext_authz",
    "oauth2",
    "basic_auth",
    "api_key_auth",
    "rbac",
    "ext_proc",
    "lua",
    "wasm",
    "golang",
    "dynamic_modules",
    "composite",
    "match_delegate",
];

/// The position, its reason, and warnings about it.
pub struct Position {
    pub index: usize,
    /// For the report.
    pub why: String,
    pub warnings: Vec<String>,
}

/// The first step of each metadata path that identifies callers.
pub fn namespaces(policy: &Policy) -> Vec<String> {
    let mut found: Vec<String> = policy.identify.iter().flat_map(of_source).collect();
    found.dedup();
    found
}

fn of_source(source: &Source) -> Vec<String> {
    match &source.kind {
        SourceKind::Metadata(path) => path.first().cloned().into_iter().collect(),
        SourceKind::All(parts) => parts.iter().flat_map(of_source).collect(),
        _ => Vec::new(),
    }
}

pub fn position(filters: &[Spot<'_>], policy: &Policy) -> Position {
    let kinds: Vec<String> = filters.iter().map(kind).collect();
    let mut warnings = Vec::new();
    let mut writer: Option<usize> = None;
    for namespace in namespaces(policy) {
        match filters.iter().rposition(|filter| writes(filter, &namespace)) {
            Some(index) => writer = writer.max(Some(index)),
            None => warnings.push(format!(
                "the policy reads the metadata of {namespace}, which no filter before the router writes: such a source \
                 yields no client"
            )),
        }
    }
    if let Some(index) = writer {
        let name = name(filters, index);
        return Position {
            index: index + 1,
            why: format!("directly behind {name}, whose metadata the policy reads"),
            warnings,
        };
    }
    let first = kinds
        .iter()
        .position(|kind| AUTHENTICATION.contains(&kind.as_str()));
    let end = first.unwrap_or(kinds.len());
    let front = kinds
        .iter()
        .take(end)
        .rposition(|kind| IN_FRONT.contains(&kind.as_str()));
    let late = kinds.iter().skip(end).any(|kind| kind == "cors");
    if late {
        warnings.push(
            "cors is behind authentication in this chain, and so behind Headgate: pages of other origins cannot read a 429; \
             move cors to the front"
                .to_owned(),
        );
    }
    let index = front.map_or(0, |index| index + 1);
    let why = match (front, first) {
        (Some(front), _) => format!("behind {}, before {}", name(filters, front), name(filters, index)),
        (None, Some(first)) if first > 0 => format!("first, before {}", name(filters, first)),
        (None, _) => format!("first, before {}", name(filters, 0)),
    };
    Position { index, why, warnings }
}

fn name(filters: &[Spot<'_>], index: usize) -> String {
    let name = filters.get(index).and_then(|filter| filter.text(&["name"]));
    name.unwrap_or("the rest").to_owned()
}

/// The filter's kind, by its type or, without one, by its name: `jwt_authn`.
fn kind(filter: &Spot<'_>) -> String {
    let url = filter
        .field("typed_config")
        .map(|config| match config.type_url() {
            url if url.ends_with(".TypedStruct") => config.text(&["type_url"]).unwrap_or_default(),
            url => url,
        });
    // envoy.extensions.filters.http.KIND.v3.Message
    let by_type = url.and_then(|url| url.split("filters.http.").nth(1)?.split('.').next());
    let name = filter.text(&["name"]).unwrap_or_default();
    let by_name = name
        .strip_prefix("envoy.filters.http.")
        .or(name.strip_prefix("envoy."));
    by_type.or(by_name).unwrap_or(name).to_owned()
}

/// Whether a filter writes metadata with this namespace: its own name, or one that its configuration contains.
fn writes(filter: &Spot<'_>, namespace: &str) -> bool {
    let own = filter.text(&["name"]) == Some(namespace);
    let canonical = namespace.strip_prefix("envoy.filters.http.");
    own || canonical.is_some_and(|name| kind(filter) == name)
        || filter
            .field("typed_config")
            .is_some_and(|config| mentions(config.node, namespace))
}

fn mentions(node: &crate::document::Node, text: &str) -> bool {
    node.text().is_some_and(|own| own == text)
        || node.items().iter().any(|item| mentions(item, text))
        || node.entries().iter().any(|entry| mentions(&entry.value, text))
}
