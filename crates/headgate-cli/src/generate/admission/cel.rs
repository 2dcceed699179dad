//! Shapes as CEL: expressions that yield the faults of a value as one text, which is empty without faults.
//!
//! Each fault is `path: value: remedy; `. The expressions hold for values of every type: what they select they have
//! asked for before. They use what Kubernetes 1.30 has. Not checked: conditions deeper than a `not` within a `not`.

use super::part::{is_here, Part, PartStep};
use crate::schema::{self, Pattern};
use headgate_core::config::{Check, Object, Rule, Shape, Test, TextForm};

/// A text of CEL.
pub(super) fn quoted(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
    )
}

/// A value and where it is.
#[derive(Clone)]
pub(super) struct Value {
    /// The expression of the value.
    pub of: String,
    /// The expression of its path, a text.
    pub path: String,
}

impl Value {
    fn field(&self, name: &str) -> Value {
        Value {
            of: format!("{}[\"{name}\"]", self.of),
            path: joined(&self.path, &format!("\".{name}\"")),
        }
    }

    fn fault(&self, remedy: &str) -> String {
        match self.path.as_str() {
            "\"\"" => quoted(&format!("{remedy}; ")),
            path => joined(path, &quoted(&format!(": {remedy}; "))),
        }
    }

    /// A fault with the value, if it is a text, a number or a boolean.
    fn fault_with_value(&self, remedy: &str) -> String {
        let (of, remedy) = (&self.of, quoted(&format!(": {remedy}; ")));
        let path = match self.path.as_str() {
            "\"\"" => "\"configuration\"",
            path => path,
        };
        format!(
            "{path} + (type({of}) == string ? \": \\\"\" + {of} + \"\\\"\" : \
             type({of}) == int || type({of}) == double || type({of}) == bool ? \": \" + string({of}) : \"\") + {remedy}"
        )
    }
}

/// Two expressions of texts, one after the other; literals become one.
fn joined(a: &str, b: &str) -> String {
    match (a.strip_suffix('"'), b.strip_prefix('"')) {
        (Some(a), Some(b)) if a.len() > 1 => format!("{a}{b}"),
        _ if a == "\"\"" => b.replacen("\".", "\"", 1),
        _ => format!("{a} + {b}"),
    }
}

#[derive(Default)]
pub(super) struct Writer {
    variables: usize,
    /// The objects that are being written, from the outside.
    around: Vec<&'static Object>,
}

impl Writer {
    pub fn variable(&mut self) -> String {
        self.variables += 1;
        format!("v{}", self.variables)
    }

    /// The faults of an object.
    pub fn object(&mut self, object: &'static Object, at: &Value, part: Part<'_>) -> String {
        let of = &at.of;
        let refused: Vec<&str> = object.rules.iter().flat_map(Rule::refused).copied().collect();
        let known: Vec<&str> = object.names().filter(|name| !refused.contains(name)).collect();
        let mut faults = Vec::new();
        if is_here(part) {
            let names = list(&known);
            let path = match at.path.as_str() {
                "\"\"" => "k".to_owned(),
                path => format!("{} + k", joined(path, "\".\"")),
            };
            let end = quoted(&format!(": unknown field; valid: {}; ", known.join(", ")));
            faults.push(format!(
                "{of}.filter(k, !(k in {names})).map(k, {path} + {end}).join(\"\")"
            ));
            for rule in object.rules {
                let rule = self.rule(rule, at, &refused);
                faults.extend(rule);
            }
        }
        let rest = part.get(1..).unwrap_or_default();
        let is_meant = |name: &str| match part.first() {
            None => true,
            Some(PartStep::Rules) => false,
            Some(PartStep::Fields(names)) => names.contains(&name),
        };
        self.around.push(object);
        for (name, shape) in object
            .fields
            .iter()
            .filter(|(name, _)| known.contains(name) && is_meant(name))
        {
            if let Some(inner) = self.value(shape, &at.field(name), rest) {
                faults.push(format!("(\"{name}\" in {of} ? {inner} : \"\")"));
            }
        }
        self.around.pop();
        let faults = faults.join("\n+ ");
        let other = match is_here(part) {
            true => at.fault_with_value("write an object"),
            false => "\"\"".to_owned(),
        };
        format!("(type({of}) == map ? {faults} : {other})")
    }

