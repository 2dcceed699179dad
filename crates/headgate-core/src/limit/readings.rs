//! The ways in which servers may read a path. Servers disagree on percent-escapes, backslashes, `;` parameters, double
//! slashes and dot segments, and a limit must apply to a request whichever server is behind Envoy.
//!
//! The readings were chosen from what 54 set-ups of real servers do with some 4,600 spellings, and from what the tests
//! here found in addition. Each reading is needed by some of them. `docs/paths.md` lists what no reading covers.

use crate::identify::{escaped_byte, unescaped};
use crate::model::path::{
    canonical, is_unreserved, merged, path_of, resolved, spelled, without_trailing_slash, Decode, Parameters,
    Spelling, CANONICAL,
};
use std::borrow::Cow;

/// A path in each of its readings, the canonical one first. At most [`PathReadings::MOST`], without duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathReadings<'a> {
    canonical: Cow<'a, [u8]>,
    /// By their numbers in the documentation: 2 to 11.
    others: Vec<(u8, Vec<u8>)>,
    /// Which of the others is equal to reading 3; `None`: the canonical one.
    third: Option<usize>,
}

/// How segments are normalised.
#[derive(Clone, Copy)]
enum Segments {
    /// Double slashes merged, then dot segments resolved.
    Merged,
    /// Dot segments resolved, then double slashes merged.
    Resolved,
    /// Double slashes merged, dot segments left in.
    Unresolved,
    /// As they came.
    Untouched,
}

/// All escapes decoded, `\` a slash, parameters dropped: what most servers do in some order.
const ALL: Spelling = Spelling {
    decode: Decode::All,
    backslash: true,
    parameters: Parameters::Removed,
};

/// All escapes decoded and nothing else: nginx, Apache.
const ESCAPES: Spelling = Spelling {
    backslash: false,
    parameters: Parameters::Kept,
    ..ALL
};

/// Nothing decoded.
const AS_IT_CAME: Spelling = Spelling {
    decode: Decode::Nothing,
    ..CANONICAL
};

/// `\` a slash: JavaScript's `new URL`.
const BACKSLASHES: Spelling = Spelling {
    backslash: true,
    ..CANONICAL
};

/// Parameters dropped: Spring, Jersey.
const PARAMETERS: Spelling = Spelling {
    parameters: Parameters::Removed,
    ..CANONICAL
};

/// Parameters dropped, then all escapes decoded: Tomcat.
const PARAMETERS_FIRST: Spelling = Spelling {
    backslash: false,
    parameters: Parameters::RemovedFirst,
    ..ALL
};

impl<'a> PathReadings<'a> {
    /// The most readings that a path can have.
    pub const MOST: usize = 11;

    /// Reads the path of a request target, in time linear in its length. A path without `%`, `;`, `\`, `//` and `/.`
    /// has one reading.
    pub fn of(target: &'a [u8]) -> PathReadings<'a> {
        let path = path_of(target);
        let (canonical, is_plain) = canonical(path);
        let mut readings = PathReadings {
            canonical,
            others: Vec::new(),
            third: None,
        };
        if !is_plain {
            readings.add_others(path);
        }
        readings
    }

    /// The canonical reading, number 1.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// The reading that is used for a path in a key: number 3, which decodes everything.
    pub fn counted(&self) -> &[u8] {
        let third = self.third.and_then(|index| self.others.get(index));
        third.map_or(&self.canonical, |(_, path)| path)
    }

    /// All of them, with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let others = self
            .others
            .iter()
            .map(|(number, path)| (*number, path.as_slice()));
        std::iter::once((1, &*self.canonical)).chain(others)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.numbered().map(|(_, path)| path)
    }

    fn add_others(&mut self, path: &[u8]) {
        let row = |spelling, segments| without_trailing_slash(arranged(spelled(path, spelling), segments));
        self.add(2, row(&ESCAPES, Segments::Merged));
        self.third = self.add(3, third(path));
        self.add(4, row(&BACKSLASHES, Segments::Resolved));
        self.add(5, row(&PARAMETERS, Segments::Resolved));
        // Servers that resolve nothing: Django, Express, axum.
        self.add(6, row(&ALL, Segments::Unresolved));
        let rest = after_slashes(path);
        if let Some(rest) = rest {
            self.add(7, third(rest));
        }
        if path.contains(&b'%') {
            let decoded = unescaped(Cow::Borrowed(path));
            if has_unreserved_escape(&decoded) {
                let once_more = Spelling {
                    decode: Decode::Unreserved,
                    ..ALL
                };
                self.add(8, finished(spelled(&decoded, &once_more)));
            }
        }
        // Servers that do nothing to a path.
        self.add(9, row(&AS_IT_CAME, Segments::Untouched));
        self.add(10, row(&PARAMETERS_FIRST, Segments::Merged));
        if let Some(rest) = rest {
            let unresolved = arranged(spelled(rest, &ALL), Segments::Unresolved);
            self.add(11, without_trailing_slash(unresolved));
        }
    }

    /// Adds a reading unless there is an equal one. Returns its index among the others; `None` for the canonical one.
    fn add(&mut self, number: u8, path: Vec<u8>) -> Option<usize> {
        if path == *self.canonical {
            return None;
        }
        let known = self.others.iter().position(|(_, known)| *known == path);
        known.or_else(|| {
            self.others.push((number, path));
            Some(self.others.len() - 1)
        })
    }
}

fn third(path: &[u8]) -> Vec<u8> {
    finished(spelled(path, &ALL))
}

/// The end of readings 3, 7 and 8: merged, then resolved; one line feed at the end removed, which `$` accepts in Python
/// and Ruby.
fn finished(spelled: Vec<u8>) -> Vec<u8> {
    let mut path = arranged(spelled, Segments::Merged);
    if path.ends_with(b"%0A") {
        path.truncate(path.len() - 3);
    }
    without_trailing_slash(path)
}

fn arranged(path: Vec<u8>, segments: Segments) -> Vec<u8> {
    match segments {
        Segments::Merged => resolved(&merged(path)),
        Segments::Resolved => merged(resolved(&path)),
        Segments::Unresolved => merged(path),
        Segments::Untouched => path,
    }
}

/// What follows the authority of a path that begins with two or more slashes: `//host/path` is a reference to another
/// host for `parse_url` and `new URL`.
fn after_slashes(path: &[u8]) -> Option<&[u8]> {
    let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    let slashes = path.iter().take_while(|byte| is_slash(byte)).count();
    let authority = path.get(slashes..).filter(|_| slashes >= 2)?;
    let end = authority.iter().position(is_slash).unwrap_or(authority.len());
    authority.get(end..)
}

/// Whether decoding it again would change it.
fn has_unreserved_escape(decoded: &[u8]) -> bool {
    decoded
        .windows(3)
        .any(|bytes| escaped_byte(bytes).is_some_and(is_unreserved))
}

#[cfg(test)]
#[path = "readings_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "rewriting_tests.rs"]
mod rewriting;
