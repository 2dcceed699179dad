//! Applies the changes to a document's tree, independently of the text, so that both results can be compared.

use super::change::{Change, ChangeKind};
use super::path::{At, Path, Step};
use crate::document::{plain, Kind, Node, Reader};
use crate::parts::Part;
use serde_json::Value;

/// The tree after the changes.
pub fn changed(node: &Node, changes: &[Change]) -> Value {
    rebuild(node, &Path::default(), changes)
}

fn rebuild(node: &Node, path: &Path, changes: &[Change]) -> Value {
    let mut value = match &node.kind {
        Kind::Scalar { .. } => node.value(Reader::Envoy),
        Kind::List(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(index, item)| rebuild(item, &path.index(index), changes))
                .collect()
        }
        Kind::Map(entries) => {
            let fields = entries.iter().map(|entry| {
                let value = rebuild(&entry.value, &path.key(&entry.key), changes);
                (entry.key.clone(), value)
            });
            Value::Object(fields.collect())
        }
    };
    // From the last to the first, so that the indices stay valid.
    let here = changes.iter().filter(|change| change.path == *path);
    let mut here: Vec<&Change> = here.collect();
    here.sort_by_key(|change| match &change.kind {
        ChangeKind::Items { index, .. } => std::cmp::Reverse(*index),
        _ => std::cmp::Reverse(0),
    });
    for change in here {
        match (&change.kind, &mut value) {
            (ChangeKind::Items { index, parts }, Value::Array(items)) => {
                let at = (*index).min(items.len());
                items.splice(at..at, parts.iter().map(Part::value));
            }
            (ChangeKind::Items { parts, .. }, Value::Null) => {
                value = parts.iter().map(Part::value).collect();
            }
            (ChangeKind::Fields { fields, .. }, Value::Object(object)) => {
                object.extend(fields.iter().map(|(key, part)| (key.clone(), part.value())));
            }
            (ChangeKind::Fields { fields, .. }, Value::Null) => {
                let fields = fields.iter().map(|(key, part)| (key.clone(), part.value()));
                value = Value::Object(fields.collect());
            }
            (ChangeKind::Scalar(text), value) => *value = plain(text, Reader::Envoy),
            (ChangeKind::Figures(figures), Value::String(text)) => {
                let body = text.trim_end_matches('\n');
                let tail = text.get(body.len()..).unwrap_or_default();
                *text = format!("{body} {figures}{tail}");
            }
            _ => {}
        }
    }
    value
}

/// The position of the first alias on a path, if there is one.
pub fn alias_on_the_way(root: &Node, path: &Path) -> Option<At> {
    let mut node = root;
    for step in &path.0 {
        node = match step {
            Step::Key(key) => node.get(key)?,
            Step::Index(index) => node.items().get(*index)?,
        };
        if let Some((from, _)) = node.extent.alias {
            return Some(from);
        }
    }
    None
}

/// The path of the first difference.
pub fn difference(one: &Value, other: &Value) -> String {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let keys = one.keys().chain(other.keys());
            let differs = |key: &&String| one.get(*key) != other.get(*key);
            let Some(key) = keys.into_iter().find(differs) else {
                return String::new();
            };
            let inner = one
                .get(key)
                .zip(other.get(key))
                .map(|(one, other)| difference(one, other));
            format!("{key}.{}", inner.unwrap_or_default())
        }
        (Value::Array(one), Value::Array(other)) => {
            let Some(index) =
                (0..one.len().max(other.len())).find(|index| one.get(*index) != other.get(*index))
            else {
                return String::new();
            };
            let inner = one
                .get(index)
                .zip(other.get(index))
                .map(|(one, other)| difference(one, other));
            format!("{index}.{}", inner.unwrap_or_default())
        }
        _ => String::new(),
    }
}
