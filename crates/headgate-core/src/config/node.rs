//! Reads a configuration value by value and tracks its path. Checks types and ranges, not meaning.
//!
//! A reader that finds an error adds it to [`Errors`] and returns `None`. The caller continues with a default, since a
//! configuration with errors never becomes a policy.

use crate::config::error::{nearest, suggestion, Errors};
use crate::config::shape::{Object, Shape};
use crate::config::shown::quoted;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;
use std::time::Duration;

/// A value and its path.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    value: &'a Value,
    at: usize,
    errors: &'a Errors,
}

impl<'a> Node<'a> {
    pub fn root(value: &'a Value, errors: &'a Errors) -> Node<'a> {
        Node { value, at: 0, errors }
    }

    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Whether no error was found here or within so far.
    pub fn is_sound(&self) -> bool {
        !self.errors.concern(self.at)
    }

    /// Reports an error here, with the value.
    pub fn fail(&self, message: &str) {
        self.errors.push(self.at, Some(self.value), message);
    }

    /// Reports an error here, without the value: if the value is not helpful, or might be secret.
    pub fn fail_bare(&self, message: &str) {
        self.errors.push(self.at, None, message);
    }

    /// Reports that the type is wrong; `expected` is the expected type, as in "a list".
    pub fn fail_type(&self, expected: &str) {
        match self.value {
            Value::Null => self.fail_bare(&format!("has no value; write {expected}, or leave it out")),
            _ => self.fail(&format!("wrong type; write {expected}")),
        }
    }

    /// A string; `expected` describes it, as in "a name".
    pub fn text(&self, expected: &str) -> Option<&'a str> {
        match self.value {
            Value::String(text) => return Some(text),
            Value::Number(_) | Value::Bool(_) => {
                self.fail(&format!("wrong type; write {expected} in quotes"));
            }
            _ => self.fail_type(expected),
        }
        None
    }

    pub fn flag(&self) -> Option<bool> {
        match self.value {
            Value::Bool(flag) => return Some(*flag),
            Value::String(text) if text == "true" || text == "false" => {
                self.fail(&format!("wrong type; write {text} without quotes"));
            }
            _ => self.fail_type("true or false"),
        }
        None
    }

    /// A whole number; one that came as a double (Struct) counts as whole if it is.
    pub fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        match self.value {
            Value::Number(number) => {
                let whole = number.as_u64().or_else(|| {
                    let double = number.as_f64()?;
                    (double.fract() == 0.0 && (0.0..=9e15).contains(&double)).then_some(double as u64)
                });
                match whole.filter(|whole| range.contains(whole)) {
                    Some(whole) => return Some(whole),
                    None => self.fail(&format!("out of range; write {}", expected())),
                }
            }
            Value::String(text) if text.parse::<u64>().is_ok_and(|number| range.contains(&number)) => {
                self.fail(&format!("wrong type; write {text} without quotes"));
            }
            _ => self.fail_type(&expected()),
        }
        None
    }

    /// One of several words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let index = self.choose(&words)?;
        choices.get(index).map(|(_, choice)| *choice)
    }

    fn choose(&self, words: &[&str]) -> Option<usize> {
        let Value::String(text) = self.value else {
            self.fail_type(&format!("one of {}", words.join(", ")));
            return None;
        };
        let index = words.iter().position(|word| word == text);
        if index.is_none() {
            self.fail(&format!("unknown{}", suggestion(text, words)));
        }
        index
    }

    /// A list's elements.
    pub fn items(&self) -> Option<Vec<Node<'a>>> {
        match self.value {
            Value::Array(items) => Some(self.elements(items)),
            Value::String(text) => {
                self.fail(&format!("wrong type; write a list: [{text}]"));
                None
            }
            _ => {
                self.fail_type("a list");
                None
            }
        }
    }

    /// A list's elements, or the value itself if it is not a list.
    pub fn one_or_items(&self) -> Vec<Node<'a>> {
        match self.value {
            Value::Array(items) => self.elements(items),
            _ => vec![*self],
        }
    }

    fn elements(&self, items: &'a [Value]) -> Vec<Node<'a>> {
        let element = |(index, value)| Node {
            value,
            at: self.errors.step(self.at, format!("[{index}]")),
            errors: self.errors,
        };
        items.iter().enumerate().map(element).collect()
    }

    /// An object with arbitrary keys.
    pub fn entries(&self) -> Option<Vec<(&'a str, Node<'a>)>> {
        let Value::Object(map) = self.value else {
            self.fail_type("an object");
            return None;
        };
        Some(
            map.iter()
                .map(|(key, value)| (key.as_str(), self.child(key, value)))
                .collect(),
        )
    }

    /// A field of an object; other fields are not checked.
    pub fn get(&self, name: &str) -> Option<Node<'a>> {
        let value = self.value.as_object()?.get(name)?;
        Some(self.child(name, value))
    }

    /// An object whose fields are known; the others are reported.
    pub fn fields(&self, object: &'static Object) -> Option<Fields<'a>> {
        let known = || object.names().collect::<Vec<_>>();
        let Value::Object(map) = self.value else {
            self.fail_type(&format!("an object with {}", known().join(", ")));
            return None;
        };
        for (key, value) in map.iter().filter(|(key, _)| object.shape(key).is_none()) {
            let message = format!("unknown field{}", suggestion(key, &known()));
            self.child(key, value).fail_bare(&message);
        }
        Some(Fields {
            node: *self,
            map,
            object,
        })
    }

    fn child(&self, key: &str, value: &'a Value) -> Node<'a> {
        Node {
            value,
            at: self.errors.step(self.at, step_to(key)),
            errors: self.errors,
        }
    }
}

/// The step to a field in a path: its name, or `["odd name"]`.
pub(super) fn step_to(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if key.bytes().all(plain) && !key.is_empty() {
        key.to_owned()
    } else {
        format!("[{}]", quoted(key))
    }
}

/// An object whose unknown fields have been reported.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub node: Node<'a>,
    map: &'a Map<String, Value>,
    object: &'static Object,
}

