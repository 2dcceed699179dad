//! For all bytes there is a result, in bounded depth, without a panic.

use super::struct_bytes;
use crate::config::{parse, parse_value, version};
use crate::wire;
use proptest::prelude::*;
use serde_json::{json, Map, Value};

/// Words of the configuration, so that random values get past the first check.
const WORDS: &[&str] = &[
    "role",
    "filter",
    "redis_call",
    "enabled",
    "instance",
    "enforce",
    "10%",
    "store",
    "local",
    "redis",
    "cluster",
    "key_prefix",
    "timeout",
    "1s",
    "on_error",
    "deny",
    "share",
    "identify",
    "name",
    "header",
    "cookie",
    "query",
    "metadata",
    "tls",
    "uri_san",
    "all",
    "address",
    "ipv4_prefix",
    "extract",
    "(.+)",
    "as",
    "plain",
    "exempt",
    "rates",
    "limits",
    "rate",
    "1/s",
    "unlimited",
    "algorithm",
    "gcra",
    "burst",
    "align",
    "match",
    "methods",
    "path",
    "hosts",
    "headers",
    "route",
    "source",
    "not",
    "regex",
    "/a/**",
    "key",
    "client",
    "header:x",
    "overrides",
    "from",
    "value",
    "hash",
    "cidr",
    "10.0.0.0/8",
    "replaces",
    "expose",
    "cost",
    "max",
    "response_header",
    "lease",
    "response",
    "status",
    "body",
    "{limit}",
    "{x}",
    "format",
    "reset",
    "metrics",
    "clients",
    "verdict_cache",
    "max_age",
    "log",
    "*",
    "é",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![9 => prop::sample::select(WORDS).prop_map(str::to_owned), 1 => any::<String>()]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (0_i64..200).prop_map(Value::from),
        any::<i32>().prop_map(|quarters| json!(f64::from(quarters) / 4.0)),
        word().prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((word(), inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<String, Value>>())),
        ]
    })
}

/// An object of the configuration's own shape in which one field is random.
fn nearly_right() -> impl Strategy<Value = Value> {
    let fields = [
        "identify", "exempt", "limits", "rates", "response", "redis", "metrics", "enforce", "on_error",
    ];
    let limit_fields = [
        "rate",
        "match",
        "key",
        "overrides",
        "cost",
        "replaces",
        "algorithm",
        "burst",
        "lease",
    ];
    (
        prop::sample::select(fields.to_vec()),
        prop::sample::select(limit_fields.to_vec()),
        value(),
        value(),
    )
        .prop_map(|(field, limit_field, a, b)| {
            let mut limit = json!({"name": "a", "rate": "5/s"});
            limit[limit_field] = b;
            let mut root = json!({"limits": [limit, {"rate": "1/s", "replaces": "a"}]});
            root[field] = a;
            root
        })
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn bytes_near_a_struct_are_answered(value in nearly_right(), cut in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = struct_bytes(&value);
        let at = cut.index(bytes.len());
        bytes[at] = byte;
        let _ = parse(&bytes);
        let _ = parse(&bytes[..at]);
    }

    #[test]
    fn what_is_read_as_a_struct_is_one(value in nearly_right(), cut in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = struct_bytes(&value);
        let at = cut.index(bytes.len());
        bytes[at] = byte;
        if wire::decode(&bytes).is_ok() {
            prop_assert!(<prost_types::Struct as prost::Message>::decode(&bytes[..]).is_ok());
        }
    }

    #[test]
    fn any_json_is_answered_in_short_lines(value in prop_oneof![value(), nearly_right()]) {
        if let Err(errors) = parse_value(&value) {
            let shown = errors.to_string();
            prop_assert!(shown.lines().all(|line| line.chars().count() < 2_000), "{shown}");
            prop_assert_eq!(shown.lines().count(), errors.iter().count().min(51));
        }
    }

    #[test]
    fn a_struct_is_read_as_its_json(value in nearly_right()) {
        prop_assert_eq!(parse(&struct_bytes(&value)), parse(value.to_string().as_bytes()));
    }
}

#[test]
fn depth_is_bounded_in_json() {
    let deep = format!("{{\"limits\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse(deep.as_bytes())
        .unwrap_err()
        .to_string()
        .contains("recursion limit"));
}

/// A Struct with nested lists of this depth.
fn nested_struct(depth: usize) -> Vec<u8> {
    let mut value = vec![0x32, 0];
    for _ in 0..depth {
        value = within(0x32, &within(0x0a, &value));
    }
    within(0x0a, &[within(0x0a, b"limits"), within(0x12, &value)].concat())
}

/// A field of a message: its tag, its length, its bytes.
fn within(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![tag];
    prost::encoding::encode_varint(content.len() as u64, &mut field);
    field.extend_from_slice(content);
    field
}

