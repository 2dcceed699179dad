//! Markdown files of the project, as far as the tests read them.

use std::path::{Path, PathBuf};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README, docs and the other pages of the project.
pub fn pages() -> Vec<PathBuf> {
    const OTHERS: [&str; 7] = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "bench/results.md",
        "clients/typescript/README.md",
        "crates/redis-call/README.md",
    ];
    let docs = std::fs::read_dir(root().join("docs")).expect("docs");
    let docs = docs.map(|entry| entry.expect("an entry").path());
    let mut pages: Vec<PathBuf> = OTHERS.iter().map(|page| root().join(page)).collect();
    pages.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    assert!(pages.len() > 20, "{pages:?}");
    pages
}

/// The language and the lines of each fenced block.
pub fn blocks(text: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, usize, String)> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some((language, indent, String::new())),
            (Some(_), Some((language, _, lines))) => blocks.push((language, lines)),
            (None, Some((language, indent, lines))) => {
                let line = line.get(indent..).unwrap_or_default();
                open = Some((language, indent, lines + line + "\n"));
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The text without fenced blocks and without code spans.
pub fn prose(text: &str) -> String {
    let mut prose = String::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            prose.extend(line.split('`').step_by(2));
            prose.push('\n');
        }
    }
    prose
}
