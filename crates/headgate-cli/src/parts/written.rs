//! The text of a policy as a person wrote it, to embed it with its comments.

use super::part::Part;
use crate::document::{self, Kind, Node, Reader};
use saphyr_parser::{Event, Parser};

/// The text of a plain policy as a part of a configuration. Comments are kept, unless the text has anchors: their names
/// could be in use in the target document.
pub fn written(text: &str, node: &Node) -> Part {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let has_anchors = Parser::new_from_str(text).any(|event| match event {
        Ok((event, _)) => matches!(
            event,
            Event::Alias(_)
                | Event::Scalar(_, _, 1.., _)
                | Event::SequenceStart(1.., _)
                | Event::MappingStart(1.., _)
        ),
        Err(_) => true,
    });
    let lines = trimmed(body(text).lines().map(str::to_owned).collect());
    // A block scalar at the end may need its empty lines.
    let is_same = document::parse(&lines.join("\n"))
        .ok()
        .and_then(|documents| documents.into_iter().next())
        .is_some_and(|read| read.value(Reader::Envoy) == node.value(Reader::Envoy));
    match is_same && !has_anchors && !node.extent.is_flow {
        true => Part::Written {
            lines,
            node: node.clone(),
        },
        false => plain(node),
    }
}

/// The same tree without comments.
fn plain(node: &Node) -> Part {
    fn part(node: &Node) -> Part {
        match &node.kind {
            Kind::Scalar { .. } => match node.value(Reader::Envoy) {
                serde_json::Value::String(text) => Part::text(&text),
                other => Part::Scalar {
                    text: other.to_string(),
                    style: saphyr_parser::ScalarStyle::Plain,
                },
            },
            Kind::List(items) => Part::List {
                items: items.iter().map(part).collect(),
                is_flow: false,
            },
            Kind::Map(entries) => Part::Map {
                fields: entries
                    .iter()
                    .map(|entry| (entry.key.clone(), part(&entry.value)))
                    .collect(),
                is_flow: false,
            },
        }
    }
    part(node)
}

/// The text without directives, and without the marks of the document's beginning and end.
fn body(text: &str) -> &str {
    let mut from = 0;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let is_begin = line.trim_end() == "---" || line.starts_with("--- #");
        let end = offset + line.len();
        if is_begin {
            from = end;
        } else if line.trim_end() == "..." {
            return text.get(from..offset).unwrap_or_default();
        }
        offset = end;
    }
    text.get(from..).unwrap_or_default()
}

/// The text without empty lines at both ends.
fn trimmed(mut lines: Vec<String>) -> Vec<String> {
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
    let begin = lines.iter().position(|line| !line.trim().is_empty());
    lines.drain(..begin.unwrap_or(0));
    lines
}
