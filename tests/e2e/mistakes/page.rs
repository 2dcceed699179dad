//! docs/mistakes.md, made of the mistakes. `UPDATE_DOCS=1 cargo test … mistakes::page` writes it.

use super::{parse, Mistake, Outcome, FILES};
use crate::harness::root;

const INTRODUCTION: &str = "\
# Mistakes, and who reports them

Made by `tests/e2e/mistakes`, which makes each of these mistakes in a shipped configuration, runs `headgate check` on it,
starts Envoy with it, and compares. The texts are pieces of what you see. `headgate check` reads a file, before anything
runs; `headgate doctor` asks an Envoy that runs; the log is Envoy's.

Where the log says nothing, requests are answered as if all were well: only the other two see it. *Does not start* is
Envoy at its start; a running Envoy refuses the update and keeps its configuration.
";

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (title, text) in FILES {
        page += &format!(
            "\n## {title}\n| mistake | `headgate check` | Envoy's log | `headgate doctor` | remedy |\n"
        );
        page += "|---|---|---|---|---|\n";
        for mistake in parse(text) {
            page += &row(&mistake);
        }
    }
    page
}

fn row(mistake: &Mistake) -> String {
    let check = match (mistake.field("check"), mistake.field("blind")) {
        (Some(text), _) => code(text),
        (None, Some(why)) => format!("nothing: {why}"),
        (None, None) => String::new(),
    };
    let (log, runs) = match mistake.outcome() {
        Outcome::Refuses(text) => (format!("does not start: {}", code(text)), false),
        Outcome::Logs(text) => (code(text), true),
        Outcome::Silent(_) => ("nothing".to_owned(), true),
    };
    let doctor = match mistake.field("doctor") {
        Some(text) => code(text),
        None if runs => "nothing".to_owned(),
        None => "no Envoy to ask".to_owned(),
    };
    let cells = [
        mistake.text("mistake"),
        &check,
        &log,
        &doctor,
        mistake.text("remedy"),
    ];
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}

fn code(text: &str) -> String {
    format!("`{}`", text.trim())
}

#[test]
fn the_page_is_current() {
    let path = root().join("docs/mistakes.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("docs/mistakes.md");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/mistakes.md is not current: UPDATE_DOCS=1 cargo test --test e2e -- mistakes::page"
    );
}
