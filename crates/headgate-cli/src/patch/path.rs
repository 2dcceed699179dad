//! Paths into a document's tree.

use crate::document::{camel_case, Node};
use std::fmt;

/// A position in a text, in characters.
pub type At = usize;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// The steps from a document's root; keys as they are in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path(pub Vec<Step>);

impl Path {
    pub fn key(&self, key: &str) -> Path {
        self.with(Step::Key(key.to_owned()))
    }

    pub fn index(&self, index: usize) -> Path {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Path {
        Path(self.0.iter().cloned().chain([step]).collect())
    }

    pub fn of<'n>(&self, root: &'n Node) -> Option<&'n Node> {
        self.0.iter().try_fold(root, |node, step| match step {
            Step::Key(key) => node.get(key),
            Step::Index(index) => node.items().get(*index),
        })
    }
}

/// The path as `headgate check` writes it.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if index > 0 => write!(f, ".{key}")?,
                Step::Key(key) => f.write_str(key)?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A value and where it is.
#[derive(Clone)]
pub struct Spot<'n> {
    pub path: Path,
    pub node: &'n Node,
}

impl<'n> Spot<'n> {
    pub fn root(node: &'n Node) -> Spot<'n> {
        Spot {
            path: Path::default(),
            node,
        }
    }

    /// A field of Envoy's, in snake case or in camel case.
    pub fn field(&self, name: &str) -> Option<Spot<'n>> {
        [name.to_owned(), camel_case(name)].into_iter().find_map(|key| {
            self.node.get(&key).map(|node| Spot {
                path: self.path.key(&key),
                node,
            })
        })
    }

    pub fn fields(&self, names: &[&str]) -> Option<Spot<'n>> {
        names.iter().try_fold(self.clone(), |spot, name| spot.field(name))
    }

    /// The elements of a list. Envoy reads a single object as a list with one element.
    pub fn items(&self) -> Vec<Spot<'n>> {
        if !self.node.entries().is_empty() {
            return vec![self.clone()];
        }
        let items = self.node.items().iter().enumerate();
        items
            .map(|(index, node)| Spot {
                path: self.path.index(index),
                node,
            })
            .collect()
    }

    /// The elements of a field; none if it is missing.
    pub fn list(&self, name: &str) -> Vec<Spot<'n>> {
        self.field(name).map(|spot| spot.items()).unwrap_or_default()
    }

    pub fn text(&self, names: &[&str]) -> Option<&'n str> {
        self.fields(names).and_then(|spot| spot.node.text())
    }

    /// The message type of a `typed_config`: its type URL without the prefix.
    pub fn type_url(&self) -> &'n str {
        self.node.get("@type").and_then(Node::text).unwrap_or_default()
    }
}
