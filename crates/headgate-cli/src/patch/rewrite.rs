//! Makes the new texts of the files from the old ones. This module does no I/O.

use super::change::{Change, Editor};
use super::files;
use super::path::At;
use super::plan::{self, FilePlan, Wish};
use super::settings::Settings;
use super::source::{Edit, Source};
use super::{output, tree, unpatch, PatchedFile};
use crate::document::{self, Node, Reader};
use crate::report::Severity;
use crate::{check, find, Failure};

/// The byte order mark, which is not part of the text.
pub const MARK: &str = "\u{feff}";

/// The prefix for findings of `headgate check` in the result.
const BY_CHECK: &str = "error by `headgate check`: ";

pub struct Rewritten {
    pub results: Vec<output::Result>,
    /// The exit status: 3 if clients can choose their address, or if the result has errors.
    pub status: u8,
}

/// # Errors
/// If a file is not Envoy configuration or Headgate does not belong in it, and if a place cannot be edited.
pub fn rewrite(texts: Vec<(String, String)>, mut wish: Wish<'_>) -> Result<Rewritten, Failure> {
    let mut files = Vec::new();
    let mut earlier = Vec::new();
    for (name, text) in texts {
        files.push(open(name, text, wish.listeners, &mut earlier)?);
    }
    if wish.settings.is_none() {
        wish.settings = as_before(&earlier)?;
    }
    let fail = |file: usize, line: usize, message: &str| {
        let name = files.get(file).map(|file| file.name.as_str()).unwrap_or_default();
        Failure::new(format!("{name}:{line}: {message}"))
    };
    let plan = plan::plan(&files, &wish).map_err(|(file, line, message)| fail(file, line, &message))?;
    let mut results = Vec::new();
    for (index, (file, own)) in files.iter().zip(&plan.files).enumerate() {
        let result = edited(file, own).map_err(|(line, message)| fail(index, line, &message))?;
        results.push(result);
    }
    if let Some(first) = results.first_mut() {
        let lines = plan
            .elsewhere
            .iter()
            .map(|text| (1, format!("still needed {text}")));
        first.lines.extend(lines);
    }
    let has_errors = results.iter().any(|result| {
        let mut lines = result.lines.iter();
        lines.any(|(_, line)| line.starts_with(BY_CHECK))
    });
    Ok(Rewritten {
        results,
        status: if plan.is_unsafe || has_errors { 3 } else { 0 },
    })
}

/// Reads a file, and removes what an earlier run wrote, except in listeners that are not chosen.
fn open(
    name: String,
    text: String,
    chosen: &[String],
    earlier: &mut Vec<Settings>,
) -> Result<PatchedFile, Failure> {
    let fail = |line: usize, message: String| Failure::new(format!("{name}:{line}: {message}"));
    let parse = |text: &str| document::parse(text).map_err(|error| fail(error.place.line, error.message));
    let (has_mark, text) = match text.strip_prefix(MARK) {
        Some(rest) => (true, rest.to_owned()),
        None => (false, text),
    };
    let patched = parse(&text)?;
    let others = others(&patched, chosen);
    let takes = |at: At| !others.iter().any(|(from, to)| (*from..*to).contains(&at));
    let unpatched = unpatch::unpatch(&text, &takes).map_err(|(line, message)| fail(line, message))?;
    earlier.extend(
        unpatched
            .removed
            .iter()
            .filter_map(|one| Settings::read(&one.what)),
    );
    let documents = parse(&unpatched.text)?;
    let kind = match documents.first() {
        Some(root) => files::kind(root),
        None => Err("the file is empty".to_owned()),
    };
    let kind = kind.map_err(|message| fail(1, message))?;
    if let Some((line, what)) = documents.first().and_then(merge_key) {
        return Err(fail(line, what));
    }
    let found = find::find(&unpatched.text, false).map_err(|error| fail(error.place.line, error.message))?;
    Ok(PatchedFile {
        clean: unpatched.text,
        kind,
        documents,
        found: found.found,
        name,
        text,
        has_mark,
    })
}

/// The extents of listeners that are not chosen: an earlier run may have patched them with another policy.
fn others(documents: &[Node], chosen: &[String]) -> Vec<(At, At)> {
    let Some(root) = documents.first().filter(|_| !chosen.is_empty()) else {
        return Vec::new();
    };
    let Ok(kind) = files::kind(root) else {
        return Vec::new();
    };
    let is_chosen = |name: Option<&str>| name.is_some_and(|name| chosen.iter().any(|one| one == name));
    files::listeners(root, kind)
        .iter()
        .filter(|listener| !is_chosen(listener.text(&["name"])))
        .filter(|listener| listener.field("internal_listener").is_none())
        .map(|listener| (listener.node.extent.from, listener.node.extent.to))
        .collect()
}

/// Refuses merge keys, which Envoy does not support.
fn merge_key(node: &Node) -> Option<(usize, String)> {
    let entries = node.entries().iter();
    let own = entries.clone().find(|entry| entry.key == "<<").map(|entry| {
        let message = "a merge key (<<), which Envoy does not know: it takes it for a field; write the fields themselves";
        (entry.key_place.line, message.to_owned())
    });
    own.or_else(|| {
        entries
            .map(|entry| &entry.value)
            .chain(node.items())
            .find_map(merge_key)
    })
}

/// The settings of the earlier run, if there was one.
fn as_before(earlier: &[Settings]) -> Result<Option<Settings>, Failure> {
    let first = earlier.first().copied();
    match earlier.iter().all(|one| Some(*one) == first) {
        true => Ok(first),
        false => Err(Failure::new(
            "earlier runs set the listeners up differently; add --edge or --trusted-proxies N, with --listener NAME where \
             they differ",
        )),
    }
}

