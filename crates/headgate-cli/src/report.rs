//! What a file's check found: errors and warnings with line and path, as text or as JSON.

use super::document::Place;
use super::find::Found;
use serde_json::{json, Value};
use std::fmt::Write as _;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    /// Valid but unwise.
    Warning,
    /// Nothing wrong: what was not checked, and why.
    Note,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// An error or a warning about a file.
#[derive(Debug, Clone)]
pub struct Finding {
    pub severity: Severity,
    pub place: Place,
    /// Within the configuration, as in `limits[2].rate`; empty where it is about the whole, or not about one.
    pub path: String,
    /// From the document's root.
    pub at: String,
    /// The value, the mistake and the remedy.
    pub message: String,
}

/// All findings about one file.
#[derive(Debug, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
}

impl Report {
    /// Adds a finding about a value of a configuration.
    pub fn about(&mut self, severity: Severity, found: &Found, path: &str, message: impl Into<String>) {
        self.findings.push(Finding {
            severity,
            place: found.locate(path),
            path: path.to_owned(),
            at: found.full_path(path),
            message: message.into(),
        });
    }

    /// Adds a finding about a place of the file outside of any configuration.
    pub fn outside(&mut self, severity: Severity, place: Place, at: &str, message: impl Into<String>) {
        self.findings.push(Finding {
            severity,
            place,
            path: String::new(),
            at: at.to_owned(),
            message: message.into(),
        });
    }

    pub fn count(&self, severity: Severity) -> usize {
        let is_such = |finding: &&Finding| finding.severity == severity;
        self.findings.iter().filter(is_such).count()
    }

    /// One line for each finding, in the file's order; below it the path from the root, where that differs.
    pub fn text(&self, file: &str) -> String {
        let mut text = String::new();
        for finding in self.sorted() {
            let Place { line, column } = finding.place;
            let _ = write!(text, "{file}:{line}:{column}: {}: ", finding.severity.as_str());
            if !finding.path.is_empty() {
                let _ = write!(text, "{}: ", finding.path);
            }
            let _ = writeln!(text, "{}", finding.message);
            if finding.at != finding.path {
                let _ = writeln!(text, "    at {}", finding.at);
            }
        }
        text
    }

    pub fn json(&self, file: &str) -> Vec<Value> {
        let one = |finding: &Finding| {
            json!({
                "file": file,
                "line": finding.place.line,
                "column": finding.place.column,
                "severity": finding.severity.as_str(),
                "path": finding.path,
                "at": finding.at,
                "message": finding.message,
            })
        };
        self.sorted().into_iter().map(one).collect()
    }

    fn sorted(&self) -> Vec<&Finding> {
        let mut sorted: Vec<&Finding> = self.findings.iter().collect();
        sorted.sort_by_key(|finding| (finding.place.line, finding.severity != Severity::Error));
        sorted
    }
}
