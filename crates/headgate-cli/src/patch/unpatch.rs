//! Removes what `headgate patch` has written, and nothing else.

use super::marks::{self, Mark};
use super::path::At;
use super::rewrite::MARK;
use super::source::{Edit, Source};
use crate::document::{self, Kind, Node, Place};
use crate::parts;
use saphyr_parser::ScalarStyle;

/// A text without the parts, and the removed parts.
pub struct Unpatched {
    pub text: String,
    pub removed: Vec<Removed>,
}

/// A removed part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The line in the old text, from 1.
    pub line: usize,
    pub at: At,
    pub what: String,
    /// For the report.
    pub report: String,
}

/// The line (from 1) and the message.
pub type Wrong = (usize, String);

/// Removes the parts at positions that `takes` accepts.
///
/// # Errors
/// If comments are not in pairs or do not belong to a value, because someone has edited them.
pub fn unpatch(text: &str, takes: &dyn Fn(At) -> bool) -> Result<Unpatched, Wrong> {
    if let Some(rest) = text.strip_prefix(MARK) {
        let mut unpatched = unpatch(rest, takes)?;
        unpatched.text.insert_str(0, MARK);
        return Ok(unpatched);
    }
    let source = Source::new(text);
    let documents = document::parse(text).map_err(|error| (error.place.line, error.message))?;
    let mut edits = Vec::new();
    let mut removed = Vec::new();
    let mut line = 0;
    while line < source.lines() {
        let written = source.line_text(line);
        let at = source.start(line);
        let mark = marks::read(&written).filter(|_| takes(at) && !is_in_scalar(&documents, &source, line));
        let mut next = line + 1;
        if let Some(mark) = mark {
            let (what, report) = match mark {
                Mark::Begin { what } | Mark::Inline { what, was: None } => (what, format!("removed {what}")),
                Mark::Inline { what, was: Some(was) } | Mark::Was { what, was, .. } => {
                    (what, format!("restored {was}"))
                }
                Mark::Figures { .. } => ("", "removed Headgate's figures from the access log".to_owned()),
                Mark::End => {
                    return Err((
                        line + 1,
                        "the end of a part of `headgate patch` without its begin".to_owned(),
                    ))
                }
            };
            let report = Removed {
                line: line + 1,
                at,
                what: what.to_owned(),
                report,
            };
            match mark {
                Mark::Begin { .. } | Mark::Inline { .. } => {
                    let end = end_of(&source, line)?;
                    edits.push(region(&source, line, end, &mark));
                    next = end + 1;
                }
                Mark::Was { at: comment, was, .. } => {
                    let (from, to) = value_in(&documents, &source, line)
                        .ok_or_else(|| (line + 1, format!("no value in this line for the old one, {was}; write it by hand, and remove the comment")))?;
                    edits.push(Edit {
                        from,
                        to,
                        text: was.to_owned(),
                    });
                    edits.push(comment_in(&source, line, &written, comment));
                }
                Mark::Figures { at: comment } => {
                    let edit = figures_in(&documents, &source, line).ok_or_else(|| {
                        (
                            line + 1,
                            "the figures are not in this text any more; remove the comment".to_owned(),
                        )
                    })?;
                    edits.push(edit);
                    edits.push(comment_in(&source, line, &written, comment));
                }
                Mark::End => {}
            }
            removed.push(report);
        }
        line = next;
    }
    let (text, _) = source
        .apply(&edits)
        .ok_or_else(|| (1, "parts of `headgate patch` that overlap".to_owned()))?;
    Ok(Unpatched { text, removed })
}

/// The line with the end of the region that begins there.
fn end_of(source: &Source, begin: usize) -> Result<usize, Wrong> {
    for line in begin + 1..source.lines() {
        match marks::read(&source.line_text(line)) {
            Some(Mark::End) => return Ok(line),
            Some(Mark::Begin { .. } | Mark::Inline { .. }) => break,
            _ => {}
        }
    }
    let message = "the begin of a part of `headgate patch` without its end: restore the comment, or remove the part by hand";
    Err((begin + 1, message.to_owned()))
}

