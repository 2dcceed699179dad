//! What the contract has and this release does not do yet: refused where it is written, never ignored.
//!
//! When a feature lands, its line is removed here; nothing else of the configuration changes.

use crate::config::node::Node;
use crate::config::shown::shown;
use serde_json::Value;

/// A path (`[]`: each element of a list) and the values (as JSON) that are built; anything else is refused.
type Unbuilt = (&'static str, &'static [&'static str]);

const UNBUILT: &[Unbuilt] = &[("limits[].lease", &[r#""0%""#])];

/// Reports what is written and not built; not where something else is wrong already.
pub(super) fn refuse(root: &Node) {
    for (path, built) in UNBUILT {
        refuse_at(root, path, built);
    }
}

fn refuse_at(node: &Node, path: &str, built: &[&str]) {
    if let Some(path) = path.strip_prefix("[]") {
        if let Value::Array(_) = node.value() {
            let items = node.one_or_items();
            items
                .iter()
                .for_each(|item| refuse_at(item, path.trim_start_matches('.'), built));
        }
    } else if path.is_empty() {
        let is_built = built.contains(&shown(node.value()).as_str());
        if !is_built && node.is_sound() {
            node.fail_bare("not supported yet");
        }
    } else {
        let end = path.find(['.', '[']).unwrap_or(path.len());
        let (name, rest) = path.split_at_checked(end).unwrap_or((path, ""));
        if let Some(node) = node.get(name) {
            refuse_at(&node, rest.trim_start_matches('.'), built);
        }
    }
}
