//! The fields of the schema are those that the reader lists where it finds an unknown one.

use crate::good;
use headgate_core::config::{parse_value, ConfigErrors};
use serde_json::{json, Value};

/// Like no field.
const UNKNOWN: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";

/// What the reader says of the value at this path.
fn messages(policy: &Value, path: &str) -> Vec<String> {
    let errors = parse_value(policy).err();
    let all = errors.iter().flat_map(ConfigErrors::iter);
    all.filter(|error| error.path == path)
        .map(|error| error.message.clone())
        .collect()
}

/// A step from an object to one in it.
#[derive(Clone)]
enum Step {
    Field(String),
    Item,
    Entry,
}

fn within(steps: &[Step], value: Value) -> Value {
    steps.iter().rev().fold(value, |value, step| match step {
        Step::Field(name) => json!({ name: value }),
        Step::Item => json!([value]),
        Step::Entry => json!({"any": value}),
    })
}

fn path(steps: &[Step]) -> String {
    let texts = steps.iter().map(|step| match step {
        Step::Field(name) => format!(".{name}"),
        Step::Item => "[0]".to_owned(),
        Step::Entry => ".any".to_owned(),
    });
    texts.collect::<String>().trim_start_matches('.').to_owned()
}

/// Compares the fields of an object, and of those in it, with what the reader lists for an unknown one.
fn compare(schema: &Value, at: &Value, steps: &[Step], seen: &mut Vec<String>, compared: &mut usize) {
    if let Some(reference) = at["$ref"].as_str() {
        let name = reference.strip_prefix("#/$defs/").expect("a definition");
        if seen.iter().any(|seen| seen == name) {
            return;
        }
        seen.push(name.to_owned());
        return compare(schema, &schema["$defs"][name], steps, seen, compared);
    }
    let into = |step: Step| [steps, &[step]].concat();
    for alternative in at["anyOf"].as_array().into_iter().flatten() {
        compare(schema, alternative, steps, seen, compared);
    }
    if at["items"].is_object() {
        compare(schema, &at["items"], &into(Step::Item), seen, compared);
    }
    if at["additionalProperties"].is_object() {
        compare(
            schema,
            &at["additionalProperties"],
            &into(Step::Entry),
            seen,
            compared,
        );
    }
    let Some(properties) = at["properties"].as_object() else {
        return;
    };
    let unknown = into(Step::Field(UNKNOWN.to_owned()));
    let said = messages(&within(&unknown, json!(1)), &path(&unknown));
    let known = said
        .iter()
        .find_map(|message| message.strip_prefix("unknown field; valid: "));
    let known = known.unwrap_or_else(|| panic!("{}: {said:?}", path(steps)));
    let mut known: Vec<&str> = known.split(", ").collect();
    // A part of a composite is a source, but for these, each of which the reader refuses there.
    if path(steps) == "identify[0].all[0]" {
        for name in ["name", "as", "all"] {
            let field = into(Step::Field(name.to_owned()));
            let part = within(steps, json!({"header": "a", name: "plain"}));
            let alone = within(&field, json!([]));
            let refused = [messages(&part, &path(&field)), messages(&alone, &path(&field))].concat();
            assert!(
                refused.iter().any(|message| message.contains("composite")),
                "{name}: {refused:?}"
            );
        }
        known.retain(|name| !["name", "as", "all"].contains(name));
    }
    known.sort_unstable();
    let mut names: Vec<&str> = properties.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, known, "the fields of {:?}", path(steps));
    *compared += 1;
    for (name, field) in properties {
        let is_described = field["description"].as_str().is_some_and(|text| text.len() > 3);
        assert!(is_described, "{}.{name} has no description", path(steps));
        compare(schema, field, &into(Step::Field(name.clone())), seen, compared);
    }
}

#[test]
fn schema_and_reader_have_the_same_fields_at_each_level() {
    let schema: Value = serde_json::from_str(&good(&["schema"], "")).expect("JSON");
    let mut compared = 0;
    compare(&schema, &schema, &[], &mut Vec::new(), &mut compared);
    assert!(compared > 15, "{compared} objects");
}
