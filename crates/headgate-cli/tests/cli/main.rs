//! The command `headgate` as a process. Tests that need a Redis are in `tests/e2e/oncall/`.

mod check;
mod explain;
mod hash;
mod import;
mod patch;
mod redis_proxy;
mod schema;
mod simulate;
mod surroundings;
mod top;

use serde_json::Value;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs it with these arguments; `input` is its standard input.
fn headgate(arguments: &[&str], input: &str) -> Output {
    run(
        Command::new(env!("CARGO_BIN_EXE_headgate")).args(arguments),
        input,
    )
}

fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command headgate");
    let mut stdin = child.stdin.take().expect("its standard input");
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("its output")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Its output, where it must be content.
fn good(arguments: &[&str], input: &str) -> String {
    let output = headgate(arguments, input);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{arguments:?}\n{}{}",
        stdout(&output),
        stderr(&output)
    );
    stdout(&output)
}

fn shipped(name: &str) -> String {
    let path = format!("{}/../../envoy/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The findings of `check --json` on a text, and the exit status.
fn findings(text: &str) -> (Vec<Value>, i32) {
    let output = headgate(&["check", "--json", "-"], text);
    let list: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{}", stderr(&output)));
    (
        list.as_array().expect("a list").clone(),
        output.status.code().expect("a status"),
    )
}

/// The errors among them: line, path within the configuration and message.
fn errors(text: &str) -> Vec<(u64, String, String)> {
    let text_of = |value: &Value| value.as_str().expect("text").to_owned();
    let (list, _) = findings(text);
    let errors = list.iter().filter(|finding| finding["severity"] == "error");
    errors
        .map(|e| {
            (
                e["line"].as_u64().expect("a line"),
                text_of(&e["path"]),
                text_of(&e["message"]),
            )
        })
        .collect()
}

#[test]
fn help_names_every_subcommand_and_what_exit_statuses_mean() {
    let shown = good(&["--help"], "");
    for word in [
        "check",
        "explain",
        "hash",
        "show",
        "reset",
        "override",
        "patch",
        "unpatch",
        "Exit status",
    ] {
        assert!(shown.contains(word), "{shown}");
    }
    assert_eq!(headgate(&["chekc"], "").status.code(), Some(2));
}
