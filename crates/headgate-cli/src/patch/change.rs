//! The changes of a document: each as an edit of its text and as a change of its tree.
//!
//! The text is edited at positions that the parser reports; it is never written anew from the tree. The tree is changed
//! separately, so that the parsed new text can be compared with it.

use super::marks;
use super::path::{At, Path};
use super::source::{Edit, Source};
use crate::document::{Kind, Node, Reader};
use crate::parts::{Part, Style};
use saphyr_parser::ScalarStyle;
use serde_json::Value;

/// One change of a document; the report has one line for it.
#[derive(Debug, Clone)]
pub struct Change {
    pub path: Path,
    pub kind: ChangeKind,
    /// For the report: "added HTTP filter headgate".
    pub report: String,
    /// For the comment around it.
    pub mark: String,
}

#[derive(Debug, Clone)]
pub enum ChangeKind {
    /// New elements of the list, before the element with this index.
    Items { index: usize, parts: Vec<Part> },
    /// New fields of the object, before this field if it exists.
    Fields {
        before: Option<String>,
        fields: Vec<(String, Part)>,
    },
    /// A different scalar, written without quotes.
    Scalar(String),
    /// Text that is added at the end of a text.
    Figures(String),
}

/// Why a place cannot be edited.
pub struct Obstacle {
    pub at: At,
    pub message: String,
}

/// A text, and the tree whose positions are used to edit it.
pub struct Editor<'s> {
    pub source: &'s Source,
    pub root: &'s Node,
    pub style: Style,
}

