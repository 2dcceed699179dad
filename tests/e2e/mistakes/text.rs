//! The edits by which a mistake is made in a shipped file. A marker names a line by its whole text without indentation and
//! comment, or several lines by their text as it is. An edit is one of:
//! - `{replace: TEXT, with: TEXT}`: its first occurrence;
//! - `{before: MARKER, insert: TEXT}`: a line in front of it, indented as it is;
//! - `{remove: MARKER, until: MARKER}`: from the first to before the second;
//! - `{move: MARKER, until: MARKER, before: MARKER}`: such a block to another place behind or in front of it;
//! - `{repeat: MARKER, until: MARKER}`: such a block twice.
//!
//! `nth: 2` takes the second such block.

use serde_json::Value;

pub fn changed(mut text: String, edits: &Value) -> String {
    for edit in edits.as_array().expect("a list of edits") {
        let before = text.clone();
        text = change(text, edit);
        assert_ne!(text, before, "{edit} changes nothing");
    }
    text
}

fn change(mut text: String, edit: &Value) -> String {
    let field = |name: &str| edit[name].as_str();
    if let (Some(what), Some(with)) = (field("replace"), field("with")) {
        assert!(text.contains(what), "{edit}: not in the file");
        return text.replacen(what, with, 1);
    }
    if let (Some(before), Some(insert)) = (field("before"), field("insert")) {
        let at = find(&text, before, 0, edit);
        let indent = text[at..].len() - text[at..].trim_start_matches(' ').len();
        text.insert_str(at, &format!("{}{insert}\n", " ".repeat(indent)));
        return text;
    }
    let until = field("until").unwrap_or_else(|| panic!("{edit}: no such edit"));
    let kind = ["remove", "move", "repeat"];
    let start = kind
        .iter()
        .find_map(|kind| field(kind))
        .unwrap_or_else(|| panic!("{edit}: no such edit"));
    let mut from = find(&text, start, 0, edit);
    for _ in 1..edit["nth"].as_u64().unwrap_or(1) {
        from = find(&text, start, from + 1, edit);
    }
    let to = find(&text, until, from + 1, edit);
    let block = text[from..to].to_owned();
    if field("repeat").is_some() {
        text.insert_str(to, &block);
        return text;
    }
    text.replace_range(from..to, "");
    if let Some(before) = field("before") {
        let at = find(&text, before, 0, edit);
        text.insert_str(at, &block);
    }
    text
}

/// Where the line begins that a marker names, at or after `from`.
fn find(text: &str, marker: &str, from: usize, edit: &Value) -> usize {
    let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
    let fits = |at: &usize| match marker.contains('\n') {
        true => text[*at..].trim_start_matches(' ').starts_with(marker),
        false => {
            let line = text[*at..].lines().next().unwrap_or_default();
            line.split(" #").next().unwrap_or_default().trim() == marker
        }
    };
    let mut starts = starts.filter(|at| *at >= from);
    starts
        .find(fits)
        .unwrap_or_else(|| panic!("{edit}: no line {marker:?}"))
}