    fn rule(&mut self, rule: &Rule, at: &Value, refused: &[&str]) -> Option<String> {
        let of = &at.of;
        Some(match rule {
            Rule::Required(name) => {
                format!(
                    "(\"{name}\" in {of} ? \"\" : {})",
                    at.fault(&format!("{name} is missing"))
                )
            }
            Rule::ExactlyOne(names) => {
                let names: Vec<&str> = names
                    .iter()
                    .filter(|name| !refused.contains(name))
                    .copied()
                    .collect();
                let remedy = at.fault(&format!("needs exactly one of {}", names.join(", ")));
                format!("({}.exists_one(k, k in {of}) ? \"\" : {remedy})", list(&names))
            }
            Rule::NotEmpty => format!("(size({of}) > 0 ? \"\" : {})", at.fault("is empty")),
            Rule::Never(checks, remedy) => {
                let holds = self.checks(checks, of);
                // The first is the field that is to be changed.
                let at = match checks.first() {
                    Some((_, Test::Absent)) | None => at.clone(),
                    Some((name, _)) => at.field(name),
                };
                format!("({holds} ? {} : \"\")", at.fault(remedy))
            }
            // An earlier rule separates the guard's configuration from a filter's.
            Rule::UnlessGuard(names) => {
                return names.first().map(|name| {
                    format!(
                        "(\"{name}\" in {of} ? \"\" : {})",
                        at.fault(&format!("{name} is missing"))
                    )
                })
            }
            Rule::Without(_) => return None,
        })
    }

    fn checks(&mut self, checks: &[Check], of: &str) -> String {
        let all = checks.iter().map(|(name, test)| self.check(name, test, of));
        all.collect::<Vec<_>>().join(" && ")
    }

    fn check(&mut self, name: &str, test: &Test, of: &str) -> String {
        let field = format!("{of}[\"{name}\"]");
        let present = format!("\"{name}\" in {of}");
        let test = match test {
            Test::Present => return present,
            Test::Absent => return format!("!({present})"),
            Test::IsNot(word) => return format!("!({present} && {field} == {})", quoted(word)),
            Test::Is(word) => format!("{field} == {}", quoted(word)),
            Test::Positive => {
                let zero = Pattern::of(TextForm::PositiveShare).and_then(|pattern| pattern.except);
                let zero = quoted(&zero.unwrap_or_default());
                format!("type({field}) == string && !{field}.matches({zero})")
            }
            Test::Object => format!("type({field}) == map"),
            Test::With(inner) => format!("type({field}) == map && \"{inner}\" in {field}"),
            Test::Lacks(word) => format!("type({field}) == list && !({} in {field})", quoted(word)),
            Test::Some(checks) => {
                let item = self.variable();
                let holds = self.checks(checks, &item);
                let list = as_list(&field);
                format!("{list}.exists({item}, type({item}) == map && {holds})")
            }
        };
        format!("({present} && {test})")
    }

    /// The faults of a value; `None` if every value is right, as far as it is known here.
    fn value(&mut self, shape: &'static Shape, at: &Value, part: Part<'_>) -> Option<String> {
        Some(match shape {
            Shape::Object(object) => {
                let depth = self
                    .around
                    .iter()
                    .filter(|outer| std::ptr::eq(**outer, *object))
                    .count();
                if depth > 0 {
                    return None;
                }
                self.object(object, at, part)
            }
            Shape::List { of, least, distinct } => self.list(of, (*least, *distinct), at, part),
            Shape::Map { keys, of, least } => self.map(*keys, of, *least, at),
            Shape::Either(Shape::Object(_), Shape::List { of, least, .. }) => {
                self.one_or_list(of, *least, at, part)
            }
            Shape::Either(a, b @ (Shape::List { .. } | Shape::Object(_))) => {
                let is = if matches!(b, Shape::Object(_)) {
                    "map"
                } else {
                    "list"
                };
                let inner = self.value(b, at, part).unwrap_or_else(|| "\"\"".to_owned());
                let other = self.value(a, at, part).unwrap_or_else(|| "\"\"".to_owned());
                format!("(type({}) == {is} ? {inner} : {other})", at.of)
            }
            Shape::Either(a, b) => {
                let (a, b) = (scalar(a, &at.of)?, scalar(b, &at.of)?);
                format!(
                    "({} || {} ? \"\" : {})",
                    a.0,
                    b.0,
                    at.fault_with_value(&format!("{}, or {}", a.1, b.1))
                )
            }
            _ => {
                let (fits, remedy) = scalar(shape, &at.of)?;
                format!("({fits} ? \"\" : {})", at.fault_with_value(&remedy))
            }
        })
    }

