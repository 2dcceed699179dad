//! A file's text with positions by character and line, and edits of this text.

use super::path::At;
use crate::document::Place;

/// A text with positions in characters, as the parser counts them.
pub struct Source {
    chars: Vec<char>,
    /// The first character of each line.
    lines: Vec<usize>,
    pub newline: &'static str,
}

/// An edit: replaces a range of characters with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub from: usize,
    pub to: usize,
    pub text: String,
}

impl Edit {
    pub fn insert(at: usize, text: String) -> Edit {
        Edit {
            from: at,
            to: at,
            text,
        }
    }
}

impl Source {
    pub fn new(text: &str) -> Source {
        let chars: Vec<char> = text.chars().collect();
        let starts = chars
            .iter()
            .enumerate()
            .filter(|(_, c)| **c == '\n')
            .map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
        Source {
            chars,
            lines,
            newline,
        }
    }

    pub fn len(&self) -> usize {
        self.chars.len()
    }

    pub fn slice(&self, from: usize, to: usize) -> String {
        self.chars.get(from..to).unwrap_or_default().iter().collect()
    }

    /// The number of lines; the last may be empty.
    pub fn lines(&self) -> usize {
        self.lines.len()
    }

    /// The line of a position, from 0.
    pub fn line(&self, at: At) -> usize {
        self.lines.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// The first character of a line; the text's end for lines that do not exist.
    pub fn start(&self, line: usize) -> At {
        self.lines.get(line).copied().unwrap_or(self.chars.len())
    }

    /// The position after the last character of a line, before its line feed.
    pub fn end(&self, line: usize) -> At {
        let next = self.start(line + 1);
        let text = self.chars.get(self.start(line)..next).unwrap_or_default();
        let feed = text.iter().rev().take_while(|c| "\r\n".contains(**c)).count();
        next - feed
    }

    pub fn line_text(&self, line: usize) -> String {
        self.slice(self.start(line), self.end(line))
    }

    /// The number of white space columns at the beginning of a line.
    pub fn indent(&self, line: usize) -> usize {
        let text = self
            .chars
            .get(self.start(line)..self.end(line))
            .unwrap_or_default();
        text.iter().take_while(|c| **c == ' ').count()
    }

    pub fn column(&self, at: At) -> usize {
        at - self.start(self.line(at))
    }

    /// Whether only white space is before the position in its line.
    pub fn is_first(&self, at: At) -> bool {
        self.indent(self.line(at)) == self.column(at)
    }

    pub fn at(&self, place: Place) -> At {
        self.start(place.line.saturating_sub(1)) + place.column.saturating_sub(1)
    }

    /// The text after the edits, and for each edit the line of its first character in the new text, from 1.
    ///
    /// Edits at the same position are made in their order. Equal edits are made once, because several aliases can refer
    /// to the same place. Returns `None` if two edits overlap.
    pub fn apply(&self, edits: &[Edit]) -> Option<(String, Vec<usize>)> {
        let mut order: Vec<usize> = (0..edits.len()).collect();
        order.sort_by_key(|index| edits.get(*index).map(|edit| (edit.from, edit.to)));
        let mut text = String::new();
        let mut places = vec![0; edits.len()];
        let mut done: Vec<(&Edit, usize)> = Vec::new();
        let mut at = 0;
        for index in order {
            let edit = edits.get(index)?;
            let known = done
                .iter()
                .find(|(other, _)| *other == edit)
                .map(|(_, line)| *line);
            let line = match known {
                Some(line) => line,
                None => {
                    if edit.from < at || edit.to < edit.from {
                        return None;
                    }
                    text += &self.slice(at, edit.from);
                    at = edit.to;
                    let blank = edit.text.chars().take_while(|c| c.is_whitespace());
                    let skipped = blank.filter(|c| *c == '\n').count();
                    let line = 1 + text.matches('\n').count() + skipped;
                    text += &edit.text;
                    done.push((edit, line));
                    line
                }
            };
            if let Some(place) = places.get_mut(index) {
                *place = line;
            }
        }
        text += &self.slice(at, self.len());
        Some((text, places))
    }
}
