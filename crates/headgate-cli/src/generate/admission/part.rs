//! Which part of a policy an expression is about: each is kept short.

use headgate_core::config::{Object, Shape};

/// What an expression is about: all of an object, or what is on this path in it.
///
/// The compiler of CEL takes a time that grows with the square of an expression's length, so each is kept short.
pub(super) type Part<'p> = &'p [PartStep];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PartStep {
    /// The rules between fields, and unknown fields.
    Rules,
    /// These fields; the next step is within the only one.
    Fields(Vec<&'static str>),
}

/// The parts of an object, each for an expression of its own.
pub(super) fn parts(object: &'static Object) -> Vec<Vec<PartStep>> {
    split(object, &mut Vec::new())
}

fn split(object: &'static Object, around: &mut Vec<&'static Object>) -> Vec<Vec<PartStep>> {
    /// An object with more fields is split.
    const MOST_FIELDS: usize = 5;
    let mut parts = vec![vec![PartStep::Rules]];
    let mut small = Vec::new();
    around.push(object);
    for (name, shape) in object.fields {
        let is_around = |inner: &&'static Object| around.iter().any(|outer| std::ptr::eq(*outer, *inner));
        match object_in(shape).filter(|inner| inner.fields.len() > MOST_FIELDS) {
            Some(inner) if is_around(&inner) => {}
            Some(inner) => {
                let into = |rest: Vec<PartStep>| [vec![PartStep::Fields(vec![*name])], rest].concat();
                parts.extend(split(inner, around).into_iter().map(into));
            }
            None => small.push(*name),
        }
    }
    around.pop();
    parts.extend(
        small
            .chunks(MOST_FIELDS)
            .map(|names| vec![PartStep::Fields(names.to_vec())]),
    );
    parts
}

/// The object in a shape, if there is one.
fn object_in(shape: &'static Shape) -> Option<&'static Object> {
    match shape {
        Shape::Object(object) => Some(object),
        Shape::List { of, .. } | Shape::Map { of, .. } => object_in(of),
        Shape::Either(a, b) => object_in(a).or(object_in(b)),
        _ => None,
    }
}

/// Whether the part is about a value itself, and not about something within.
pub(super) fn is_here(part: Part<'_>) -> bool {
    matches!(part, [] | [PartStep::Rules])
}
