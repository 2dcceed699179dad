//! Reads the message in which the plugin gets its configuration: its type, its text, its values.
//!
//! Envoy gives the plugin the text of a StringValue, the bytes of a BytesValue, and the binary encoding of every other
//! message. Of these other messages the plugin reads only a Struct. This module does not know the meaning of the
//! fields.

use super::document::{self, Kind, Node, Place};
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::Engine as _;
use headgate_core::config::{self, ConfigErrors, Plugin};
use saphyr_parser::ScalarStyle;

const REMEDY: &str = "write \"@type\": type.googleapis.com/google.protobuf.Struct, and the policy as value";

/// A configuration in the form in which the plugin gets it.
pub enum Content {
    /// Plain YAML.
    Tree(Node),
    /// A text, and its values if it is JSON.
    Bytes { bytes: Vec<u8>, tree: Option<Node> },
    /// A message that the plugin cannot read: the reason, and the values that were probably meant.
    Unreadable { why: String, meant: Option<Node> },
}

impl Content {
    /// A configuration as in Istio's resources: plain YAML, or a text.
    pub fn of(node: &Node) -> Content {
        let Kind::Scalar { text, style } = &node.kind else {
            return Content::Tree(node.clone());
        };
        let mut tree = tree_of(text);
        // The place of a block scalar is its first line, below the `|`.
        if let Some(tree) = &mut tree {
            match style {
                ScalarStyle::Literal | ScalarStyle::Folded => shift(tree, node.place.line.saturating_sub(1)),
                _ => pin(tree, node.place),
            }
        }
        Content::Bytes {
            bytes: text.clone().into_bytes(),
            tree,
        }
    }

    /// No configuration at all, at this place.
    pub fn none(place: Place) -> Content {
        let kind = Kind::Map(Vec::new());
        let extent = document::Extent::default();
        Content::Tree(Node { place, extent, kind })
    }

    /// The content of Envoy's `configuration`, which is a `google.protobuf.Any`.
    pub fn of_any(any: &Node) -> Content {
        let value = any.get("value");
        let refused = |why: String| Content::Unreadable {
            why,
            meant: value.cloned(),
        };
        let Some(url) = any.get("@type").and_then(Node::text) else {
            return refused(format!("has no \"@type\", so that Envoy refuses it; {REMEDY}"));
        };
        let kind = url.rsplit(['/', '.']).next().unwrap_or_default();
        let is_text = value.is_some_and(|value| value.text().is_some());
        match (kind, value) {
            ("Struct" | "StringValue" | "BytesValue", None) => Content::none(any.place),
            ("Struct", Some(_)) if is_text => refused(
                "a google.protobuf.Struct holds an object, and this is a text, so that Envoy refuses it; write the \
                 fields below value: without a bar and without quotes"
                    .to_owned(),
            ),
            ("Struct", Some(value)) => Content::Tree(value.clone()),
            ("StringValue" | "BytesValue", Some(_)) if !is_text => refused(format!(
                "a google.protobuf.{kind} must be a text, and this value is not one, so Envoy refuses it; {REMEDY}"
            )),
            ("StringValue", Some(value)) => Content::of(value),
            ("BytesValue", Some(value)) => of_base64(value),
            _ => refused(format!(
                "{url}: Envoy hands the filter the encoding of this message, of which the filter reads a Struct alone; \
                 {REMEDY}"
            )),
        }
    }

    pub fn tree(&self) -> Option<&Node> {
        match self {
            Content::Tree(tree) => Some(tree),
            Content::Bytes { tree, .. } => tree.as_ref(),
            Content::Unreadable { meant, .. } => meant.as_ref(),
        }
    }

    /// Parses the configuration as the plugin does.
    pub fn parse(&self, reader: document::Reader) -> Result<Plugin, ConfigErrors> {
        match self {
            Content::Tree(tree) => config::parse_value(&tree.value(reader)),
            Content::Bytes { bytes, .. } => config::parse(bytes),
            Content::Unreadable { why, .. } => Err(ConfigErrors::at("", why)),
        }
    }
}

/// A BytesValue: base64. Protobuf's JSON accepts both alphabets, with or without padding.
fn of_base64(value: &Node) -> Content {
    let written = value.text().unwrap_or_default().trim_end_matches('=');
    let Ok(bytes) = STANDARD_NO_PAD.decode(written.replace('-', "+").replace('_', "/")) else {
        return Content::Unreadable {
            why: format!("a google.protobuf.BytesValue must be base64, and this value is not, so Envoy refuses it; {REMEDY}"),
            meant: None,
        };
    };
    let mut tree = std::str::from_utf8(&bytes).ok().and_then(tree_of);
    if let Some(tree) = &mut tree {
        pin(tree, value.place);
    }
    Content::Bytes { bytes, tree }
}

fn tree_of(text: &str) -> Option<Node> {
    document::parse(text)
        .ok()
        .and_then(|documents| documents.into_iter().next())
}

/// Moves all places in a tree down by `lines`.
fn shift(node: &mut Node, lines: usize) {
    place_all(node, &mut |place| place.line += lines);
}

/// Sets all places in a tree to `at`: the places within the decoded text do not exist in the file.
fn pin(node: &mut Node, at: Place) {
    place_all(node, &mut |place| *place = at);
}

fn place_all(node: &mut Node, change: &mut impl FnMut(&mut Place)) {
    change(&mut node.place);
    match &mut node.kind {
        Kind::Scalar { .. } => {}
        Kind::List(items) => items.iter_mut().for_each(|item| place_all(item, change)),
        Kind::Map(entries) => {
            for entry in entries {
                change(&mut entry.key_place);
                place_all(&mut entry.value, change);
            }
        }
    }
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
