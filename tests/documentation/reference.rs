//! `docs/configuration.md` against the configuration's reader.
//!
//! The fields come from the reader itself: for an unknown field its error lists the valid ones. So the test puts an
//! unknown field into each object, and then into each of its fields.

use crate::page::{blocks, pages, read, root};
use headgate_core::config::{parse_value, ConfigError};
use serde_json::{json, Value};
use std::collections::BTreeMap;

/// Like no field.
const UNKNOWN: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";

/// A step from a configuration to a value in it.
#[derive(Clone, PartialEq)]
enum Step {
    Field(String),
    /// The first of a list.
    Item,
    /// An entry of an object whose keys are free.
    Entry,
}

#[derive(Clone, Default)]
struct Path(Vec<Step>);

impl Path {
    fn to(&self, steps: &[Step]) -> Path {
        Path([&self.0[..], steps].concat())
    }

    /// A configuration with this value there.
    fn with(&self, value: Value) -> Value {
        self.0.iter().rev().fold(value, |value, step| match step {
            Step::Field(name) => json!({ name: value }),
            Step::Item => json!([value]),
            Step::Entry => json!({ "any": value }),
        })
    }

    fn text(&self, item: &str, entry: &str) -> String {
        let mut text = String::new();
        for step in &self.0 {
            let step = match step {
                Step::Field(name) => name,
                Step::Item => item,
                Step::Entry => entry,
            };
            if !text.is_empty() && !step.starts_with('[') {
                text.push('.');
            }
            text += step;
        }
        text
    }

    /// As the documentation writes it: `limits[].match`.
    fn documented(&self) -> String {
        self.text("[]", "*")
    }

    /// What the reader says of the value there.
    fn errors(&self, value: Value) -> Vec<String> {
        let at = self.text("[0]", "any");
        let said = |errors: Vec<ConfigError>| errors.into_iter().filter(|error| error.path == at);
        match parse_value(&self.with(value)) {
            Ok(_) => Vec::new(),
            Err(errors) => said(errors.iter().cloned().collect())
                .map(|error| error.message)
                .collect(),
        }
    }

    /// The fields of the object there, if it is one with fields.
    fn fields(&self) -> Option<Vec<String>> {
        let errors = self.to(&[Step::Field(UNKNOWN.to_owned())]).errors(json!(1));
        let known = errors
            .iter()
            .find_map(|error| error.strip_prefix("unknown field; valid: "))?;
        assert!(!known.ends_with('…'), "the list is cut: {known}");
        Some(known.split(", ").map(str::to_owned).collect())
    }
}

/// Every object of a configuration with its fields.
fn objects(at: &Path, within: &[Vec<String>], found: &mut Vec<(Path, Vec<String>)>) {
    let shapes = [at.clone(), at.to(&[Step::Item]), at.to(&[Step::Entry])];
    let object = shapes.iter().find_map(|path| Some((path, path.fields()?)));
    let Some((path, fields)) = object else { return };
    found.push((path.clone(), fields.clone()));
    // A condition has conditions in it, a source has sources.
    if within.contains(&fields) {
        return;
    }
    let within = [within, std::slice::from_ref(&fields)].concat();
    for name in fields {
        objects(&path.to(&[Step::Field(name)]), &within, found);
    }
}

fn all_objects() -> Vec<(Path, Vec<String>)> {
    let mut found = Vec::new();
    objects(&Path::default(), &[], &mut found);
    assert!(found.len() > 20, "{} objects", found.len());
    found
}

fn join(object: &str, field: &str) -> String {
    match object {
        "" => field.to_owned(),
        _ => format!("{object}.{field}"),
    }
}

