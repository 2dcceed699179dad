//! Shapes as JSON Schema, draft 2020-12.

use super::description::{self, Row};
use super::form::{self, Pattern};
use headgate_core::config::{shape, Check, Object, Rule, Shape, Test, TextForm};
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;

/// The schema of a whole policy.
///
/// # Errors
/// If the reference does not describe a field.
pub(super) fn schema() -> Result<Value, String> {
    let root = shape();
    let mut renderer = Renderer {
        rows: description::rows(),
        places: Vec::new(),
        definitions: Map::new(),
        undescribed: Vec::new(),
    };
    renderer.visit(root, "", &[]);
    let mut schema = renderer.object(root);
    if let Some(path) = renderer.undescribed.first() {
        return Err(format!("docs/configuration.md has no row for {path}"));
    }
    schema.insert(
        "$schema".into(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("$defs".into(), Value::Object(renderer.definitions));
    schema.insert("title".into(), json!("Headgate policy"));
    let about = "The policy of Headgate, a rate-limiting filter for Envoy. Made by `headgate schema`.";
    schema.insert("description".into(), json!(about));
    Ok(Value::Object(schema))
}

/// Where an object is in a policy.
struct ObjectPlace {
    object: &'static Object,
    /// The paths of the object, in the order in which they are found.
    paths: Vec<String>,
}

struct Renderer {
    rows: BTreeMap<String, Row>,
    places: Vec<ObjectPlace>,
    definitions: Map<String, Value>,
    undescribed: Vec<String>,
}

impl Renderer {
    /// Collects the places of each object. An object with several places becomes a definition.
    fn visit(&mut self, object: &'static Object, path: &str, around: &[&'static Object]) {
        match self
            .places
            .iter_mut()
            .find(|place| std::ptr::eq(place.object, object))
        {
            Some(place) => place.paths.push(path.to_owned()),
            None => self.places.push(ObjectPlace {
                object,
                paths: vec![path.to_owned()],
            }),
        }
        // A condition can contain a condition, so the objects are recursive.
        if around.iter().any(|outer| std::ptr::eq(*outer, object)) {
            return;
        }
        let around = [around, &[object]].concat();
        for (name, shape) in object.fields {
            self.visit_shape(shape, description::join(path, name), &around);
        }
    }

    fn visit_shape(&mut self, shape: &'static Shape, path: String, around: &[&'static Object]) {
        match shape {
            Shape::Object(object) => self.visit(object, &path, around),
            Shape::List { of, .. } => self.visit_shape(of, path + "[]", around),
            Shape::Map { of, .. } => self.visit_shape(of, path + ".*", around),
            Shape::Either(a, b) => {
                self.visit_shape(a, path.clone(), around);
                self.visit_shape(b, path, around);
            }
            _ => {}
        }
    }

    /// The path under which the reference describes a field of this object, or of one with the same fields.
    fn row(&mut self, object: &'static Object, name: &str) -> Option<Row> {
        let same = |place: &&ObjectPlace| place.object.names().eq(object.names());
        let paths = self.places.iter().filter(same).flat_map(|place| &place.paths);
        let rows = paths.map(|path| description::join(path, name));
        let found = rows.filter_map(|path| self.rows.get(&path)).next().cloned();
        if found.is_none() {
            let path = self
                .places
                .iter()
                .find(|place| std::ptr::eq(place.object, object));
            let path = path
                .and_then(|place| place.paths.first())
                .map_or("", String::as_str);
            self.undescribed.push(description::join(path, name));
        }
        found
    }

    fn object(&mut self, object: &'static Object) -> Map<String, Value> {
        let refused: Vec<&str> = object.rules.iter().flat_map(Rule::refused).copied().collect();
        let mut properties = Map::new();
        for (name, shape) in object.fields.iter().filter(|(name, _)| !refused.contains(name)) {
            let mut field = self.shape(shape);
            if let Some(row) = self.row(object, name) {
                field.insert("description".into(), json!(row.text));
                if let Some(default) = row.default {
                    field.insert("default".into(), default);
                }
            }
            properties.insert((*name).to_owned(), Value::Object(field));
        }
        let mut schema = Map::new();
        schema.insert("type".into(), json!("object"));
        schema.insert("properties".into(), Value::Object(properties));
        schema.insert("additionalProperties".into(), json!(false));
        add_rules(&mut schema, object.rules, &refused);
        schema
    }

    /// The schema of an object where it is used: a reference if the object has several places.
    fn object_here(&mut self, object: &'static Object) -> Map<String, Value> {
        let places = self
            .places
            .iter()
            .find(|place| std::ptr::eq(place.object, object));
        let Some(place) = places.filter(|place| place.paths.len() > 1) else {
            return self.object(object);
        };
        // The path that the reference describes, or else the first path.
        let described = |path: &&String| {
            object
                .names()
                .all(|name| self.rows.contains_key(&description::join(path, name)))
        };
        let path = place.paths.iter().find(described).or(place.paths.first());
        let name = path.map_or_else(String::new, |path| path.replace("[]", "").replace(".*", ""));
        if !self.definitions.contains_key(&name) {
            // Prevents a recursive object from being rendered within itself.
            self.definitions.insert(name.clone(), Value::Null);
            let schema = self.object(object);
            self.definitions.insert(name.clone(), Value::Object(schema));
        }
        map([("$ref", json!(format!("#/$defs/{name}")))])
    }

    fn shape(&mut self, shape: &'static Shape) -> Map<String, Value> {
        match shape {
            Shape::Flag => map([("type", json!("boolean"))]),
            Shape::False => map([("const", json!(false))]),
            Shape::Integer { least, most } => map([
                ("type", json!("integer")),
                ("minimum", json!(least)),
                ("maximum", json!(most)),
            ]),
            Shape::Duration { least, most } => text(Some(form::duration(*least, *most))),
            Shape::Words(words) => map([("type", json!("string")), ("enum", json!(words))]),
            Shape::Text(form) => text(Pattern::of(*form)),
            Shape::List { of, least, distinct } => {
                let mut list = map([("type", json!("array")), ("items", Value::Object(self.shape(of)))]);
                if *least > 0 {
                    list.insert("minItems".into(), json!(least));
                }
                if *distinct {
                    list.insert("uniqueItems".into(), json!(true));
                }
                list
            }
            Shape::Map { keys, of, least } => {
                let mut names = text(Pattern::of(*keys));
                names.remove("type");
                let mut object = map([
                    ("type", json!("object")),
                    ("propertyNames", Value::Object(names)),
                    ("additionalProperties", Value::Object(self.shape(of))),
                ]);
                if *least > 0 {
                    object.insert("minProperties".into(), json!(least));
                }
                object
            }
            Shape::Object(object) => self.object_here(object),
            Shape::Either(a, b) => either(self.shape(a), self.shape(b)),
        }
    }
}

