//! A shipped manifest in which parts are replaced. The text is edited by lines; everything else is kept, comments
//! included.

use crate::document::{self, Node, Reader};
use crate::find::{self, FilterKind};
use crate::parts::{self, Names, Part, Style};
use crate::redis_options::Redis;
use crate::Failure;

/// The name of the cluster whose endpoint is the guard, in all manifests.
pub(super) const REDIS_CALL: &str = "redis_call";

pub(super) struct Template {
    pub text: String,
    /// For errors.
    name: &'static str,
}

impl Template {
    pub fn new(name: &'static str, text: &str) -> Template {
        Template {
            text: text.to_owned(),
            name,
        }
    }

    fn fail(&self, what: &str) -> Failure {
        Failure::new(format!("internal error: {} has no {what}", self.name))
    }

    /// Replaces a text that must be in the manifest.
    pub fn replace(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        if !self.text.contains(from) {
            return Err(self.fail(from));
        }
        self.text = self.text.replace(from, to);
        Ok(())
    }

    /// Removes the lines that have this text.
    pub fn remove_lines(&mut self, with: &str) -> Result<(), Failure> {
        if !self.text.contains(with) {
            return Err(self.fail(with));
        }
        let kept = self
            .text
            .split_inclusive('\n')
            .filter(|line| !line.contains(with));
        self.text = kept.collect();
        Ok(())
    }

    /// Removes a paragraph: the lines from the one with this text to the next empty line.
    pub fn remove_paragraph(&mut self, first: &str) -> Result<(), Failure> {
        let paragraphs: Vec<&str> = self.text.split("\n\n").collect();
        let is_it = |text: &&str| text.lines().next() == Some(first);
        if !paragraphs.iter().any(is_it) {
            return Err(self.fail(first));
        }
        let mut kept = paragraphs
            .into_iter()
            .filter(|text| !is_it(text))
            .collect::<Vec<_>>()
            .join("\n\n");
        if !kept.ends_with('\n') {
            kept.push('\n');
        }
        self.text = kept;
        Ok(())
    }

    /// Adds a line below the line with this text, with the same indentation.
    pub fn add_below(&mut self, with: &str, line: &str) -> Result<(), Failure> {
        let found = self
            .text
            .lines()
            .find(|line| line.contains(with))
            .map(str::to_owned);
        let Some(found) = found else {
            return Err(self.fail(with));
        };
        let space = &found[..found.len() - found.trim_start().len()];
        self.replace(&format!("{found}\n"), &format!("{found}\n{space}{line}\n"))
    }

    /// Replaces the policy of the filter.
    pub fn policy(&mut self, policy: &Part) -> Result<(), Failure> {
        let file = find::find(&self.text, false).map_err(|error| self.fail(&error.message))?;
        let filter = file
            .found
            .iter()
            .find(|found| found.filter == Some(FilterKind::Http));
        let node = filter.and_then(|found| found.content.tree()).cloned();
        let node = node.ok_or_else(|| self.fail("policy"))?;
        self.block(&node, policy);
        Ok(())
    }

    /// Replaces the key prefix that the guard allows.
    pub fn key_prefix(&mut self, prefix: &str) -> Result<(), Failure> {
        let to = format!("redis: {{key_prefix: {}}}}}", Part::text(prefix).flow());
        self.replace("redis: {key_prefix: ratelimit}}", &to)
    }

    /// The cluster that leads to Redis.
    pub fn redis(&mut self, redis: &Redis) -> Result<(), Failure> {
        let documents = document::parse(&self.text).map_err(|error| self.fail(&error.message))?;
        let names = Names::default();
        let is_cluster = |node: &Node| {
            node.get("load_assignment").is_some()
                && node.get("name").and_then(Node::text) == Some(&names.redis)
        };
        let node = documents
            .iter()
            .find_map(|root| search(root, &is_cluster))
            .cloned();
        let node = node.ok_or_else(|| self.fail("cluster of Redis"))?;
        let part = parts::redis_cluster(&names, redis);
        // If the cluster is already the same, it is kept with its comments.
        if part.value() != node.value(Reader::Envoy) {
            self.block(&node, &part);
        }
        Ok(())
    }

    /// Replaces the block of a node.
    fn block(&mut self, node: &Node, part: &Part) {
        let (first, column) = (
            node.place.line.saturating_sub(1),
            node.place.column.saturating_sub(1),
        );
        let lines: Vec<&str> = self.text.split_inclusive('\n').collect();
        let is_outside = |line: &&str| {
            let indent = line.len() - line.trim_start().len();
            !line.trim().is_empty() && indent < column
        };
        let rest = lines.get(first + 1..).unwrap_or_default();
        let length = 1 + rest.iter().position(is_outside).unwrap_or(rest.len());
        let mut block = part.block(Style::default(), column);
        // The text before the block in its first line, such as the dash of a list.
        let start = lines
            .get(first)
            .and_then(|line| line.get(..column))
            .unwrap_or_default();
        if !start.trim().is_empty() {
            block = format!("{start}{}", block.trim_start());
        }
        let before = lines.get(..first).unwrap_or_default().concat();
        let after = lines.get(first + length..).unwrap_or_default().concat();
        self.text = before + &block + &after;
    }
}

/// The first node, in document order, that meets the condition.
fn search<'n>(node: &'n Node, is: &impl Fn(&Node) -> bool) -> Option<&'n Node> {
    if is(node) {
        return Some(node);
    }
    let values = node.entries().iter().map(|entry| &entry.value);
    values.chain(node.items()).find_map(|inner| search(inner, is))
}