/// The rows of the reference by the field's full path: a table's first cell is the object, each row's first its field.
fn rows() -> BTreeMap<String, String> {
    let text = read(&root().join("docs/configuration.md"));
    let mut rows = BTreeMap::new();
    let mut object = None;
    for line in text.lines() {
        let Some((first, rest)) = line.strip_prefix("| ").and_then(|line| line.split_once(" | ")) else {
            if !line.starts_with('|') {
                object = None;
            }
            continue;
        };
        let name = first.trim_matches('`');
        if rest.starts_with("type |") {
            object = Some(if name == "field" { "" } else { name });
        } else if let Some(object) = object {
            let twice = rows.insert(join(object, name), line.to_owned());
            assert_eq!(twice, None, "{name} has two rows");
        }
    }
    rows
}

#[test]
fn every_field_of_the_configuration_is_in_the_reference() {
    let rows = rows();
    let mut places: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    for (path, fields) in all_objects() {
        places.entry(fields).or_default().push(path.documented());
    }
    for (fields, objects) in places {
        // What may be in several places, such as a condition, is described in one of them.
        let missing = |object: &String| -> Vec<String> {
            let paths = fields.iter().map(|field| join(object, field));
            paths.filter(|path| !rows.contains_key(path)).collect()
        };
        let least = objects.iter().map(missing).min_by_key(Vec::len);
        assert_eq!(least, Some(Vec::new()), "fields of {objects:?} without a row");
    }
}

#[test]
fn the_reference_has_no_field_that_does_not_exist() {
    let objects = all_objects();
    let known: Vec<String> = objects
        .iter()
        .flat_map(|(path, fields)| fields.iter().map(|field| join(&path.documented(), field)))
        .collect();
    let rows = rows();
    let wrong: Vec<_> = rows.keys().filter(|row| !known.contains(row)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// `1000000` as `1,000,000`.
fn grouped(number: &str) -> String {
    let mut text = String::new();
    for (index, digit) in number.chars().enumerate() {
        if index > 0 && (number.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[test]
fn the_reference_has_the_words_and_ranges_that_are_taken() {
    let (page, rows) = (read(&root().join("docs/configuration.md")), rows());
    let (mut words, mut ranges) = (0, 0);
    for (path, fields) in all_objects() {
        for field in fields {
            let path = path.to(&[Step::Field(field)]);
            let Some(row) = rows.get(&path.documented()) else {
                continue;
            };
            let spaceless = row.replace(' ', "");
            // Neither a word nor a number nor a duration: each error lists the accepted values.
            let tried = [path.errors(json!([])), path.errors(json!("999999m"))].concat();
            let item = path.to(&[Step::Item]).errors(json!(1));
            for error in tried.iter().chain(&item) {
                if let Some((_, list)) = error.split_once("write one of ") {
                    // A row may have a link to where they are listed.
                    let place = if row.contains("](#") { &page } else { row };
                    for word in list.split(", ") {
                        assert!(place.contains(&format!("`{word}`")), "{word} is missing: {row}");
                        words += 1;
                    }
                } else if let Some((_, range)) = error.split_once("a whole number from ") {
                    let (least, most) = range.split_once(" to ").expect("a range");
                    let range = format!("{} to {}", grouped(least), grouped(most));
                    let by_others = row.contains(" to N") || row.contains(" to `max`");
                    assert!(by_others || row.contains(&range), "{range} is missing: {row}");
                    ranges += 1;
                } else if let Some((_, range)) = error.split_once("out of range; write ") {
                    assert!(
                        spaceless.contains(&range.replace(' ', "")),
                        "{range} is missing: {row}"
                    );
                    ranges += 1;
                }
            }
        }
    }
    assert!(words > 30 && ranges > 12, "{words} words, {ranges} ranges");
}

#[test]
fn every_policy_in_the_documentation_is_valid() {
    let mut policies = 0;
    for page in pages() {
        for (language, block) in blocks(&read(&page)) {
            let is_policy = block.lines().any(|line| line.starts_with("limits:"));
            if language != "yaml" || !is_policy {
                continue;
            }
            let policy: Value = serde_yaml_ng::from_str(&block).expect("YAML");
            if let Err(errors) = parse_value(&policy) {
                panic!("{}:\n{block}\n{errors}", page.display());
            }
            policies += 1;
        }
    }
    assert!(policies >= 10, "{policies} policies");
}
