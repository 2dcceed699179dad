//! YAML and JSON files as trees. Every value has its line and column, so that an error can point at it.
//!
//! This module knows how Envoy and Kubernetes read a plain scalar. It does not know the fields of configurations.

pub use super::document_plain::plain;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The maximum number of values in a file. Values that aliases repeat are included, so that nested anchors cannot use
/// unlimited memory.
const MOST_VALUES: usize = 1_000_000;
/// The maximum nesting depth.
const DEEPEST: usize = 200;

/// A position in a file: line and column, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// A value and its position.
#[derive(Debug, Clone)]
pub struct Node {
    pub place: Place,
    pub extent: Extent,
    pub kind: Kind,
}

/// The range of the text that a value has. An alias has the extent of its anchor's value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// The position of the first character, from the beginning of the file. For a list in block style it may be after
    /// the first dash; for a block scalar it is below the key's line.
    pub from: usize,
    /// The position after the last character. For a block collection or a block scalar it is where the parser detected
    /// the end, which may be after blank lines and comments.
    pub to: usize,
    /// For a collection: whether it is written with brackets or braces.
    pub is_flow: bool,
    /// For an alias: the first and the last character of its name.
    pub alias: Option<(usize, usize)>,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Scalar {
        text: String,
        style: ScalarStyle,
    },
    List(Vec<Node>),
    /// In the order written.
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub key: String,
    pub key_place: Place,
    pub value: Node,
}

/// The program that will read the file. It decides what a plain scalar means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// `yes` and `on` are true; only whole numbers of 32 bits are numbers, `1.5` is text.
    Envoy,
    /// `yes` and `on` are true; `1.5` is a number.
    Kubernetes,
}

/// The error for a file that is not YAML.
#[derive(Debug)]
pub struct DocumentError {
    pub place: Place,
    pub message: String,
}

/// All documents of a YAML stream; JSON is YAML.
pub fn parse(text: &str) -> Result<Vec<Node>, DocumentError> {
    let mut loader = Loader {
        text: text.chars().collect(),
        ..Loader::default()
    };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => loader.take(event, span)?,
            Err(error) => {
                let marker = error.marker();
                return Err(DocumentError {
                    place: Place {
                        line: marker.line(),
                        column: marker.col() + 1,
                    },
                    message: format!("not YAML: {}", error.info()),
                });
            }
        }
    }
    Ok(loader.documents)
}

fn place(span: Span) -> Place {
    Place {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

/// A list or an object that is still open.
struct Open {
    node: Node,
    /// The position of the first character of its event.
    start: usize,
    anchor: usize,
    /// The key that waits for its value.
    key: Option<(String, Place)>,
}

#[derive(Default)]
struct Loader {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    values: usize,
    text: Vec<char>,
}

impl Loader {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), DocumentError> {
        let place = place(span);
        let extent = Extent {
            from: span.start.index(),
            to: span.end.index(),
            is_flow: false,
            alias: None,
        };
        let fail = |message: &str| {
            Err(DocumentError {
                place,
                message: message.to_owned(),
            })
        };
        self.values += 1;
        if self.values > MOST_VALUES || self.open.len() > DEEPEST {
            return fail("too large, or nested too deeply");
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let text = text.into_owned();
                let kind = Kind::Scalar { text, style };
                let to = self.end(extent, style);
                let extent = Extent { to, ..extent };
                let node = Node { place, extent, kind };
                self.close(node, anchor)
            }
            Event::SequenceStart(anchor, _) => self.begin(place, extent, Kind::List(Vec::new()), anchor),
            Event::MappingStart(anchor, _) => self.begin(place, extent, Kind::Map(Vec::new()), anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(mut open) = self.open.pop() {
                    // The end of a block has no character of its own. The text before a bracket is an anchor or a tag.
                    let own = &mut open.node.extent;
                    own.is_flow = extent.to > extent.from;
                    own.to = extent.from + usize::from(own.is_flow);
                    if own.is_flow {
                        let text = self.text.get(open.start..).unwrap_or_default();
                        own.from = open.start + text.iter().position(|c| "[{".contains(*c)).unwrap_or(0);
                    }
                    self.close(open.node, open.anchor);
                }
            }
            Event::Alias(anchor) => {
                let Some(mut node) = self.anchors.get(&anchor).cloned() else {
                    return fail("an alias without its anchor");
                };
                self.values += node.size();
                node.extent.alias = Some((extent.from, extent.to));
                self.close(node, 0)
            }
            _ => return Ok(()),
        }
        Ok(())
    }

    /// The position after a scalar's last character. For a scalar in quotes, the parser's end is after the white space
    /// and the comment that follow it.
    fn end(&self, extent: Extent, style: ScalarStyle) -> usize {
        let quote = match style {
            ScalarStyle::SingleQuoted => '\'',
            ScalarStyle::DoubleQuoted => '"',
            _ => return extent.to,
        };
        let text = self.text.get(extent.from..extent.to).unwrap_or_default();
        let mut at = text.iter().position(|c| *c == quote).unwrap_or(text.len()) + 1;
        while let Some(c) = text.get(at) {
            let is_escape = match quote {
                '"' => *c == '\\',
                _ => *c == quote && text.get(at + 1) == Some(&quote),
            };
            at += if is_escape { 2 } else { 1 };
            if *c == quote && !is_escape {
                break;
            }
        }
        extent.to.min(extent.from + at)
    }

    fn begin(&mut self, place: Place, extent: Extent, kind: Kind, anchor: usize) {
        // An anchor and a tag are part of the event.
        let start = extent.from;
        let from = extent.to;
        let extent = Extent { from, ..extent };
        let node = Node { place, extent, kind };
        self.open.push(Open {
            start,
            node,
            anchor,
            key: None,
        });
    }

    /// Adds a complete value to the open list or object, or to the documents.
    fn close(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return;
        };
        match (&mut open.node.kind, open.key.take()) {
            (Kind::List(items), _) => items.push(node),
            (Kind::Map(entries), Some((key, key_place))) => entries.push(Entry {
                key,
                key_place,
                value: node,
            }),
            (_, _) => open.key = Some((node.text().unwrap_or_default().to_owned(), node.place)),
        }
    }
}