impl<'a> Fields<'a> {
    pub fn get(&self, name: &str) -> Option<Node<'a>> {
        self.node.get(name)
    }

    /// A field with a whole number, in the range of its shape.
    pub fn integer(&self, name: &str) -> Option<u64> {
        let range = match self.object.shape(name) {
            Some(Shape::Integer { least, most }) => *least..=*most,
            _ => 0..=u64::MAX,
        };
        self.get(name)?.integer(range)
    }

    /// A field with a duration, in the range of its shape.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        let range = match self.object.shape(name) {
            Some(Shape::Duration { least, most }) => *least..=*most,
            _ => 0..=u64::MAX,
        };
        self.get(name)?.duration(range)
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The field, or an error that it is missing; `remedy` says what to write.
    pub fn required(&self, name: &str, remedy: &str) -> Option<Node<'a>> {
        let node = self.get(name);
        if node.is_none() && !self.is_mistyped(name) {
            self.node.fail_bare(&format!("{name} is missing; {remedy}"));
        }
        node
    }

    /// Reports that a field is missing, at its own path.
    pub fn fail_missing(&self, name: &str, message: &str) {
        self.node.child(name, &Value::Null).fail_bare(message);
    }

    /// Whether an unknown field is probably a misspelling of this one; that it is missing is not a second error then.
    fn is_mistyped(&self, name: &str) -> bool {
        let unknown = self.map.keys().filter(|key| self.object.shape(key).is_none());
        let known: Vec<&str> = self.object.names().collect();
        unknown.into_iter().any(|key| nearest(key, &known) == Some(name))
    }

    /// Reports each of `names` that is present; `why` is the reason.
    pub fn refuse(&self, names: &[&str], why: &str) {
        for node in names.iter().filter_map(|name| self.get(name)) {
            node.fail(why);
        }
    }

    /// The only field of `names` that is present. None or several of them are an error.
    pub fn exactly_one(&self, names: &[&'static str]) -> Option<(&'static str, Node<'a>)> {
        let mut written = names.iter().filter_map(|name| Some((*name, self.get(name)?)));
        match (written.next(), written.next()) {
            (Some(only), None) => Some(only),
            (None, _) if names.iter().any(|name| self.is_mistyped(name)) => None,
            (None, _) => {
                self.node.fail(&format!("needs one of {}", names.join(", ")));
                None
            }
            (Some((first, _)), Some((second, _))) => {
                self.node
                    .fail_bare(&format!("has both {first} and {second}; write one of them"));
                None
            }
        }
    }
}
