//! Invalid configurations: each has one error, at the right path, with the remedy.

use super::errors;
use crate::config::ConfigErrors;

const CASES: &str = include_str!("broken.txt");

/// The configuration, the path and a piece of the line.
fn cases() -> Vec<(&'static str, &'static str, &'static str)> {
    let is_case = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let lines: Vec<&str> = CASES.lines().filter(is_case).collect();
    let case = |pair: &[&'static str]| {
        let (path, piece) = pair[1].trim_start().split_once(" => ").unwrap();
        (pair[0], path, piece)
    };
    lines.chunks(2).map(case).collect()
}

fn paths(errors: &ConfigErrors) -> Vec<&str> {
    errors.iter().map(|error| error.path.as_str()).collect()
}

#[test]
fn each_mistake_is_one_error_at_its_path_with_its_remedy() {
    for (text, path, piece) in cases() {
        let errors = errors(text);
        let path = if path == "configuration" { "" } else { path };
        assert_eq!(paths(&errors), [path], "{text}\n{errors}");
        let shown = errors.to_string();
        assert!(shown.contains(piece), "{text}\n{shown}\nlacks {piece}");
    }
    assert!(cases().len() > 200);
}

#[test]
fn a_line_has_the_path_the_value_and_the_remedy() {
    let shown = errors("{limits: [{rate: 1/s}, {rate: 2/s}, {rate: 100/fortnight}]}").to_string();
    let expected = r#"limits[2].rate: "100/fortnight": unknown period "fortnight"; use s, m, h or d"#;
    assert_eq!(shown, expected);
}

#[test]
fn the_value_of_an_unknown_field_is_not_shown() {
    assert!(!errors("{hash_key: hunter2}").to_string().contains("hunter2"));
}

#[test]
fn a_name_that_is_too_long_is_refused() {
    let shown = errors(&format!("{{instance: {}}}", "a".repeat(65))).to_string();
    assert!(
        shown.contains("not a name; use 1 to 64 letters, digits and . _ -"),
        "{shown}"
    );
    let spaces = " ".repeat(64);
    let shown = errors(&format!("{{limits: [{{rate: '1{spaces}/s'}}]}}")).to_string();
    assert!(shown.contains("too long to be the limit's name"), "{shown}");
}

#[test]
fn every_limit_on_a_circle_is_named_and_no_other() {
    let circle = errors(
        "{limits: [{name: a, rate: 1/s, replaces: b}, {name: b, rate: 1/s, replaces: c}, {name: c, rate: 1/s,
          replaces: a}, {name: d, rate: 1/s, replaces: a}, {name: e, rate: 1/s}]}",
    );
    assert_eq!(
        paths(&circle),
        ["limits[0].replaces", "limits[1].replaces", "limits[2].replaces"]
    );
    assert!(circle
        .to_string()
        .starts_with(r#"limits[0].replaces: "b": circular: b leads back to a"#));
}

#[test]
fn no_text_of_a_configuration_breaks_a_line() {
    let shown = errors(
        r#"{identify: "a\nb", "x\ny": 1, limits: [{rate: "1/\n"}, {rate: 1/s, match: {path: {regex: "(\n"}}}]}"#,
    );
    assert_eq!(shown.to_string().lines().count(), shown.iter().count(), "{shown}");
}
