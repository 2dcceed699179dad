//! Advice about limits that are valid and count less than their author meant.

use super::advice::Advice;
use super::document::Node;
use headgate_core::limit::{Cost, Limit, Override, Quota};

impl Advice<'_> {
    /// A limit whose counter never moves.
    pub(super) fn counts_nothing(&mut self, index: usize, limit: &Limit) {
        let denies_always = |quota: Quota| quota.limit() == Some(0);
        let quotas = || {
            limit
                .overrides
                .iter()
                .filter_map(Override::quota)
                .chain([limit.quota])
        };
        if limit.cost == Cost::Fixed(0) && !quotas().any(denies_always) {
            self.warn(
                &format!("limits[{index}].cost"),
                "0: no request is counted, so that the limit never denies; write 1 or more, leave it out (1), or exempt \
                 the requests",
            );
        }
        let has_live = limit.overrides.contains(&Override::Redis);
        if !has_live && quotas().all(|quota| quota == Quota::Unlimited) {
            self.warn(
                &format!("limits[{index}].rate"),
                "unlimited for everybody: the limit counts nothing; write a rate, or remove the limit",
            );
        }
    }

    /// A policy that is turned off.
    pub(super) fn turned_off(&mut self) {
        if !self.policy.enabled {
            self.warn(
                "enabled",
                "false: every request passes uncounted; write true, or leave it out",
            );
        }
    }

    /// In a policy a path is the whole path; in Envoy's routes one that ends in a slash is often a prefix.
    pub(super) fn paths_that_end_in_a_slash(&mut self) {
        let Some(tree) = self.found.content.tree() else {
            return;
        };
        let mut written = Vec::new();
        if let Some(exempt) = tree.get("exempt") {
            paths(exempt, "exempt", &mut written);
        }
        for (index, limit) in tree
            .get("limits")
            .map(Node::items)
            .unwrap_or_default()
            .iter()
            .enumerate()
        {
            if let Some(condition) = limit.get("match") {
                paths(condition, &format!("limits[{index}].match"), &mut written);
            }
        }
        for (at, path) in written {
            let whole = path.trim_end_matches('/');
            let message = match whole {
                _ if at.ends_with(".regex") => format!(
                    "{path:?}: fits no path, as a slash at the end is not part of one; leave it out, or write (/.*)? for all \
                     below as well"
                ),
                "" => "\"/\": the root alone, not every path; leave path out for every path (for the root alone write {regex: \
                       \"/\"})"
                    .to_owned(),
                _ => format!(
                    "{path:?}: {whole} alone, nothing below it; for all below write {whole}/**, for {whole} alone leave \
                     the slash out"
                ),
            };
            self.warn(&at, message);
        }
    }
}

/// The paths of a condition, or of a list of them, that end in a slash.
fn paths(condition: &Node, at: &str, written: &mut Vec<(String, String)>) {
    for (index, item) in condition.items().iter().enumerate() {
        paths(item, &format!("{at}[{index}]"), written);
    }
    for (keys, is_whole) in [(&["path"][..], false), (&["path", "regex"], true)] {
        let path = condition.at(keys).and_then(Node::text);
        if let Some(path) = path.filter(|path| path.ends_with('/') && !(is_whole && *path == "/")) {
            written.push((format!("{at}.{}", keys.join(".")), path.to_owned()));
        }
    }
    if let Some(not) = condition.get("not") {
        paths(not, &format!("{at}.not"), written);
    }
}