impl Editor<'_> {
    /// The edits of the text for one change.
    pub fn edits(&self, change: &Change) -> Result<Vec<Edit>, Obstacle> {
        let node = change.path.of(self.root);
        let Some(node) = node else {
            return Err(self.obstacle(0, format!("{} is not in the file", change.path)));
        };
        match &change.kind {
            ChangeKind::Items { index, parts } => {
                self.items(change, node, *index, parts).map(|edit| vec![edit])
            }
            ChangeKind::Fields { before, fields } => self
                .fields(change, node, before.as_deref(), fields)
                .map(|edit| vec![edit]),
            ChangeKind::Scalar(text) => self.scalar(change, node, text),
            ChangeKind::Figures(text) => self.figures(change, node, text),
        }
    }

    fn obstacle(&self, at: At, message: String) -> Obstacle {
        Obstacle { at, message }
    }

    fn items(&self, change: &Change, list: &Node, index: usize, parts: &[Part]) -> Result<Edit, Obstacle> {
        let before = list.items().get(index);
        if is_null(list) {
            let null = list;
            let list = Part::List {
                items: parts.to_vec(),
                is_flow: false,
            };
            return self.fill(change, null, self.style.dash, "[]", &list);
        }
        if list.extent.is_flow {
            let texts: Vec<String> = parts.iter().map(Part::json).collect();
            // The position of an alias is the position of its name.
            let at = before.map(|node| {
                self.before_properties(node.extent.alias.map_or(node.extent.from, |alias| alias.0))
            });
            return Ok(self.flow(change, list, at, &texts));
        }
        let Some(before) = before.or(list.items().first()) else {
            return Err(self.obstacle(
                list.extent.from,
                format!(
                    "{} is one object and no list; write a dash before it",
                    change.path
                ),
            ));
        };
        let at = before.extent.alias.map_or(before.extent.from, |alias| alias.0);
        let Some(line) = self.dash(at) else {
            return Err(self.obstacle(
                at,
                "an element of a list that does not begin on a line of its own".to_owned(),
            ));
        };
        let list = Part::List {
            items: parts.to_vec(),
            is_flow: false,
        };
        let column = self.source.indent(line);
        Ok(self.block(change, self.above_comments(line, column), column, &list))
    }

    fn fields(
        &self,
        change: &Change,
        map: &Node,
        before: Option<&str>,
        fields: &[(String, Part)],
    ) -> Result<Edit, Obstacle> {
        if is_null(map) {
            let part = Part::Map {
                fields: fields.to_vec(),
                is_flow: false,
            };
            return self.fill(change, map, self.style.indent, "{}", &part);
        }
        let entries = map.entries();
        let wanted = entries
            .iter()
            .position(|entry| Some(entry.key.as_str()) == before);
        // After `@type`, which is usually the first field.
        let is_typed = entries.first().is_some_and(|entry| entry.key == "@type");
        let index = wanted.unwrap_or(usize::from(is_typed && entries.len() > 1));
        let entry = entries.get(index);
        if map.extent.is_flow {
            let one =
                |(key, part): &(String, Part)| format!("{}: {}", Value::from(key.as_str()), part.json());
            let texts: Vec<String> = fields.iter().map(one).collect();
            let at = entry.map(|entry| self.before_properties(self.source.at(entry.key_place)));
            return Ok(self.flow(change, map, at, &texts));
        }
        let Some(entry) = entry else {
            return Err(self.obstacle(map.extent.from, format!("{} is not an object", change.path)));
        };
        let at = self.before_properties(self.source.at(entry.key_place));
        if !self.source.is_first(at) {
            let message = "a field that does not begin on a line of its own".to_owned();
            return Err(self.obstacle(at, message));
        }
        let line = self.source.line(at);
        let column = self.source.indent(line);
        let part = Part::Map {
            fields: fields.to_vec(),
            is_flow: false,
        };
        let value = &entry.value;
        let is_short =
            matches!(&value.kind, Kind::Scalar { .. }) && self.source.line(value.extent.to) == line;
        if is_typed && index == 0 && is_short {
            return Ok(self.below(change, line, column, &part));
        }
        // Comments above the first field describe the whole object.
        let line = if index == 0 {
            line
        } else {
            self.above_comments(line, column)
        };
        Ok(self.block(change, line, column, &part))
    }

    /// The position before the anchor or the tag of a value.
    fn before_properties(&self, at: At) -> At {
        let line = self.source.start(self.source.line(at));
        let before = self.source.slice(line, at);
        let mut rest = before.trim_end();
        let mut place = at;
        while let Some(word) = rest
            .rsplit([' ', ',', '[', '{'])
            .next()
            .filter(|word| word.starts_with(['&', '!']))
        {
            rest = rest.get(..rest.len() - word.len()).unwrap_or_default();
            place = line + rest.chars().count();
            rest = rest.trim_end();
        }
        place
    }

    /// The line with the dash of the element that begins there.
    fn dash(&self, at: At) -> Option<usize> {
        let mut line = self.source.line(at);
        loop {
            let text = self.source.line_text(line);
            let text = text.trim_start();
            let is_dash = text == "-" || text.starts_with("- ") || text.starts_with("-\t");
            if is_dash && self.source.start(line) + self.source.indent(line) < at {
                return Some(line);
            }
            let is_empty =
                text.is_empty() || text.starts_with(['#', '&', '!']) || self.source.line(at) == line;
            line = line.checked_sub(1).filter(|_| is_empty)?;
        }
    }

    /// The first line of the comments directly above a line: they belong to what follows.
    fn above_comments(&self, mut line: usize, column: usize) -> usize {
        while let Some(above) = line.checked_sub(1) {
            let text = self.source.line_text(above);
            let is_comment = text.trim_start().starts_with('#') && self.source.indent(above) == column;
            if !is_comment || marks::is_end(&text) {
                break;
            }
            line = above;
        }
        line
    }

    /// Inserts whole lines before a line.
    fn block(&self, change: &Change, line: usize, column: usize, part: &Part) -> Edit {
        let lines = part.block(self.style, column);
        Edit::insert(
            self.source.start(line),
            self.feeds(&marks::region(&change.mark, column, &lines)),
        )
    }

    /// Adds a value to a key that has none, indented by `columns` from the key. `empty` is for the error: the value
    /// that a person could write.
    fn fill(
        &self,
        change: &Change,
        null: &Node,
        columns: usize,
        empty: &str,
        part: &Part,
    ) -> Result<Edit, Obstacle> {
        let at = null.extent.from;
        if null.extent.to > at || null.extent.alias.is_some() {
            let message = format!("{} is null; write {empty} or remove the field", change.path);
            return Err(self.obstacle(at, message));
        }
        let line = self.source.line(at);
        let column = self.source.indent(line) + columns;
        Ok(self.below(change, line, column, part))
    }

    /// Inserts whole lines below a line. They come before lines that other changes insert before the next line.
    fn below(&self, change: &Change, line: usize, column: usize, part: &Part) -> Edit {
        let text = marks::region(&change.mark, column, &part.block(self.style, column));
        let text = format!("\n{}", text.trim_end_matches('\n'));
        Edit::insert(self.source.end(line), self.feeds(&text))
    }

    /// Inserts JSON within brackets or braces: before an element or a field, or as the only one.
    fn flow(&self, change: &Change, around: &Node, before: Option<At>, texts: &[String]) -> Edit {
        let comma = if before.is_some() { "," } else { "" };
        let at = before.unwrap_or(around.extent.from + 1);
        let line = self.source.line(at);
        let indent = self.source.indent(line);
        if before.is_some() && self.source.is_first(at) {
            let lines: String = texts
                .iter()
                .map(|text| format!("{}{text}{comma}\n", " ".repeat(indent)))
                .collect();
            let text = marks::region(&change.mark, indent, &lines);
            return Edit::insert(self.source.start(line), self.feeds(&text));
        }
        let text = texts.join(", ") + comma;
        let column = self.inner_column(line);
        Edit::insert(at, self.feeds(&marks::inline(&change.mark, column, &text)))
    }

    fn scalar(&self, change: &Change, node: &Node, text: &str) -> Result<Vec<Edit>, Obstacle> {
        let (from, to) = node.extent.alias.unwrap_or((node.extent.from, node.extent.to));
        let old = self.source.slice(from, to);
        let line = self.source.line(from);
        let is_scalar = node.extent.alias.is_some() || matches!(node.kind, Kind::Scalar { .. });
        if !is_scalar || line != self.source.line(to) || old.is_empty() || old.starts_with(['&', '!']) {
            let message = format!("{} is not a plain value in one line", change.path);
            return Err(self.obstacle(from, message));
        }
        if self.is_in_flow(&change.path) {
            let text = marks::inline_was(&change.mark, self.inner_column(line), text, &old);
            return Ok(vec![Edit {
                from,
                to,
                text: self.feeds(&text),
            }]);
        }
        let end = self.source.end(line);
        Ok(vec![
            Edit {
                from,
                to,
                text: text.to_owned(),
            },
            Edit::insert(end, marks::was(&change.mark, &old)),
        ])
    }

    fn figures(&self, change: &Change, node: &Node, figures: &str) -> Result<Vec<Edit>, Obstacle> {
        let Kind::Scalar { style, .. } = &node.kind else {
            return Err(self.obstacle(node.extent.from, format!("{} is not a text", change.path)));
        };
        if node.extent.alias.is_some() {
            let message = format!("{} is an alias; write the text itself", change.path);
            return Err(self.obstacle(node.extent.from, message));
        }
        let (from, to) = (node.extent.from, node.extent.to);
        let raw = self.source.slice(from, to);
        let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let body = match style {
            ScalarStyle::DoubleQuoted => {
                let mut inner = raw.strip_suffix('"').unwrap_or(&raw);
                // A line feed (`\n`) stays at the end of the text. If the backslash is itself escaped, it is not a line
                // feed.
                while let Some(rest) = inner.strip_suffix("\\n") {
                    let slashes = rest.chars().rev().take_while(|c| *c == '\\').count();
                    if slashes % 2 == 1 {
                        break;
                    }
                    inner = rest;
                }
                inner
            }
            ScalarStyle::SingleQuoted => raw.strip_suffix('\'').unwrap_or(&raw),
            _ => raw.trim_end(),
        };
        let at = from + body.chars().count();
        // White space at the end of a block's last line is part of the text.
        let at = if is_block {
            self.source.end(self.source.line(at))
        } else {
            at
        };
        let figures = format!(" {figures}");
        if self.is_in_flow(&change.path) {
            let line = self.source.line(from);
            if line != self.source.line(to) {
                return Err(self.obstacle(from, format!("{} is not a text in one line", change.path)));
            }
            let new = self.source.slice(from, at) + &figures + &self.source.slice(at, to);
            let text = marks::inline_was(&change.mark, self.inner_column(line), &new, &raw);
            return Ok(vec![Edit {
                from,
                to,
                text: self.feeds(&text),
            }]);
        }
        let line = match is_block {
            true => self.source.line(from) - usize::from(self.source.line(from) > 0),
            false => self.source.line(to),
        };
        Ok(vec![
            Edit::insert(at, figures),
            Edit::insert(self.source.end(line), marks::figures(&change.mark)),
        ])
    }

    /// The column for new lines within brackets that are opened in a line: larger than the column of the line's keys,
    /// which may follow dashes.
    fn inner_column(&self, line: usize) -> usize {
        let text = self.source.line_text(line);
        let keys = text.trim_start_matches([' ', '-']);
        text.chars().count() - keys.chars().count() + 2
    }

    fn is_in_flow(&self, path: &Path) -> bool {
        let mut steps = path.0.clone();
        steps.pop();
        Path(steps)
            .of(self.root)
            .is_some_and(|parent| parent.extent.is_flow)
    }

    fn feeds(&self, text: &str) -> String {
        text.replace('\n', self.source.newline)
    }
}

fn is_null(node: &Node) -> bool {
    node.value(Reader::Envoy).is_null()
}
