//! `key`: the parts of a limit's key.

use crate::config::error::suggestion;
use crate::config::node::Node;
use crate::config::scalar::is_token;
use crate::limit::KeyPart;

const WORDS: [&str; 9] = [
    "client",
    "address",
    "path",
    "method",
    "host",
    "route",
    "header:NAME",
    "query:NAME",
    "cookie:NAME",
];

/// The parts in their order; the client by default.
pub(super) fn read(node: Option<&Node>) -> Vec<KeyPart> {
    let Some(node) = node else {
        return vec![KeyPart::Client];
    };
    let Some(items) = node.items() else {
        return Vec::new();
    };
    if items.is_empty() {
        node.fail("an empty key; write its parts, or leave it out for [client]");
    }
    let mut parts = Vec::new();
    for item in &items {
        let Some(part) = read_part(item) else { continue };
        if parts.contains(&part) {
            item.fail("is duplicated; remove one");
        }
        parts.push(part);
    }
    parts
}

fn read_part(node: &Node) -> Option<KeyPart> {
    let text = node.text("a key part such as client or header:NAME")?;
    let part = match text.split_once(':') {
        None => match text {
            "client" => KeyPart::Client,
            "address" => KeyPart::Address,
            "path" => KeyPart::Path,
            "method" => KeyPart::Method,
            "host" => KeyPart::Host,
            "route" => KeyPart::Route,
            "header" | "query" | "cookie" => {
                node.fail(&format!("has no name; write {text}:NAME"));
                return None;
            }
            _ => return unknown(node, text),
        },
        Some(("header", name)) if is_token(name) => KeyPart::Header(name.to_ascii_lowercase()),
        Some(("cookie", name)) if is_token(name) => KeyPart::Cookie(name.to_owned()),
        Some(("query", name)) if !name.is_empty() && !name.chars().any(char::is_control) => {
            KeyPart::Query(name.to_owned())
        }
        Some((word @ ("header" | "query" | "cookie"), _)) => {
            node.fail(&format!("not a name; write {word}:NAME without spaces"));
            return None;
        }
        Some(_) => return unknown(node, text),
    };
    Some(part)
}

fn unknown(node: &Node, text: &str) -> Option<KeyPart> {
    node.fail(&format!("unknown key part{}", suggestion(text, &WORDS)));
    None
}
