//! Reads plain scalars of YAML as Envoy and Kubernetes do.

use super::document::Reader;
use serde_json::{Number, Value};

/// The value of a scalar without quotes. Envoy's rules are those of its `parseYamlNode` with yaml-cpp.
pub fn plain(text: &str, reader: Reader) -> Value {
    if ["", "~", "null", "Null", "NULL"].contains(&text) {
        return Value::Null;
    }
    for (words, flag) in [
        (["y", "yes", "true", "on"], true),
        (["n", "no", "false", "off"], false),
    ] {
        if words.iter().any(|word| is_spelling(text, word)) {
            return Value::Bool(flag);
        }
    }
    if let Some(whole) = integer(text) {
        let is_number = reader != Reader::Envoy || i32::try_from(whole).is_ok();
        return if is_number {
            Value::from(whole)
        } else {
            Value::from(whole.to_string())
        };
    }
    let number = (reader == Reader::Kubernetes
        && text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)))
    .then(|| text.parse().ok().and_then(Number::from_f64))
    .flatten();
    number.map_or_else(|| Value::from(text), Value::Number)
}

/// Whether the text is the word in lower case, capitalised or in capitals.
fn is_spelling(text: &str, word: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let tail = text.get(1..).unwrap_or_default();
    let even = |test: fn(&u8) -> bool| tail.as_bytes().iter().all(test);
    lower == word
        && (even(u8::is_ascii_lowercase)
            || (even(u8::is_ascii_uppercase) && text.starts_with(|c: char| c.is_ascii_uppercase())))
}

fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (if text.starts_with('-') { -1 } else { 1 }, digits),
        None => (1, text),
    };
    let parse = |digits: &str, radix| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
        plain.then(|| i64::from_str_radix(digits, radix).ok()).flatten()
    };
    let number = match digits.strip_prefix("0x") {
        Some(hex) => parse(hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => parse(digits, 8),
        None => parse(digits, 10),
    };
    number.map(|number| sign * number)
}
