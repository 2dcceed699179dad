//! Random changes of good policies: whatever the schema refuses, the reader refuses.

use super::{policies, Validator};
use headgate_core::config::parse_value;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{json, Value};

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