#[test]
fn depth_is_bounded_in_a_struct() {
    let error = |depth| parse(&nested_struct(depth)).unwrap_err().to_string();
    assert!(error(62).starts_with("limits[0]: "), "{}", error(62));
    for depth in [70, 10_000] {
        assert!(error(depth).contains("nested too deeply"), "{}", error(depth));
    }
}

#[test]
fn size_is_bounded() {
    let long = vec![b' '; (4 << 20) + 1];
    assert!(parse(&long).unwrap_err().to_string().contains("at most"));
}

#[test]
fn a_field_written_twice_is_refused() {
    for (text, path) in [
        (
            r#"{"limits": [{}, {"rate": "1/s", "rate": "9/s"}]}"#,
            "limits[1].rate",
        ),
        (
            r#"{"a b": {"c": 1, "d": [[], [{"": 1, "": 1}]], "c": 1}}"#,
            r#"["a b"].d[1][0][""]"#,
        ),
    ] {
        let error = parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, format!("{path}: is duplicated in this object; remove one"));
    }
}

#[test]
fn a_version_depends_on_the_values_and_not_on_their_spelling() {
    let same = |a: &str, b: &str| version(a.as_bytes()) == version(b.as_bytes());
    assert!(same(
        r#"{"a": 1, "b": [2, "c"]}"#,
        "{\"b\":[2.0,\"\\u0063\"],\n\"a\":1}"
    ));
    let value = json!({"limits": [{"rate": "1/s", "burst": 5, "expose": false}], "x": [null, 0.25]});
    assert_eq!(
        version(value.to_string().as_bytes()),
        version(&struct_bytes(&value))
    );
    let others = [
        r#"{"a": 1}"#,
        r#"{"a": "1"}"#,
        r#"{"a": 2}"#,
        r#"{"a": -1}"#,
        r#"{"a": 1.5}"#,
        r#"{"a": 1e300}"#,
        r#"{"a": true}"#,
        r#"{"a": false}"#,
        r#"{"a": null}"#,
        r#"{"a": []}"#,
        r#"{"a": {}}"#,
        r#"{"a": [1]}"#,
        r#"{"a": [[1]]}"#,
        r#"{"a": [1, 2]}"#,
        r#"{"a": [[1], 2]}"#,
        r#"{"a": ["", ""]}"#,
        r#"{"a": [""]}"#,
        r#"{"b": 1}"#,
        r#"{"a": {"b": 1}}"#,
        r#"{"a": 18446744073709551615}"#,
        r#"{"a": 18446744073709551614}"#,
        r#"{"a": {"b": {}, "c": 1}}"#,
        r#"{"a": {"b": {"c": 1}}}"#,
    ];
    for (index, a) in others.iter().enumerate() {
        for b in &others[..index] {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}

#[test]
fn text_that_is_not_json_is_an_error_with_a_remedy() {
    let error = parse(b"limits:\n  - rate: 1/s\n").unwrap_err().to_string();
    assert!(
        error.starts_with("configuration: not JSON:") && error.contains("google.protobuf.Struct"),
        "{error}"
    );
    let error = parse(b"\x08\x96\x01\xff").unwrap_err().to_string();
    assert!(
        error.starts_with("configuration: neither JSON text nor"),
        "{error}"
    );
}

#[test]
fn ten_thousand_overrides_are_read() {
    let overrides: Vec<Value> = (0..10_000)
        .map(|n| json!({"source": "api_key", "hash": format!("{n:032x}"), "rate": "unlimited"}))
        .collect();
    let value = json!({"limits": [{"rate": "5/s", "overrides": overrides}]});
    assert!(parse_value(&value).is_ok());
    assert!(struct_bytes(&value).len() < 4 << 20);
}

/// Envoy passes on every type but StringValue and BytesValue as the bytes of its message.
#[test]
fn another_message_than_a_struct_is_refused_by_name() {
    let policy = json!({"limits": [{"rate": "1/s"}]});
    let guard = json!({"role": "redis_call", "redis": {"key_prefix": "ratelimit"}});
    let value = |value: &Value| {
        let kind = Some(super::kind(value));
        prost::Message::encode_to_vec(&prost_types::Value { kind })
    };
    let typed = |url: &str, value: &Value| {
        [within(0x0a, url.as_bytes()), within(0x12, &struct_bytes(value))].concat()
    };
    let mut messages = vec![typed("", &policy)[2..].to_vec()];
    for content in [&policy, &guard, &json!({})] {
        messages.push(value(content));
        messages.push(value(&json!([content])));
        messages.push(value(&Value::from(content.to_string())));
        messages.push(typed("type.googleapis.com/headgate", content));
        messages.push(typed("headgate", content));
    }
    messages.extend([Value::Null, json!(true), json!(5)].iter().map(value));
    for message in messages {
        let shown = parse(&message).unwrap_err().to_string();
        let remedy = "write \"@type\": type.googleapis.com/google.protobuf.Struct";
        assert!(shown.contains(remedy), "{message:?}: {shown}");
    }
}
