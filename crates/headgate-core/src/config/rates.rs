//! `rates`: named rates; and the reader of rates in all fields.

use crate::config::error::suggestion;
use crate::config::node::Node;
use crate::config::scalar::{is_name, NAME_REMEDY};
use crate::config::shown::shown;
use crate::limit::Quota;

/// Named rates; `None` for an invalid one, so that references to it are not errors.
#[derive(Debug, Default)]
pub(super) struct Rates<'a>(Vec<(&'a str, Option<Quota>)>);

impl<'a> Rates<'a> {
    pub fn read(node: Option<Node<'a>>) -> Rates<'a> {
        let mut rates = Vec::new();
        for (name, node) in node.and_then(|node| node.entries()).unwrap_or_default() {
            if name == "unlimited" {
                node.fail_bare("is already the name of a rate; choose another name");
            } else if !is_name(name) {
                node.fail_bare(NAME_REMEDY);
            }
            let quota = text(&node).and_then(|text| parse(&node, text));
            rates.push((name, quota));
        }
        Rates(rates)
    }

    /// `N/period`, `unlimited` or a rate's name.
    pub fn quota(&self, node: &Node) -> Option<Quota> {
        let text = text(node)?.trim_matches(' ');
        if let Some((_, quota)) = self.0.iter().find(|(name, _)| *name == text) {
            return *quota;
        }
        if !is_name(text) || text == "unlimited" || text.bytes().all(|byte| byte.is_ascii_digit()) {
            return parse(node, text);
        }
        let known: Vec<&str> = self
            .0
            .iter()
            .map(|(name, _)| *name)
            .chain(["unlimited"])
            .collect();
        node.fail(&format!(
            "unknown rate; write N/period, such as 100/minute, or a name of rates{}",
            suggestion(text, &known)
        ));
        None
    }
}

fn text<'a>(node: &Node<'a>) -> Option<&'a str> {
    if node.value().is_number() {
        node.fail(&format!(
            "no period; write \"{}/minute\" or the like",
            shown(node.value())
        ));
        return None;
    }
    node.text("a rate such as 100/minute")
}

fn parse(node: &Node, text: &str) -> Option<Quota> {
    match Quota::parse(text) {
        Ok(quota) => Some(quota),
        Err(error) => {
            node.fail(&error.0);
            None
        }
    }
}