impl Node {
    fn size(&self) -> usize {
        match &self.kind {
            Kind::Scalar { .. } => 1,
            Kind::List(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Kind::Map(entries) => 1 + entries.iter().map(|entry| entry.value.size()).sum::<usize>(),
        }
    }

    /// A scalar's text.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    pub fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The field's value. If the field is duplicated, the last one, as in Envoy.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()
            .iter()
            .rev()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// The value at the end of a path of fields.
    pub fn at(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The same for Envoy's fields, whose names may be in snake case or in camel case.
    pub fn envoy(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| {
            node.get(key).or_else(|| node.get(&camel_case(key)))
        })
    }

    /// Fields that are duplicated in one object, at any depth: their names and second places.
    pub fn repeated(&self) -> Vec<(&str, Place)> {
        let mut found = Vec::new();
        for (index, entry) in self.entries().iter().enumerate() {
            if self
                .entries()
                .iter()
                .take(index)
                .any(|other| other.key == entry.key)
            {
                found.push((entry.key.as_str(), entry.key_place));
            }
            found.extend(entry.value.repeated());
        }
        found.extend(self.items().iter().flat_map(Node::repeated));
        found
    }

    /// The value as JSON, with plain scalars read as the reader does.
    pub fn value(&self, reader: Reader) -> Value {
        match &self.kind {
            Kind::Scalar { text, style } if *style != ScalarStyle::Plain => Value::from(text.as_str()),
            Kind::Scalar { text, .. } => plain(text, reader),
            Kind::List(items) => items.iter().map(|item| item.value(reader)).collect(),
            Kind::Map(entries) => {
                let fields = entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.value(reader)));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    /// The place of a path such as `limits[2].rate` or `redis["odd name"]`: a field's key or an element's beginning. If
    /// the path does not exist completely, the place of the part that exists.
    pub fn locate(&self, path: &str) -> Place {
        let mut place = self.place;
        let mut here = self;
        for step in steps(path) {
            match step {
                PathStep::Field(name) => {
                    let Some(entry) = here.entries().iter().rev().find(|entry| entry.key == name) else {
                        break;
                    };
                    (place, here) = (entry.key_place, &entry.value);
                }
                PathStep::Element(index) => {
                    let Some(item) = here.items().get(index) else {
                        break;
                    };
                    (place, here) = (item.place, item);
                }
            }
        }
        place
    }
}

/// A field's other name in protobuf's JSON: `use_remote_address` is `useRemoteAddress`.
pub fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut text, word| {
        let (initial, rest) = word.split_at_checked(1).unwrap_or_default();
        text += &initial.to_ascii_uppercase();
        text + rest
    })
}

enum PathStep {
    Field(String),
    Element(usize),
}

/// The steps of a path as [`headgate_core::config::ConfigError::path`] has it.
fn steps(path: &str) -> Vec<PathStep> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if let Some(quoted) = rest.strip_prefix('[').filter(|rest| rest.starts_with('"')) {
            let mut names = serde_json::Deserializer::from_str(quoted).into_iter::<String>();
            let Some(Ok(name)) = names.next() else { break };
            let end = names.byte_offset() + 1; // the bracket
            steps.push(PathStep::Field(name));
            rest = quoted.get(end..).unwrap_or_default();
        } else if let Some((index, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let Ok(index) = index.parse() else { break };
            steps.push(PathStep::Element(index));
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (name, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            steps.push(PathStep::Field(name.to_owned()));
            rest = after;
        }
    }
    steps
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
