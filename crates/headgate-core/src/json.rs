//! JSON as it is written: objects member by member, for log lines and problem details (RFC 9457). Reads none.
//!
//! `serde_json::Value` would do as well, for 6 KB more of the module.

/// An object under way.
#[derive(Debug)]
pub struct Object(String);

impl Object {
    /// One without members.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Object {
        Object("{".to_owned())
    }

    /// A string.
    #[inline(never)]
    pub fn text(&mut self, name: &'static str, text: &str) {
        self.json(name, &quoted(text));
    }

    /// A string, or no member.
    #[inline(never)]
    pub fn some_text(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// A whole number.
    #[inline(never)]
    pub fn number(&mut self, name: &'static str, number: u64) {
        self.json(name, itoa::Buffer::new().format(number));
    }

    /// What is JSON already. Names are the code's own and need no escapes.
    #[inline(never)]
    pub fn json(&mut self, name: &'static str, json: &str) {
        let comma = if self.0.len() > 1 { "," } else { "" };
        for part in [comma, "\"", name, "\":", json] {
            self.0.push_str(part);
        }
    }

    /// Its text, on one line.
    pub fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A list of what is JSON already.
pub fn list(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

/// A string in quotes.
pub fn quoted(text: &str) -> String {
    // Writing text to memory cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    #[test]
    fn what_is_written_reads_back_and_is_one_line() {
        let mut object = Object::new();
        object.text("text", "a\n\"b\"\u{1}\\é");
        object.some_text("none", None);
        object.some_text("some", Some(""));
        object.number("number", u64::MAX);
        object.json("list", &list(&[quoted("a,]"), Object::new().finish()]));
        let text = object.finish();
        assert_eq!(text.lines().count(), 1);
        let read: Value = serde_json::from_str(&text).unwrap();
        let written =
            json!({"text": "a\n\"b\"\u{1}\\é", "some": "", "number": u64::MAX, "list": ["a,]", {}]});
        assert_eq!(read, written);
        assert_eq!(list(&[]), "[]");
    }
}
