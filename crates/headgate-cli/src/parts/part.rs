//! A part of a configuration as a tree, and its text: in block style with the indentation of a file, or as one line of
//! JSON.

use crate::document::{self, Kind, Node, Reader};
use saphyr_parser::ScalarStyle;
use serde_json::{Map, Value};

/// A piece of configuration.
#[derive(Debug, Clone)]
pub enum Part {
    Scalar {
        text: String,
        style: ScalarStyle,
    },
    List {
        items: Vec<Part>,
        is_flow: bool,
    },
    /// In the order in which it is written.
    Map {
        fields: Vec<(String, Part)>,
        is_flow: bool,
    },
    /// Text that a person wrote, with its comments.
    Written {
        lines: Vec<String>,
        node: Node,
    },
}

/// How a file is indented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns of a nested object.
    pub indent: usize,
    /// The columns from a list's key to its dashes.
    pub dash: usize,
}

impl Default for Style {
    /// The indentation of the shipped configurations.
    fn default() -> Style {
        Style { indent: 2, dash: 0 }
    }
}

impl Part {
    /// A text as a scalar, with quotes if it needs them.
    pub fn text(text: &str) -> Part {
        let is_word = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "/.".contains(c))
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-._/+@".contains(c));
        let means_itself = [Reader::Envoy, Reader::Kubernetes]
            .into_iter()
            .all(|reader| document::plain(text, reader).as_str() == Some(text));
        Part::Scalar {
            text: text.to_owned(),
            style: match is_word && means_itself {
                true => ScalarStyle::Plain,
                false => ScalarStyle::DoubleQuoted,
            },
        }
    }

    pub fn number(number: u64) -> Part {
        Part::Scalar {
            text: number.to_string(),
            style: ScalarStyle::Plain,
        }
    }

    /// The tree of a YAML text. Scalars such as `$name` are replaced by the given parts.
    pub fn template(text: &str, fills: &[(&str, Part)]) -> Part {
        let node = document::parse(text)
            .ok()
            .and_then(|documents| documents.into_iter().next());
        node.map_or_else(|| Part::text(""), |node| Part::of(&node, fills))
    }

    fn of(node: &Node, fills: &[(&str, Part)]) -> Part {
        let is_flow = node.extent.is_flow;
        match &node.kind {
            Kind::Scalar { text, style } => {
                let fill = text
                    .strip_prefix('$')
                    .and_then(|name| fills.iter().find(|(key, _)| *key == name));
                match fill {
                    Some((_, part)) => part.clone(),
                    None => Part::Scalar {
                        text: text.clone(),
                        style: *style,
                    },
                }
            }
            Kind::List(items) => Part::List {
                items: items.iter().map(|item| Part::of(item, fills)).collect(),
                is_flow,
            },
            Kind::Map(entries) => Part::Map {
                fields: entries
                    .iter()
                    .map(|entry| (entry.key.clone(), Part::of(&entry.value, fills)))
                    .collect(),
                is_flow,
            },
        }
    }

    /// As Envoy reads it.
    pub fn value(&self) -> Value {
        match self {
            Part::Scalar { text, style } if *style == ScalarStyle::Plain => {
                document::plain(text, Reader::Envoy)
            }
            Part::Scalar { text, .. } => Value::from(text.as_str()),
            Part::List { items, .. } => items.iter().map(Part::value).collect(),
            Part::Map { fields, .. } => {
                let fields = fields.iter().map(|(key, part)| (key.clone(), part.value()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
            Part::Written { node, .. } => node.value(Reader::Envoy),
        }
    }

    /// One line of JSON, which is also valid YAML.
    pub fn json(&self) -> String {
        match self {
            Part::List { items, .. } => {
                let items: Vec<String> = items.iter().map(Part::json).collect();
                format!("[{}]", items.join(", "))
            }
            Part::Map { fields, .. } => {
                let one =
                    |(key, part): &(String, Part)| format!("{}: {}", Value::from(key.as_str()), part.json());
                let fields: Vec<String> = fields.iter().map(one).collect();
                format!("{{{}}}", fields.join(", "))
            }
            Part::Written { node, .. } => Part::of(node, &[]).json(),
            Part::Scalar { .. } => self.value().to_string(),
        }
    }

    /// The lines of an object's fields or of a list's elements, indented to `column`, with line feeds.
    pub fn block(&self, style: Style, column: usize) -> String {
        let mut lines = Vec::new();
        self.write(style, column, &mut lines);
        lines.into_iter().map(|line| line + "\n").collect()
    }

    fn write(&self, style: Style, column: usize, lines: &mut Vec<String>) {
        let space = " ".repeat(column);
        match self {
            Part::Map {
                fields,
                is_flow: false,
            } if !fields.is_empty() => {
                for (key, part) in fields {
                    part.write_field(key, style, column, lines);
                }
            }
            Part::List {
                items,
                is_flow: false,
            } if !items.is_empty() => {
                for item in items {
                    let mut inner = Vec::new();
                    item.write(style, column + 2, &mut inner);
                    if let Some(first) = inner.first_mut() {
                        *first = format!("{space}- {}", first.trim_start());
                    }
                    lines.append(&mut inner);
                }
            }
            Part::Written { lines: written, .. } => {
                lines.extend(written.iter().map(|line| match line.is_empty() {
                    true => String::new(),
                    false => format!("{space}{line}"),
                }))
            }
            _ => lines.push(format!("{space}{}", self.flow())),
        }
    }

    fn write_field(&self, key: &str, style: Style, column: usize, lines: &mut Vec<String>) {
        let name = format!("{}{}:", " ".repeat(column), Part::key(key));
        let inner = match self {
            Part::Map {
                fields,
                is_flow: false,
            } if !fields.is_empty() => column + style.indent,
            Part::List {
                items,
                is_flow: false,
            } if !items.is_empty() => column + style.dash,
            Part::Written { .. } => column + style.indent,
            _ => {
                lines.push(format!("{name} {}", self.flow()));
                return;
            }
        };
        lines.push(name);
        self.write(style, inner, lines);
    }

    /// The part on one line, in flow style, with quotes only if they are needed.
    pub fn flow(&self) -> String {
        match self {
            Part::Scalar { text, style } => match style {
                ScalarStyle::Plain => text.clone(),
                ScalarStyle::SingleQuoted => format!("'{}'", text.replace('\'', "''")),
                _ => Value::from(text.as_str()).to_string(),
            },
            Part::List { items, .. } => {
                let items: Vec<String> = items.iter().map(Part::flow).collect();
                format!("[{}]", items.join(", "))
            }
            Part::Map { fields, .. } => {
                let one = |(key, part): &(String, Part)| format!("{}: {}", Part::key(key), part.flow());
                let fields: Vec<String> = fields.iter().map(one).collect();
                format!("{{{}}}", fields.join(", "))
            }
            Part::Written { .. } => self.json(),
        }
    }

    fn key(key: &str) -> String {
        Part::text(key).flow()
    }
}

#[cfg(test)]
#[path = "part_tests.rs"]
mod tests;