/// Merges two schemas of different types into one, because editors explain its errors better than those of `anyOf`. A
/// schema that does not have exactly one type (words, a reference) cannot be merged.
fn either(a: Map<String, Value>, b: Map<String, Value>) -> Map<String, Value> {
    let of_all_types = ["enum", "oneOf", "allOf"];
    let is_typed = |schema: &Map<String, Value>| {
        schema.contains_key("type") && !of_all_types.iter().any(|key| schema.contains_key(*key))
    };
    if !is_typed(&a) || !is_typed(&b) {
        return map([("anyOf", json!([a, b]))]);
    }
    let types = json!([a.get("type"), b.get("type")]);
    let mut both: Map<String, Value> = a.into_iter().chain(b).collect();
    both.insert("type".into(), types);
    both
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn text(pattern: Option<Pattern>) -> Map<String, Value> {
    let mut schema = map([("type", json!("string"))]);
    let Some(pattern) = pattern else { return schema };
    schema.insert("pattern".into(), json!(pattern.fits));
    if let Some(except) = pattern.except {
        // With the type: without it, a value that is not a string would match the pattern, and be refused.
        schema.insert("not".into(), json!({"type": "string", "pattern": except}));
    }
    let remedy = pattern.remedy.trim_end();
    // The language servers for YAML and JSON show this text instead of the expression.
    schema.insert("patternErrorMessage".into(), json!(remedy));
    schema
}

fn add_rules(schema: &mut Map<String, Value>, rules: &[Rule], refused: &[&str]) {
    let mut required = Vec::new();
    let mut all = Vec::new();
    for rule in rules {
        match rule {
            Rule::Required(name) => required.push(*name),
            Rule::NotEmpty => {
                schema.insert("minProperties".into(), json!(1));
            }
            Rule::ExactlyOne(names) => {
                let one = names.iter().filter(|name| !refused.contains(name));
                let one: Vec<Value> = one.map(|name| json!({"required": [name]})).collect();
                schema.insert("oneOf".into(), Value::Array(one));
            }
            Rule::Never(checks, remedy) => {
                all.push(json!({"not": {"allOf": conditions(checks)}, "errorMessage": remedy}))
            }
            Rule::UnlessGuard(names) => all.push(unless_guard(names)),
            Rule::Without(_) => {}
        }
    }
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    if !all.is_empty() {
        schema.insert("allOf".into(), Value::Array(all));
    }
}

/// These fields are required, unless the configuration is the guard's: it has `role`, or only `redis.key_prefix`.
fn unless_guard(names: &[&str]) -> Value {
    let alone = json!({
        "required": ["redis"],
        "maxProperties": 1,
        "properties": {"redis": {"type": "object", "required": ["key_prefix"], "maxProperties": 1}}
    });
    let by_role = json!({"required": ["role"], "properties": {"role": {"const": "redis_call"}}});
    json!({
        "if": {"anyOf": [by_role, alone]},
        "then": {
            "propertyNames": {"enum": ["role", "redis"]},
            "properties": {"redis": {"propertyNames": {"enum": ["key_prefix"]}}}
        },
        "else": {"required": names}
    })
}

fn conditions(checks: &[Check]) -> Vec<Value> {
    checks.iter().map(|(name, test)| condition(name, test)).collect()
}

fn condition(name: &str, test: &Test) -> Value {
    let is = |value: Value| json!({"required": [name], "properties": {name: value}});
    let object_with = |checks: &[Check]| json!({"type": "object", "allOf": conditions(checks)});
    match test {
        Test::Present => json!({"required": [name]}),
        Test::Absent => json!({"not": {"required": [name]}}),
        Test::Is(word) => is(json!({"const": word})),
        Test::IsNot(word) => json!({"not": is(json!({"const": word}))}),
        Test::Positive => {
            let zero = Pattern::of(TextForm::PositiveShare).and_then(|pattern| pattern.except);
            is(json!({"type": "string", "not": {"pattern": zero}}))
        }
        Test::Object => is(json!({"type": "object"})),
        Test::With(field) => is(json!({"type": "object", "required": [field]})),
        Test::Lacks(word) => is(json!({"type": "array", "not": {"contains": {"const": word}}})),
        Test::Some(checks) => {
            let object = object_with(checks);
            is(json!({"anyOf": [object, {"type": "array", "contains": object}]}))
        }
    }
}