fn region(source: &Source, begin: usize, end: usize, mark: &Mark<'_>) -> Edit {
    let is_last = end + 1 >= source.lines();
    // If the text does not end with a line feed, a region at its end includes the line feed before it. An inline region
    // includes both line feeds.
    let (from, to) = match mark {
        Mark::Inline { .. } => {
            let from = source.end(begin.saturating_sub(1));
            (
                from,
                (source.start(end + 1) + source.indent(begin)).min(source.len()),
            )
        }
        _ if is_last => (source.end(begin.saturating_sub(1)), source.len()),
        _ => (source.start(begin), source.start(end + 1)),
    };
    let text = match mark {
        Mark::Inline { was: Some(was), .. } => (*was).to_owned(),
        _ => String::new(),
    };
    Edit { from, to, text }
}

/// Removes a comment and the two spaces before it.
fn comment_in(source: &Source, line: usize, written: &str, at: usize) -> Edit {
    let before = written.get(..at).unwrap_or_default();
    let before = before.strip_suffix("  ").unwrap_or(before);
    let from = source.start(line) + before.chars().count();
    Edit {
        from,
        to: source.end(line),
        text: String::new(),
    }
}

/// Calls `see` with each value of an object in block style, and with the position of its key.
fn values<'n>(node: &'n Node, see: &mut dyn FnMut(&'n Node, Place)) {
    for entry in node.entries() {
        see(&entry.value, entry.key_place);
        values(&entry.value, see);
    }
    for item in node.items() {
        values(item, see);
    }
}

/// The value of the field in a line.
fn value_in(documents: &[Node], source: &Source, line: usize) -> Option<(At, At)> {
    let mut found = None;
    for document in documents {
        values(document, &mut |value, key| {
            let extent = value.extent;
            let range = extent.alias.unwrap_or((extent.from, extent.to));
            if key.line == line + 1 && source.is_first(source.at(key)) && source.line(range.0) == line {
                found = Some(range);
            }
        });
    }
    found
}

/// The edit that removes Headgate's values from the text that ends in a line or, for a block scalar, from the text
/// below it.
fn figures_in(documents: &[Node], source: &Source, line: usize) -> Option<Edit> {
    let mut found = None;
    let (first, last) = parts::log_figures_ends();
    for document in documents {
        values(document, &mut |value, key| {
            let Kind::Scalar { style, .. } = &value.kind else {
                return;
            };
            let (from, to) = (value.extent.from, value.extent.to);
            let is_here = match style {
                ScalarStyle::Literal | ScalarStyle::Folded => key.line == line + 1,
                _ => source.line(to) == line,
            };
            let raw = source.slice(from, to);
            let begin = raw.rfind(&format!(" {first}"));
            let end = raw.rfind(&last).map(|at| at + last.len());
            if let (true, Some(begin), Some(end)) = (is_here, begin, end) {
                let chars = |at: usize| raw.get(..at).unwrap_or_default().chars().count();
                found = Some(Edit {
                    from: from + chars(begin),
                    to: from + chars(end),
                    text: String::new(),
                });
            }
        });
    }
    found
}

/// Whether a line is inside a scalar of several lines, where `#` does not begin a comment.
fn is_in_scalar(documents: &[Node], source: &Source, line: usize) -> bool {
    let start = source.start(line);
    let end = source.end(line);
    let mut found = false;
    for document in documents {
        values(document, &mut |value, _| {
            let is_block = matches!(&value.kind, Kind::Scalar { style, .. } if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded));
            let is_quoted = matches!(&value.kind, Kind::Scalar { style, .. } if !matches!(style, ScalarStyle::Literal | ScalarStyle::Folded | ScalarStyle::Plain));
            let (from, to) = (value.extent.from, value.extent.to);
            // The end of a block scalar is where the next value begins, so comments after the block can be before this
            // end.
            let column = source.column(from);
            found |= is_block && from <= end && end < to && source.indent(line) >= column;
            found |= is_quoted && from < start && end < to;
        });
    }
    found
}
