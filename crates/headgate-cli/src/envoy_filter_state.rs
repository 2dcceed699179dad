//! Checks that the values of filter state which an HTTP connection manager prints (access log, spans, headers) are in
//! the `filter_state` of its policies. Only a connection manager in the same file is checked.

use super::document::{Kind, Node};
use super::envoy::Parsed;
use super::find::Found;
use super::report::{Report, Severity};
use headgate_core::config::Plugin;
use headgate_core::model::StateName;

pub fn check(plugins: &[Parsed<'_>], report: &mut Report) {
    let filters = || {
        plugins.iter().filter_map(|(found, plugin)| match plugin {
            Plugin::Filter(policy) => Some((*found, policy)),
            Plugin::RedisCall { .. } => None,
        })
    };
    for (found, _) in filters() {
        let Some(manager) = &found.manager else { continue };
        let is_beside = |other: &Found| {
            let at = other.manager.as_ref().map(|manager| &manager.at);
            other.document == found.document && at == Some(&manager.at)
        };
        let is_written =
            |name| filters().any(|(other, policy)| is_beside(other) && policy.filter_state.writes(name));
        let missing: Vec<&str> = StateName::ALL
            .into_iter()
            .filter(|name| !is_written(*name) && prints(&manager.node, *name))
            .map(StateName::as_str)
            .collect();
        if !missing.is_empty() {
            let names = missing.join(", ");
            let message = format!(
                "this connection manager prints {names}, which no instance in it writes; add what is wanted"
            );
            report.about(Severity::Warning, found, "filter_state", message);
        }
    }
}

/// Whether a text in the node prints this value, as in `%FILTER_STATE(wasm.ratelimit_by:PLAIN)%`.
fn prints(node: &Node, name: StateName) -> bool {
    match &node.kind {
        Kind::Scalar { text, .. } => {
            let printed = format!("FILTER_STATE(wasm.{}", name.as_str());
            text.split(&printed)
                .skip(1)
                .any(|rest| rest.starts_with([':', ')']))
        }
        Kind::List(items) => items.iter().any(|item| prints(item, name)),
        Kind::Map(entries) => entries.iter().any(|entry| prints(&entry.value, name)),
    }
}
