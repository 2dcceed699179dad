//! The comments around the text that `headgate patch` writes. `headgate unpatch` finds the text by these comments.
//!
//! New lines are between two comments. Such lines are a region. Within brackets on one line, the comments need line
//! feeds, which belong to the region: it is called inline. A replaced value is in a comment after the new value.

const PREFIX: &str = "# headgate patch: ";
const BEGIN: &str = "# headgate patch: begin ";
const INLINE: &str = "# headgate patch: inline ";
const END: &str = "# headgate patch: end";
const WAS: &str = "# headgate patch: was ";
const FIGURES: &str = "# headgate patch: figures added";
/// Is written before an old value in an inline region.
const INLINE_WAS: &str = " was ";

/// The mark in a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Mark<'l> {
    /// The lines that follow, up to the end mark, are new.
    Begin {
        what: &'l str,
    },
    /// The same for an inline region, which begins with the line feed before the mark; `was` is the old value, if a
    /// value was replaced.
    Inline {
        what: &'l str,
        was: Option<&'l str>,
    },
    End,
    /// The value before the comment replaced another value. `at` is the byte position of the comment.
    Was {
        at: usize,
        what: &'l str,
        was: &'l str,
    },
    /// Text was added at the end of the value. `at` is the byte position of the comment.
    Figures {
        at: usize,
    },
}

/// Lines between two comments.
pub fn region(what: &str, column: usize, lines: &str) -> String {
    let space = " ".repeat(column);
    format!("{space}{BEGIN}{what}\n{lines}{space}{END}\n")
}

/// A text within brackets, on lines of its own.
pub fn inline(what: &str, column: usize, text: &str) -> String {
    let space = " ".repeat(column);
    format!("\n{space}{INLINE}{what}\n{space}{text}\n{space}{END}\n{space}")
}

/// The same, for a text that replaces another one.
pub fn inline_was(what: &str, column: usize, text: &str, old: &str) -> String {
    inline(&format!("{what}{INLINE_WAS}{old}"), column, text)
}

/// The end of a line with a replaced value.
pub fn was(what: &str, old: &str) -> String {
    format!("  {WAS}{old} ({what})")
}

pub fn figures(_: &str) -> String {
    format!("  {FIGURES}")
}

pub fn is_end(line: &str) -> bool {
    line.trim() == END
}

/// The mark in a line, if it has one.
pub fn read(line: &str) -> Option<Mark<'_>> {
    let text = line.trim();
    if let Some(what) = text.strip_prefix(BEGIN) {
        return Some(Mark::Begin { what });
    }
    if let Some(what) = text.strip_prefix(INLINE) {
        let (what, was) = match what.split_once(INLINE_WAS) {
            Some((what, was)) => (what, Some(was)),
            None => (what, None),
        };
        return Some(Mark::Inline { what, was });
    }
    if text == END {
        return Some(Mark::End);
    }
    let at = line.rfind(PREFIX)?;
    let comment = line.get(at..)?.trim_end();
    if comment == FIGURES {
        return Some(Mark::Figures { at });
    }
    let (was, what) = comment.strip_prefix(WAS)?.strip_suffix(')')?.rsplit_once(" (")?;
    Some(Mark::Was { at, what, was })
}
