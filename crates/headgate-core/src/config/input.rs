//! Decodes the bytes from Envoy into JSON values: from JSON text or a `google.protobuf.Struct`.
//!
//! Bounds size and depth, and refuses duplicated fields. Independent of the fields' meaning.

use crate::config::node::step_to;
use crate::wire;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::fmt;

/// Longest configuration, in bytes: some 40,000 overrides.
const LONGEST: usize = 4 << 20;

pub(super) const EMPTY: &str = r#"empty; the smallest is {"limits": [{"rate": "100/minute"}]}"#;

/// Why the bytes are not a valid configuration; for its author.
#[derive(Debug)]
pub(super) struct InputError {
    /// The path of the value; empty for the whole configuration.
    pub path: String,
    pub message: String,
}

impl InputError {
    fn whole(message: String) -> InputError {
        InputError {
            path: String::new(),
            message,
        }
    }
}

/// A Struct has control bytes (its field tags) that JSON text cannot have, so the two are distinguished by control
/// bytes. Depth is bounded by both decoders: 127 levels of JSON, 64 of a Struct.
pub(super) fn decode(bytes: &[u8]) -> Result<Value, InputError> {
    if bytes.len() > LONGEST {
        let size = bytes.len();
        return Err(InputError::whole(format!(
            "{size} bytes; at most {LONGEST} are accepted"
        )));
    }
    if bytes.trim_ascii().is_empty() {
        return Err(InputError::whole(EMPTY.to_owned()));
    }
    let is_binary = |byte: &u8| *byte < b' ' && !b"\t\n\r".contains(byte);
    if bytes.iter().any(is_binary) {
        decode_struct(bytes)
    } else {
        decode_json(bytes)
    }
}

fn decode_json(bytes: &[u8]) -> Result<Value, InputError> {
    let twice = Cell::new(None);
    let strict = StrictJson {
        place: ValuePath::Root,
        twice: &twice,
    };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = strict
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    match (read, twice.into_inner()) {
        (Ok(_), Some(path)) => Err(InputError {
            path,
            message: "is duplicated in this object; remove one".to_owned(),
        }),
        (Ok(value), None) => Ok(value),
        (Err(error), _) => Err(InputError::whole(format!(
            "not JSON: {error}; a StringValue holds JSON, YAML goes into a google.protobuf.Struct"
        ))),
    }
}

fn decode_struct(bytes: &[u8]) -> Result<Value, InputError> {
    wire::decode(bytes).map_err(|error| {
        InputError::whole(format!(
            "neither JSON text nor a google.protobuf.Struct: {error}; write \"@type\": \
             type.googleapis.com/google.protobuf.Struct (google.protobuf.Value and TypedStruct are not read)"
        ))
    })
}

/// The path of a value; spelled out only for an error.
#[derive(Clone, Copy)]
enum ValuePath<'p> {
    Root,
    Field(&'p ValuePath<'p>, &'p str),
    Item(&'p ValuePath<'p>, usize),
}

impl ValuePath<'_> {
    fn path(&self) -> String {
        let (mut path, step) = match self {
            ValuePath::Root => return String::new(),
            ValuePath::Field(of, name) => (of.path(), step_to(name)),
            ValuePath::Item(of, index) => (of.path(), format!("[{index}]")),
        };
        if !path.is_empty() && !step.starts_with('[') {
            path.push('.');
        }
        path + &step
    }
}

/// Reads a JSON value, and notes the first duplicated field: otherwise one of the two would be lost silently. An error
/// of the deserializer itself would have a line and a column, but no path.
#[derive(Clone, Copy)]
struct StrictJson<'p> {
    place: ValuePath<'p>,
    twice: &'p Cell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for StrictJson<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictJson<'_> {
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
        loop {
            let item = StrictJson {
                place: ValuePath::Item(&self.place, list.len()),
                ..self
            };
            match items.next_element_seed(item)? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let field = StrictJson {
                place: ValuePath::Field(&self.place, &name),
                ..self
            };
            if map.contains_key(&name) {
                let first = self.twice.take();
                self.twice.set(first.or_else(|| Some(field.place.path())));
            }
            let value = entries.next_value_seed(field)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}
