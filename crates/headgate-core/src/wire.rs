//! `google.protobuf.Struct` from its wire bytes (Protocol Buffers, "Encoding"): a map of values, and lists.
//!
//! Small on purpose: a generated decoder is five times the size in the module. Unknown fields are an error, as the
//! bytes are something else then; so are duplicated fields, as one would be lost. Tests compare it with `prost-types`.

use serde_json::{Map, Number, Value};

/// The deepest nesting of lists and objects.
const DEEPEST: usize = 64;

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;

/// Why the bytes are not a Struct.
pub(crate) type WireError = &'static str;

pub(crate) fn decode(bytes: &[u8]) -> Result<Value, WireError> {
    object(bytes, DEEPEST)
}

fn object(bytes: &[u8], depth: usize) -> Result<Value, WireError> {
    let mut map = Map::new();
    for field in fields(bytes) {
        let (1, Payload::Bytes(entry)) = field? else {
            return Err("an unknown field");
        };
        let (mut key, mut content) = (None, None);
        for field in fields(entry) {
            let place = match field? {
                (1, Payload::Bytes(bytes)) => key.replace(text(bytes)?),
                (2, Payload::Bytes(bytes)) => content.replace(value(bytes, depth)?).map(|_| ""),
                _ => return Err("an unknown field in an entry"),
            };
            if place.is_some() {
                return Err("a field twice in an entry");
            }
        }
        let content = content.ok_or("an entry without a value")?;
        if map.insert(key.unwrap_or_default().to_owned(), content).is_some() {
            return Err("two entries with one key");
        }
    }
    Ok(Value::Object(map))
}

fn list(bytes: &[u8], depth: usize) -> Result<Value, WireError> {
    let mut items = Vec::new();
    for field in fields(bytes) {
        let (1, Payload::Bytes(content)) = field? else {
            return Err("an unknown field in a list");
        };
        items.push(value(content, depth)?);
    }
    Ok(Value::Array(items))
}

fn value(bytes: &[u8], depth: usize) -> Result<Value, WireError> {
    let depth = depth.checked_sub(1).ok_or("nested too deeply")?;
    let mut decoded = None;
    for field in fields(bytes) {
        let kind = match field? {
            (1, Payload::Number(_)) => Value::Null,
            (2, Payload::Double(bits)) => {
                Value::Number(from_double(f64::from_bits(bits)).ok_or("a number that is not finite")?)
            }
            (3, Payload::Bytes(bytes)) => Value::from(text(bytes)?),
            (4, Payload::Number(flag)) => Value::Bool(flag != 0),
            (5, Payload::Bytes(bytes)) => object(bytes, depth)?,
            (6, Payload::Bytes(bytes)) => list(bytes, depth)?,
            _ => return Err("an unknown field in a value"),
        };
        if decoded.replace(kind).is_some() {
            return Err("a value of two kinds");
        }
    }
    decoded.ok_or("a value without a kind")
}

/// A whole number becomes an integer, so that errors show 500 and not 500.0; `None` for infinite values and NaN.
pub(crate) fn from_double(double: f64) -> Option<Number> {
    if double.fract() == 0.0 && double.abs() <= 9e15 {
        return Some(Number::from(double as i64));
    }
    Number::from_f64(double)
}

fn text(bytes: &[u8]) -> Result<&str, WireError> {
    std::str::from_utf8(bytes).map_err(|_| "text that is not UTF-8")
}

enum Payload<'a> {
    Number(u64),
    Double(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, each with its number; it ends after an error.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<(u64, Payload<'_>), WireError>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next_field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field.ok_or("cut short"))
    })
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Payload<'a>)> {
    let tag = varint(rest)?;
    let payload = match tag & 7 {
        VARINT => Payload::Number(varint(rest)?),
        FIXED_64 => {
            let (bits, after) = rest.split_first_chunk()?;
            *rest = after;
            Payload::Double(u64::from_le_bytes(*bits))
        }
        LENGTH_DELIMITED => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (bytes, after) = rest.split_at_checked(length)?;
            *rest = after;
            Payload::Bytes(bytes)
        }
        _ => return None,
    };
    Some((tag >> 3, payload))
}

/// Seven bits a byte, the lowest first; at most ten bytes, of which the last has one bit left.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (shift < 63 || *byte <= 1).then_some(number);
        }
    }
    None
}
