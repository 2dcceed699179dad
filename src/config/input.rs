//! The bytes that Envoy hands over, as JSON values: JSON text or a `google.protobuf.Struct`.
//!
//! Bounds size and depth, and refuses what would be lost (a field written twice). Knows no field.

use crate::config::wire;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Longest configuration, in bytes: some 40,000 overrides.
const LONGEST: usize = 4 << 20;

pub(super) const EMPTY: &str = r#"empty; the smallest is {"limits": [{"rate": "100/minute"}]}"#;

/// Why bytes are no configuration; the text is for the person who wrote it.
#[derive(Debug)]
pub(super) struct InputError(pub String);

/// A Struct has control bytes (its field tags) that JSON text cannot have, so each is told by the other's lack.
/// Depth is bounded by both decoders: 127 levels of JSON, 64 of a Struct.
pub(super) fn decode(bytes: &[u8]) -> Result<Value, InputError> {
    if bytes.len() > LONGEST {
        return Err(InputError(format!(
            "{} bytes; at most {LONGEST} are read",
            bytes.len()
        )));
    }
    if bytes.trim_ascii().is_empty() {
        return Err(InputError(EMPTY.to_owned()));
    }
    let is_binary = |byte: &u8| *byte < b' ' && !b"\t\n\r".contains(byte);
    if bytes.iter().any(is_binary) {
        decode_struct(bytes)
    } else {
        decode_json(bytes)
    }
}

fn decode_json(bytes: &[u8]) -> Result<Value, InputError> {
    match serde_json::from_slice::<Strict>(bytes) {
        Ok(Strict(value)) => Ok(value),
        Err(error) => Err(InputError(format!(
            "not JSON: {error}; a StringValue holds JSON, YAML goes into a google.protobuf.Struct"
        ))),
    }
}

fn decode_struct(bytes: &[u8]) -> Result<Value, InputError> {
    wire::decode(bytes)
        .map_err(|error| InputError(format!("neither JSON text nor a google.protobuf.Struct: {error}")))
}

/// A JSON value in which no object has a field twice: the first would be lost without a word.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Strict, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(wire::from_double(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!(
                    "the field {key:?} stands twice in one object"
                )));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
