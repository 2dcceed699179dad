//! Generates docs/mistakes.md from the mistakes. `UPDATE_DOCS=1 cargo test … mistakes::page` writes it.

use super::{parse, Mistake, Outcome, FILES};
use crate::harness::root;

const INTRODUCTION: &str = "\
# Mistakes, and who reports them

`tests/e2e/mistakes` generates this page. Its tests make each of these mistakes in a shipped configuration, run
`headgate check` on the file, start Envoy with it, and compare the output with the texts below. Each text is a part of the
full message. `headgate check` reads a file before Envoy starts. `headgate doctor` asks a running Envoy. *Envoy's log* is
the log of Envoy itself.

If the column *Envoy's log* has *nothing*, Envoy answers requests normally and logs no error: only `headgate check` or
`headgate doctor` reports the mistake. *Does not start* applies to an Envoy that starts. An Envoy that already runs refuses
such an update and keeps its configuration.
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
        None => "Envoy is not running".to_owned(),
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
