//! Formats values for errors: JSON on one line, control characters escaped, cut.
//!
//! It has its own writer because a value may be as large as the configuration, and only the shown part is formatted.

use serde_json::Value;

/// Longest piece of a value that is shown, in characters.
pub(super) const LONGEST: usize = 80;

/// A value as compact JSON.
pub(super) fn shown(value: &Value) -> String {
    if let Value::String(text) = value {
        return quoted(text);
    }
    let mut out = String::new();
    write(&mut out, value);
    cut(out, LONGEST)
}

/// A text in quotes.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// Cuts a text to this many characters, with a sign if it was longer.
pub(super) fn cut(mut text: String, longest: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(longest) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Appends a value, or some of it: nothing more once the text is long enough to be cut.
fn write(out: &mut String, value: &Value) {
    // A character has at most four bytes.
    if out.len() > 4 * LONGEST {
        return;
    }
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => out.push_str(&quoted(text)),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate().take(LONGEST) {
                separate(out, index);
                write(out, item);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (index, (key, value)) in map.iter().enumerate().take(LONGEST) {
                separate(out, index);
                out.push_str(&quoted(key));
                out.push(':');
                write(out, value);
            }
            out.push('}');
        }
    }
}

fn separate(out: &mut String, index: usize) {
    if index > 0 {
        out.push(',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_look_like_their_json() {
        for text in [
            r#"{"a":[1,-2,null,true],"b":{"c":"d\"\n"}}"#,
            "[]",
            "{}",
            r#""x""#,
            "1.5",
            "-0.25",
            "0",
            "-7",
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(shown(&value), text);
        }
        assert_eq!(shown(&json!(0.0004)), "0.0004");
        assert_eq!(shown(&json!(1e300)), "1e+300");
    }

    #[test]
    fn nothing_gets_long() {
        let long = "é".repeat(5_000);
        let nested = (0..100).fold(json!(long), |inner, _| json!([inner, 1]));
        for value in [
            json!(long),
            json!(vec![1; 5_000]),
            json!({ long.clone(): 1 }),
            json!([{"a": long}, long]),
            nested,
        ] {
            assert!(shown(&value).chars().count() <= LONGEST + 3, "{}", shown(&value));
        }
    }
}
