//! Values of dynamic metadata: texts, numbers and booleans are accepted, lists and objects are not.
//!
//! The host returns a value without its type: a text as it is, a number as the eight bytes of a double, a boolean as
//! one byte, a list or an object either as pairs (a count, sizes and texts: 4 bytes, or 14 and more) or as protobuf (of
//! any length). If the bytes are ambiguous, the object that holds the value decides: as protobuf, it is a
//! `google.protobuf.Struct`, in which each value has its type.

use crate::wire;
use serde_json::Value;

/// Below this, every whole number is exact as a double (2⁵³).
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// The protobuf tag of field 1 with a length: the first byte of every list and object that is not empty, and of hardly
/// any number.
const FIRST_FIELD: u8 = 0x0a;

/// The value as text; `None` for a list or an object. `holder` returns the object in which `key` has this value.
pub fn metadata_text(value: Vec<u8>, key: &str, holder: impl FnOnce() -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    // Only a hostile text contains control characters; nearly every number, list and object does.
    if !value.iter().any(u8::is_ascii_control) && std::str::from_utf8(&value).is_ok() {
        return Some(value);
    }
    if let Some(number) = whole_number(&value) {
        return Some(number.to_string().into_bytes());
    }
    let Ok(holder) = wire::decode(&holder()?) else {
        return of_pairs(&value);
    };
    match holder.get(key)? {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Bool(flag) => Some(flag.to_string().into_bytes()),
        Value::Number(number) => Some(number.to_string().into_bytes()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The value from a host that returns lists and objects as pairs: those never have one byte, or eight.
fn of_pairs(value: &[u8]) -> Option<Vec<u8>> {
    match value {
        [0] => Some(b"false".to_vec()),
        [1] => Some(b"true".to_vec()),
        _ => {
            let number = f64::from_le_bytes(value.try_into().ok()?);
            Some(serde_json::Number::from_f64(number)?.to_string().into_bytes())
        }
    }
}

/// The value if it can only be a whole number, as most numeric ids are.
fn whole_number(value: &[u8]) -> Option<i64> {
    let number = f64::from_le_bytes(value.try_into().ok()?);
    let is_whole = number.fract() == 0.0 && number.abs() < LARGEST_WHOLE;
    (is_whole && value.first() != Some(&FIRST_FIELD)).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use prost_types::value::Kind;
    use prost_types::{ListValue, Struct};

    /// What the host returns for a value, and for the object that holds it under `sub`.
    fn text(kind: Kind) -> Option<String> {
        let bytes = match &kind {
            Kind::NumberValue(number) => number.to_le_bytes().to_vec(),
            Kind::StringValue(text) => text.clone().into_bytes(),
            Kind::BoolValue(flag) => vec![u8::from(*flag)],
            Kind::ListValue(list) => list.encode_to_vec(),
            Kind::StructValue(object) => object.encode_to_vec(),
            Kind::NullValue(_) => vec![],
        };
        let value = prost_types::Value { kind: Some(kind) };
        let holder = Struct {
            fields: [("sub".to_owned(), value)].into(),
        };
        let text = metadata_text(bytes, "sub", || Some(holder.encode_to_vec()))?;
        Some(String::from_utf8(text).unwrap()).filter(|text| !text.is_empty())
    }

    fn list(items: &[&str]) -> Kind {
        let value = |text: &&str| prost_types::Value {
            kind: Some(Kind::StringValue((*text).to_owned())),
        };
        Kind::ListValue(ListValue {
            values: items.iter().map(value).collect(),
        })
    }

    #[test]
    fn texts_numbers_and_booleans_are_values() {
        for (kind, expected) in [
            (Kind::StringValue("alice".into()), "alice"),
            (Kind::StringValue("a\nb".into()), "a\nb"),
            (Kind::StringValue("eight\n67".into()), "eight\n67"),
            (Kind::NumberValue(42.0), "42"),
            (Kind::NumberValue(-7.0), "-7"),
            (Kind::NumberValue(0.0), "0"),
            (Kind::NumberValue(2.5), "2.5"),
            (Kind::NumberValue(9_007_199_254_740_991.0), "9007199254740991"),
            (Kind::NumberValue(1e300), "1e+300"),
            (
                Kind::NumberValue(f64::from_le_bytes([0x0a, 6, 0, 0, 0, 0, 0x39, 0x40])),
                "25.000000000005492",
            ),
            (Kind::BoolValue(true), "true"),
            (Kind::BoolValue(false), "false"),
        ] {
            assert_eq!(text(kind.clone()).as_deref(), Some(expected), "{kind:?}");
        }
    }

    #[test]
    fn lists_and_objects_are_no_values() {
        let flags = Kind::ListValue(ListValue {
            values: vec![
                prost_types::Value {
                    kind: Some(Kind::BoolValue(true))
                };
                2
            ],
        });
        let object = Kind::StructValue(Struct {
            fields: [(
                "k".to_owned(),
                prost_types::Value {
                    kind: Some(Kind::BoolValue(true)),
                },
            )]
            .into(),
        });
        for kind in [
            list(&[]),
            list(&["abcd"]),
            list(&["ab0C"]),
            list(&["a", "b"]),
            list(&["", "a\u{43}"]),
            flags,
            object,
            Kind::StructValue(Struct::default()),
            Kind::NullValue(0),
        ] {
            assert_eq!(text(kind.clone()), None, "{kind:?}");
        }
    }

    #[test]
    fn without_its_holder_only_what_is_certain_is_a_value() {
        let alone = |bytes: &[u8]| metadata_text(bytes.to_vec(), "sub", || None);
        assert_eq!(alone(b"alice").as_deref(), Some(&b"alice"[..]));
        assert_eq!(alone(&42_f64.to_le_bytes()).as_deref(), Some(&b"42"[..]));
        assert_eq!(alone(&list_of_eight_bytes()), None);
    }

    #[test]
    fn of_a_host_with_pairs_no_list_is_a_value() {
        let among_pairs =
            |value: &[u8]| metadata_text(value.to_vec(), "sub", || Some(b"\x01\0\0\0".to_vec()));
        for (value, expected) in [
            (&2.5_f64.to_le_bytes()[..], Some("2.5")),
            (&[1], Some("true")),
            (&[0], Some("false")),
            (&[0, 0, 0, 0], None),
            (b"\x01\0\0\0\x01\0\0\0\0\0\0\0a\0\0", None),
            (&f64::NAN.to_le_bytes(), None),
        ] {
            assert_eq!(
                among_pairs(value).as_deref(),
                expected.map(str::as_bytes),
                "{value:?}"
            );
        }
    }

    fn list_of_eight_bytes() -> Vec<u8> {
        let Kind::ListValue(list) = list(&["abcd"]) else {
            panic!()
        };
        let bytes = list.encode_to_vec();
        assert_eq!(bytes.len(), 8);
        bytes
    }
}
