//! `headgate schema` against the configuration's reader: the same fields, and nothing is refused that the reader takes.

mod fields;
mod mutations;

use super::good;
use boon::{Compiler, SchemaIndex, Schemas};
use headgate_core::config::parse_value;
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

struct Validator {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Validator {
    fn new() -> Validator {
        let schema = serde_json::from_str(&good(&["schema"], "")).expect("JSON");
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        let url = "http://localhost/policy.schema.json";
        compiler.add_resource(url, schema).expect("a resource");
        let index = compiler
            .compile(url, &mut schemas)
            .expect("a schema of draft 2020-12");
        Validator { schemas, index }
    }

    /// Why the schema refuses it.
    fn refusal(&self, policy: &Value) -> Option<String> {
        let result = self.schemas.validate(policy, self.index);
        result.err().map(|error| format!("{error:#}"))
    }
}

/// All files in a folder whose names end so, and in those below it.
fn files(folder: &Path, ends: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("node_modules") {
            files(&path, ends, found);
        } else if path.extension().is_some_and(|extension| extension == ends) {
            found.push(path);
        }
    }
}

/// The YAML documents of the shipped files, of the tests and of the pages, with where each is.
fn documents() -> Vec<(String, Value)> {
    let find = |folders: &[&str], ends| {
        let mut found = Vec::new();
        folders
            .iter()
            .for_each(|folder| files(&root().join(folder), ends, &mut found));
        found
            .into_iter()
            .map(|path| (path.display().to_string(), read(&path)))
    };
    let mut texts: Vec<(String, String)> = find(&["envoy", "tests", "crates"], "yaml").collect();
    for (page, text) in
        find(&["docs"], "md").chain([("README.md".to_owned(), read(&root().join("README.md")))])
    {
        let blocks = text
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next());
        texts.extend(blocks.map(|block| (page.clone(), block.to_owned())));
    }
    for (source, text) in find(&["tests", "crates"], "rs") {
        // What is between quotes, of which some is a policy.
        let literals = text
            .split('"')
            .filter(|text| text.starts_with('{') && text.contains("limits:"));
        texts.extend(literals.map(|text| (source.clone(), text.replace("\\\n", ""))));
    }
    let mut documents = Vec::new();
    for (place, text) in texts {
        // Templates of the tests are not YAML as they are.
        let values = text
            .split("\n---\n")
            .filter_map(|part| serde_yaml_ng::from_str(part).ok());
        documents.extend(values.map(|value| (place.clone(), value)));
    }
    documents
}

/// Each object in a document that the reader takes as a policy.
fn policies_in(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(map) => match parse_value(value) {
            Ok(_) => found.push(value.clone()),
            Err(_) => map.values().for_each(|value| policies_in(value, found)),
        },
        Value::Array(items) => items.iter().for_each(|value| policies_in(value, found)),
        _ => {}
    }
}

fn policies() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (place, document) in documents() {
        let mut found = Vec::new();
        policies_in(&document, &mut found);
        all.extend(found.into_iter().map(|policy| (place.clone(), policy)));
    }
    all
}

/// The broken configurations of the unit tests, as they are written there, each with a limit where it has none and that is
/// not its mistake.
fn broken() -> Vec<(&'static str, Value)> {
    let text = include_str!("../../../../headgate-core/src/config/tests/broken.txt");
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let case = |pair: &[&'static str]| {
        let mut policy: Value = serde_yaml_ng::from_str(pair[0]).expect("YAML");
        let is_guard = policy["role"] == "redis_call";
        if let (Some(map), false) = (
            policy.as_object_mut(),
            pair[1].trim().starts_with("limits =>") || is_guard,
        ) {
            map.entry("limits").or_insert(json!([{"rate": "1/s"}]));
        }
        (pair[0], policy)
    };
    lines.chunks(2).map(case).collect()
}

#[test]
fn the_schema_in_docs_is_current() {
    let written = read(&root().join("docs/policy.schema.json"));
    let current = good(&["schema"], "");
    assert!(
        written == current,
        "docs/policy.schema.json differs; run: headgate schema > docs/policy.schema.json"
    );
}

#[test]
fn every_policy_of_docs_examples_and_tests_validates() {
    let (validator, policies) = (Validator::new(), policies());
    for (place, policy) in &policies {
        assert_eq!(validator.refusal(policy), None, "{place}\n{policy:#}");
    }
    for place in [
        "contract.yaml",
        "configuration.md",
        "gateway.yaml",
        "two-stage.yaml",
        "higress.yaml",
        "defaults.rs",
    ] {
        assert!(
            policies.iter().any(|(path, _)| path.ends_with(place)),
            "no policy of {place}"
        );
    }
    assert!(policies.len() > 60, "{} policies", policies.len());
}

#[test]
fn every_default_is_valid_where_it_is_written() {
    let validator = Validator::new();
    let schema: Value = serde_json::from_str(&good(&["schema"], "")).expect("JSON");
    let properties = schema["properties"].as_object().expect("fields");
    let mut defaults = json!({"limits": [{"rate": "1/s"}]});
    for (name, field) in properties {
        if let Some(default) = field.get("default") {
            defaults[name] = default.clone();
        }
        for (inner, field) in field["properties"].as_object().into_iter().flatten() {
            if let Some(default) = field.get("default") {
                defaults[name][inner] = default.clone();
            }
        }
    }
    assert!(
        defaults.as_object().expect("an object").len() > 12,
        "{defaults:#}"
    );
    assert_eq!(validator.refusal(&defaults), None);
    assert!(parse_value(&defaults).is_ok(), "{defaults:#}");
}

/// Those of the broken configurations that the schema accepts, with the reason: each line and its reason below it.
fn inexpressible() -> BTreeMap<&'static str, &'static str> {
    let text = include_str!("inexpressible.txt");
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let pairs = lines.chunks(2).map(|pair| (pair[0], pair[1].trim()));
    pairs.collect()
}

#[test]
fn broken_configurations_are_refused_where_a_schema_can() {
    let (validator, listed) = (Validator::new(), inexpressible());
    let accepted = broken()
        .into_iter()
        .filter(|(_, policy)| validator.refusal(policy).is_none());
    let accepted: Vec<&str> = accepted.map(|(text, _)| text).collect();
    let unlisted: Vec<_> = accepted
        .iter()
        .filter(|text| !listed.contains_key(*text))
        .collect();
    assert!(unlisted.is_empty(), "accepted without a reason:\n{unlisted:#?}");
    let stale: Vec<_> = listed.keys().filter(|text| !accepted.contains(text)).collect();
    assert!(
        stale.is_empty(),
        "the schema refuses these, or no test has them:\n{stale:#?}"
    );
    assert!(
        listed.values().all(|reason| reason.starts_with("needs ")),
        "each has its reason"
    );
}

#[test]
fn numbers_may_be_whole_doubles() {
    let validator = Validator::new();
    for (_, mut policy) in policies() {
        doubles(&mut policy);
        assert_eq!(validator.refusal(&policy), None, "{policy:#}");
    }
}

fn doubles(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let double = number.as_f64().and_then(serde_json::Number::from_f64);
            *number = double.expect("a number");
        }
        Value::Array(items) => items.iter_mut().for_each(doubles),
        Value::Object(map) => Map::iter_mut(map).for_each(|(_, value)| doubles(value)),
        _ => {}
    }
}