    fn list(
        &mut self,
        of: &'static Shape,
        (least, distinct): (usize, bool),
        at: &Value,
        part: Part<'_>,
    ) -> String {
        let list = &at.of;
        let item = self.variable();
        let path = joined(
            &at.path,
            &format!("\"[\" + string({list}.indexOf({item})) + \"]\""),
        );
        let inner = self.value(
            of,
            &Value {
                of: item.clone(),
                path,
            },
            part,
        );
        let mut faults = Vec::new();
        if least > 0 && is_here(part) {
            let remedy = at.fault(&format!("write at least {least}"));
            faults.push(format!("(size({list}) >= {least} ? \"\" : {remedy})"));
        }
        // Of long lists the comparison would cost too much.
        if distinct && is_here(part) {
            faults.push(twice(at));
        }
        if let Some(inner) = inner {
            faults.push(format!("{list}.map({item}, {inner}).join(\"\")"));
        }
        let faults = if faults.is_empty() {
            "\"\"".to_owned()
        } else {
            faults.join("\n+ ")
        };
        let other = match is_here(part) {
            true => at.fault_with_value("write a list"),
            false => "\"\"".to_owned(),
        };
        format!("(type({list}) == list ? {faults} : {other})")
    }

    /// An object, or a list of such.
    fn one_or_list(&mut self, of: &'static Shape, least: usize, at: &Value, part: Part<'_>) -> String {
        let item = self.variable();
        let (value, list) = (&at.of, as_list(&at.of));
        let index =
            format!("(type({value}) == list ? \"[\" + string({value}.indexOf({item})) + \"]\" : \"\")");
        let path = joined(&at.path, &index);
        let inner = self
            .value(
                of,
                &Value {
                    of: item.clone(),
                    path,
                },
                part,
            )
            .unwrap_or_else(|| "\"\"".to_owned());
        let inner = format!("{list}.map({item}, {inner}).join(\"\")");
        if !is_here(part) {
            return inner;
        }
        let remedy = at.fault(&format!("write at least {least}"));
        format!("((size({list}) >= {least} ? \"\" : {remedy})\n+ {inner})")
    }

    fn map(&mut self, keys: TextForm, of: &'static Shape, least: usize, at: &Value) -> String {
        let map = &at.of;
        let key = self.variable();
        let inner = Value {
            of: format!("{map}[{key}]"),
            path: joined(&at.path, &format!("\".\" + {key}")),
        };
        let mut faults = Vec::new();
        if let Some(pattern) = Pattern::of(keys) {
            let fits = matches(&key, &pattern);
            faults.push(format!(
                "({fits} ? \"\" : {})",
                inner.fault(pattern.remedy.trim_end())
            ));
        }
        faults.extend(self.value(of, &inner, &[]));
        let mut all = format!("{map}.map({key}, {}).join(\"\")", faults.join(" + "));
        if least > 0 {
            all = format!(
                "(size({map}) >= {least} ? \"\" : {})\n+ {all}",
                at.fault("is empty")
            );
        }
        format!(
            "(type({map}) == map ? {all} : {})",
            at.fault_with_value("write an object")
        )
    }
}

/// A fault if a short list has equal elements.
fn twice(at: &Value) -> String {
    let (list, remedy) = (&at.of, at.fault("has a duplicated element; remove one"));
    format!("(size({list}) > 20 || {list}.all(k, {list}.exists_one(o, o == k)) ? \"\" : {remedy})")
}

fn as_list(of: &str) -> String {
    format!("(type({of}) == list ? {of} : [{of}])")
}

fn list(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(", "))
}

/// Whether a text fits.
fn matches(of: &str, pattern: &Pattern) -> String {
    let except = pattern
        .except
        .as_ref()
        .map(|except| format!(" && !{of}.matches({})", quoted(except)));
    format!(
        "{of}.matches({}){}",
        quoted(&pattern.fits),
        except.unwrap_or_default()
    )
}

/// Whether a value without parts is right, and the remedy; `None` for other shapes, and where every value is right.
fn scalar(shape: &Shape, of: &str) -> Option<(String, String)> {
    let text = |pattern: Option<Pattern>| match pattern {
        Some(pattern) => (
            format!("(type({of}) == string && {})", matches(of, &pattern)),
            pattern.remedy.trim_end().to_owned(),
        ),
        None => (format!("type({of}) == string"), "write a text".to_owned()),
    };
    Some(match shape {
        Shape::Flag => (format!("type({of}) == bool"), "write true or false".to_owned()),
        Shape::False => (format!("{of} == false"), "write false, or leave it out".to_owned()),
        Shape::Integer { least, most } => (
            format!(
                "((type({of}) == int || type({of}) == double) && {of} >= {least} && {of} <= {most} && double(int({of})) == double({of}))"
            ),
            format!("write a whole number from {least} to {most}"),
        ),
        Shape::Duration { least, most } => text(Some(schema::duration(*least, *most))),
        Shape::Words(words) => (format!("{of} in {}", list(words)), format!("write one of {}", words.join(", "))),
        Shape::Text(form) => text(Pattern::of(*form)),
        _ => return None,
    })
}
