//! Finds limits that can never apply although each of their fields is valid: what they match is exempt, another limit
//! always replaces them, or they count by client and match only callers without one.
//!
//! Reports only what is certain without analysing patterns; partial overlaps are not reported.

use crate::config::matching;
use crate::config::node::Node;
use crate::identify::{Source, SourceKind};
use crate::limit::{Enforce, KeyPart, Limit, Match};

/// Everything must have been read without an error; `node` is the list of limits.
pub(super) fn check(node: &Node, limits: &[Limit], exempt: &[Match], sources: &[Source]) {
    let nodes = node.items().unwrap_or_default();
    for (limit, node) in limits.iter().zip(&nodes) {
        if !limit.matches.is_empty() && covers(exempt, &limit.matches) {
            node.fail_bare("can never match: all that it matches is exempt; remove one of the two");
        }
    }
    let is_replaced = |index: usize| limits.iter().any(|limit| limit.replaces.contains(&index));
    for (index, (limit, node)) in limits.iter().zip(&nodes).enumerate() {
        // A limit that is itself replaced, or in shadow, replaces nothing.
        if limit.replaces.is_empty() || is_replaced(index) || limit.enforce != Enforce::Always {
            continue;
        }
        if !always_counts(limit, sources) {
            continue;
        }
        for target in limit.replaces.iter().filter_map(|target| limits.get(*target)) {
            let in_vain = limit.matches.is_empty()
                || (!target.matches.is_empty() && covers(&limit.matches, &target.matches));
            if let (true, Some(node)) = (in_vain, node.get("replaces")) {
                node.fail(&format!(
                    "{} can never apply: this limit replaces it wherever it matches; remove it, or narrow this limit's match",
                    target.name
                ));
            }
        }
    }
}

/// Whether every request that fits one of `inner` also fits one of `outer`.
fn covers(outer: &[Match], inner: &[Match]) -> bool {
    inner
        .iter()
        .all(|inner| outer.iter().any(|outer| matching::implies(inner, outer)))
}

/// Whether the limit counts every request that it matches: nothing in its key can be missing.
fn always_counts(limit: &Limit, sources: &[Source]) -> bool {
    let has_address = sources
        .iter()
        .any(|source| matches!(source.kind, SourceKind::Address { .. }));
    limit.key.iter().all(|part| match part {
        KeyPart::Client => has_address,
        KeyPart::Address | KeyPart::Path | KeyPart::Method | KeyPart::Host => true,
        KeyPart::Route | KeyPart::Header(_) | KeyPart::Query(_) | KeyPart::Cookie(_) => false,
    })
}