/// The new text. Its tree is compared with the tree that the changes should give.
fn edited(file: &PatchedFile, plan: &FilePlan) -> Result<output::Result, (usize, String)> {
    let source = Source::new(&file.clean);
    let mut edits: Vec<Edit> = Vec::new();
    let mut reports = Vec::new();
    if let Some(root) = file.root() {
        let editor = Editor {
            source: &source,
            root,
            style: files::style(root, &source),
        };
        for change in &plan.changes {
            let new = editor.edits(change).map_err(|obstacle| {
                (
                    source.line(obstacle.at) + 1,
                    format!("cannot be edited: {}", obstacle.message),
                )
            })?;
            reports.push((edits.len(), &change.report));
            edits.extend(new);
        }
    }
    let (text, lines) = source
        .apply(&edits)
        .ok_or_else(|| (1, "internal error: edits overlap; nothing was written".to_owned()))?;
    verify(file, &plan.changes, &text)?;
    let mut report: Vec<(usize, String)> = reports
        .into_iter()
        .map(|(edit, report)| (lines.get(edit).copied().unwrap_or(1), report.clone()))
        .collect();
    // Notes have line numbers of the old text.
    let moved = |line: usize| {
        let start = source.start(line.saturating_sub(1));
        let before = edits.iter().zip(&lines).filter(|(edit, _)| edit.from <= start);
        let mut seen: Vec<&Edit> = Vec::new();
        let mut feeds = 0;
        for (edit, _) in before {
            if !seen.contains(&edit) {
                feeds += edit.text.matches('\n').count();
                seen.push(edit);
            }
        }
        line + feeds
    };
    if text == file.text {
        // An earlier run made the same changes.
        report.clear();
        report.push((1, "nothing to change".to_owned()));
    }
    report.extend(plan.notes.iter().map(|(line, note)| (moved(*line), note.clone())));
    report.extend(findings(&file.clean, &text, plan));
    report.sort_by_key(|(line, _)| *line);
    report.dedup();
    if report.is_empty() {
        report.push((1, "nothing to change".to_owned()));
    }
    let mark = if file.has_mark { MARK } else { "" };
    Ok(output::Result {
        name: file.name.clone(),
        old: format!("{mark}{}", file.text),
        new: format!("{mark}{text}"),
        lines: report,
    })
}

/// What `headgate check` finds in the new text and not in the old one.
fn findings(old: &str, new: &str, plan: &FilePlan) -> Vec<(usize, String)> {
    if plan.changes.is_empty() {
        return Vec::new();
    }
    let errors = |text: &str| {
        let (report, _) = check::check(text, false);
        report
            .findings
            .into_iter()
            .filter(|finding| finding.severity == Severity::Error)
    };
    let before: Vec<String> = errors(old).map(|finding| finding.message).collect();
    // The result is not checked if the file has no filter.
    let is_judged =
        find::find(new, false).is_ok_and(|file| file.found.iter().any(|one| one.filter.is_some()));
    errors(new)
        .filter(|_| is_judged)
        // The report already has the findings about addresses.
        .filter(|finding| {
            !before.contains(&finding.message) && !finding.message.contains("use_remote_address")
        })
        .map(|finding| (finding.place.line, format!("{BY_CHECK}{}", finding.message)))
        .collect()
}

fn verify(file: &PatchedFile, changes: &[Change], text: &str) -> Result<(), (usize, String)> {
    let internal = |what: &str| (1, format!("internal error: {what}; nothing was written"));
    let new = document::parse(text).map_err(|error| {
        internal(&format!(
            "the result is no YAML in line {}: {}",
            error.place.line, error.message
        ))
    })?;
    let Some(root) = file.root() else { return Ok(()) };
    let value = |node: &Node| node.value(Reader::Envoy);
    let wanted = tree::changed(root, changes);
    let result = new.first().map(value).unwrap_or_default();
    if result != wanted {
        let alias = changes
            .iter()
            .find_map(|change| tree::alias_on_the_way(root, &change.path));
        if let Some(at) = alias {
            let line = Source::new(&file.clean).line(at) + 1;
            let message = "an alias: what it stands for is used elsewhere as well, where nothing may change; write it out here";
            return Err((line, message.to_owned()));
        }
        if let Some(line) = shared(root, changes) {
            let message =
                "an anchor, which is used elsewhere as well, where nothing may change; write it out there";
            return Err((line, message.to_owned()));
        }
        let at = tree::difference(&result, &wanted);
        return Err(internal(&format!(
            "the result does not have the values that it should have at {at}"
        )));
    }
    let rest = |documents: &[Node]| documents.iter().skip(1).map(value).collect::<Vec<_>>();
    match rest(&file.documents) == rest(&new) {
        true => Ok(()),
        false => Err(internal("another document of the file would change")),
    }
}

/// The line of an alias whose anchor's value the changes edit.
fn shared(root: &Node, changes: &[Change]) -> Option<usize> {
    let targets: Vec<At> = changes
        .iter()
        .filter_map(|change| Some(change.path.of(root)?.extent.from))
        .collect();
    fn walk(node: &Node, targets: &[At]) -> Option<usize> {
        if node.extent.alias.is_some()
            && targets
                .iter()
                .any(|at| (node.extent.from..=node.extent.to).contains(at))
        {
            return Some(node.place.line);
        }
        let values = node.entries().iter().map(|entry| &entry.value);
        values.chain(node.items()).find_map(|node| walk(node, targets))
    }
    walk(root, &targets)
}
