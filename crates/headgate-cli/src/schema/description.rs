//! Reads the description and the default of each field from the tables of `docs/configuration.md`.

use crate::document::{self, Reader};
use serde_json::Value;
use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../../../docs/configuration.md");

/// A row of the reference.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// The meaning, then the range, then a default that is not a plain value.
    pub text: String,
    pub default: Option<Value>,
}

/// The rows by the field's path, such as `limits[].rate`. The first cell of a table's header is the object, and the
/// first cell of each row is the field.
pub(super) fn rows() -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    let mut object: Option<String> = None;
    for line in PAGE.lines() {
        let Some(cells) = cells(line) else {
            object = None;
            continue;
        };
        let [first, kind, default, range, meaning] = cells.as_slice() else {
            continue;
        };
        let first = first.trim_matches('`');
        match &object {
            _ if kind == "type" => {
                object = Some(if first == "field" {
                    String::new()
                } else {
                    first.to_owned()
                })
            }
            Some(object) if !first.starts_with("---") => {
                rows.insert(join(object, first), row(default, range, meaning));
            }
            _ => {}
        }
    }
    rows
}

/// The path of an object's field.
pub(super) fn join(object: &str, field: &str) -> String {
    match object {
        "" => field.to_owned(),
        _ => format!("{object}.{field}"),
    }
}

/// A table row's cells as plain text.
fn cells(line: &str) -> Option<Vec<String>> {
    // A pipe within a cell is written `\|`.
    let line = line.replace("\\|", "\u{0}");
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(
        inner
            .split('|')
            .map(|cell| without_links(cell.trim()).replace('\u{0}', "|"))
            .collect(),
    )
}

fn row(default: &str, range: &str, meaning: &str) -> Row {
    let code = default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
    let value = code.filter(|code| !code.contains('`')).and_then(value);
    let mut text = meaning.to_owned();
    let mut add = |label: &str, cell: &str| {
        if !cell.is_empty() {
            let separator = if text.is_empty() || text.ends_with('.') {
                ""
            } else {
                "."
            };
            text = format!("{text}{separator} {label}: {cell}.")
                .trim_start()
                .to_owned();
        }
    };
    add("Range", range);
    // `required` is part of the schema itself, and `see …` refers to fields with their own descriptions.
    if value.is_none() && default != "required" && !default.starts_with("see ") {
        add("Default", default);
    }
    Row { text, default: value }
}

/// A value as it is written in a policy.
fn value(text: &str) -> Option<Value> {
    let documents = document::parse(text).ok()?;
    documents.first().map(|node| node.value(Reader::Envoy))
}

/// `[text](target)` as `text`.
fn without_links(cell: &str) -> String {
    let mut text = String::new();
    let mut rest = cell;
    while let Some((before, after)) = rest.split_once("](") {
        let (Some((start, label)), Some((_, end))) = (before.rsplit_once('['), after.split_once(')')) else {
            break;
        };
        text = text + start + label;
        rest = end;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_has_its_meaning_range_and_default() {
        let rows = rows();
        assert_eq!(rows["redis.max_in_flight"].default, Some(json!(4096)));
        assert_eq!(
            rows["identify"].default,
            Some(json!([{"header": "x-api-key"}, {"address": {}}]))
        );
        let source = &rows["identify[].extract"];
        assert_eq!(source.default, None);
        assert_eq!(
            source.text,
            "it must match the whole value; the group is the client. Range: exactly one group; not for `all` and `address`. \
             Default: the whole value."
        );
        assert!(rows["redis.native.service"].text.contains("outbound|port||name"));
        assert!(
            !rows.values().any(|row| row.text.contains("](")),
            "no links are left"
        );
    }
}
