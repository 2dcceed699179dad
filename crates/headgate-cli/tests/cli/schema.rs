//! `headgate schema` against the configuration's reader: the same fields, and nothing is refused that the reader takes.

use super::good;
use boon::{Compiler, SchemaIndex, Schemas};
use headgate_core::config::{parse_value, ConfigErrors};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Like no field.
const UNKNOWN: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";

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
    let text = include_str!("../../../headgate-core/src/config/tests/broken.txt");
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
        .find_map(|message| message.strip_prefix("unknown field; known are "));
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

/// Values that a policy has somewhere, and some that no policy has anywhere.
fn pool() -> Vec<Value> {
    let mut pool = vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(1.0),
        json!(429.0),
        json!(-0.0),
        json!(1.5),
        json!(-1),
        json!(1e3),
        json!(1e9),
        json!(1e300),
        json!(4096),
        json!(10_000_000),
        json!([]),
        json!({}),
        json!(""),
        json!(" "),
        json!("*"),
        json!("true"),
        json!("0%"),
        json!("00.50 %"),
        json!("100%\u{a0}"),
        json!("5 %"),
        json!("0ms"),
        json!("1.0ms"),
        json!("0.1 m"),
        json!("  10 / 30 s "),
        json!("0001/s"),
        json!("1/0s"),
        json!("0/366d"),
        json!("1000000000/9007s"),
        json!("unlimited"),
        json!("a-name"),
        json!("123"),
        json!("a:80"),
        json!("[::1]"),
        json!("a::"),
        json!("*.a"),
        json!("::1/128"),
        json!("10.0.0.0/08"),
        json!("{limit"),
        json!("{} {x}"),
        json!("{a{limit}"),
        json!("{limit}{name}{"),
        json!("text/plain ;q"),
        json!("|"),
        json!("a:+80"),
        json!("a:070000"),
        json!("query: a"),
        json!("é\u{7f}"),
        json!("\u{85}x"),
        json!("x\u{a0}"),
        json!("a\nb"),
        json!("/a b"),
        json!("/*/{x}"),
        json!("9F86D081884c7d659a2feaa0c55ad015"),
        json!({"regex": "a+"}),
        json!({"regex": "("}),
        json!([[]]),
        json!({"any": 1}),
        json!(["client"]),
        json!(["path", "address"]),
        json!({"response_header": "x", "max": 5}),
        json!({"from": "redis"}),
        json!([{"from": "redis"}]),
        json!([{"source": "api_key", "value": "a", "rate": "2/s"}]),
        json!({"path": "/x", "ignore_case": true}),
        json!({"path": "/x", "ignore_case": false}),
        json!({"not": {"path": "/a", "ignore_case": false}}),
        json!([{"source": ["api_key"]}]),
    ];
    let mut add = |value: &Value| {
        if !pool.contains(value) {
            pool.push(value.clone());
        }
    };
    for (_, policy) in policies() {
        each(&policy, &mut add);
    }
    pool
}

fn each(value: &Value, take: &mut impl FnMut(&Value)) {
    take(value);
    match value {
        Value::Object(map) => map.values().for_each(|value| each(value, take)),
        Value::Array(items) => items.iter().for_each(|value| each(value, take)),
        _ => {}
    }
}

/// The names of all fields, wherever they are.
fn names(policies: &[(String, Value)]) -> Vec<String> {
    let mut names = vec!["any".to_owned()];
    for (_, policy) in policies {
        each(policy, &mut |value| {
            names.extend(
                value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| name.clone()),
            );
        });
    }
    names.sort();
    names.dedup();
    names
}

/// The value that is the n-th of a policy, in some order.
fn nth<'v>(value: &'v mut Value, index: &mut usize) -> Option<&'v mut Value> {
    if *index == 0 {
        return Some(value);
    }
    *index -= 1;
    match value {
        Value::Object(map) => map.values_mut().find_map(|value| nth(value, index)),
        Value::Array(items) => items.iter_mut().find_map(|value| nth(value, index)),
        _ => None,
    }
}

#[derive(Debug, Clone)]
struct Mutation {
    at: prop::sample::Index,
    kind: u8,
    value: prop::sample::Index,
    name: prop::sample::Index,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    (index(), 0_u8..6, index(), index()).prop_map(|(at, kind, value, name)| Mutation {
        at,
        kind,
        value,
        name,
    })
}

/// Changes a value at a place: puts another in its place, adds, removes or repeats a part of it.
fn mutate(policy: &mut Value, change: &Mutation, pool: &[Value], names: &[String]) {
    let mut count = 0;
    each(policy, &mut |_| count += 1);
    let Some(place) = nth(policy, &mut change.at.index(count)) else {
        return;
    };
    let other = || change.value.get(pool).clone();
    match (place, change.kind) {
        (Value::Object(map), 0 | 1) => {
            map.insert(change.name.get(names).clone(), other());
        }
        (Value::Object(map), 2 | 3) if !map.is_empty() => {
            let name = map.keys().nth(change.name.index(map.len())).cloned();
            map.remove(&name.unwrap_or_default());
        }
        (Value::Array(items), 0 | 1) if !items.is_empty() => items.push(change.name.get(items).clone()),
        (Value::Array(items), 2) => items.push(other()),
        (Value::Array(items), 3) => {
            items.pop();
        }
        (Value::Number(number), 4) => {
            // As a Struct has it.
            if let Some(double) = number.as_f64().and_then(serde_json::Number::from_f64) {
                *number = double;
            }
        }
        (place, _) => *place = other(),
    }
}

#[test]
fn what_the_schema_refuses_the_reader_refuses() {
    let (validator, pool, policies) = (Validator::new(), pool(), policies());
    let names = names(&policies);
    let (mut refused, mut accepted) = (0, 0);
    let cases = (
        any::<prop::sample::Index>(),
        prop::collection::vec(mutation(), 1..4),
    );
    let mut runner = TestRunner::default();
    for _ in 0..8_000 {
        let (policy, changes) = cases.new_tree(&mut runner).expect("a case").current();
        let mut changed = policy.get(&policies).1.clone();
        for change in &changes {
            mutate(&mut changed, change, &pool, &names);
        }
        match (validator.refusal(&changed), parse_value(&changed)) {
            (Some(why), Ok(_)) => panic!("the schema refuses what the reader takes:\n{changed:#}\n{why}"),
            (Some(_), Err(_)) => refused += 1,
            (None, Ok(_)) => accepted += 1,
            (None, Err(_)) => {}
        }
    }
    assert!(
        refused > 2_000 && accepted > 400,
        "{refused} refused and {accepted} accepted by both"
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
