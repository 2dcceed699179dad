//! Errors in a configuration: each with its path, the invalid value and the remedy.
//!
//! Formats errors; the readers decide what is one.

use crate::config::shown::{self, cut, shown};
use serde_json::Value;
use std::cell::Cell;
use std::fmt;

/// Longest message that an error carries, in characters.
const LONGEST_MESSAGE: usize = 400;
/// The largest number of lines that [`ConfigErrors`] shows, as log lines are bounded.
const MOST_LINES: usize = 50;

/// Lends the content of a cell; unlike a `RefCell` it cannot panic.
fn with<T, R>(cell: &Cell<Vec<T>>, lend: impl FnOnce(&mut Vec<T>) -> R) -> R {
    let mut content = cell.take();
    let result = lend(&mut content);
    cell.set(content);
    result
}

/// One error. Displays as `limits[2].rate: "100/fortnight": unknown period …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The path, as in `limits[2].rate`; empty for the whole configuration.
    pub path: String,
    /// The value there, as JSON and cut at about 80 characters, if it is helpful. The value of an unknown field is not
    /// shown: it might be a secret.
    pub value: Option<String>,
    /// The error, and the remedy.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match self.path.as_str() {
            "" => "configuration",
            path => path,
        };
        match &self.value {
            Some(value) => write!(f, "{path}: {value}: {}", self.message),
            None => write!(f, "{path}: {}", self.message),
        }
    }
}

/// All errors in a configuration, in the order found; never empty. Displays one line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The errors, in the order found.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }

    /// One error at a path; an empty path is the whole configuration.
    pub fn at(path: &str, message: &str) -> ConfigErrors {
        ConfigErrors(vec![ConfigError {
            path: path.to_owned(),
            value: None,
            message: cut(message.to_owned(), LONGEST_MESSAGE),
        }])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().take(MOST_LINES).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        match self.0.len().saturating_sub(MOST_LINES) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// The errors found so far, and the steps of paths. Readers keep the index of a step ([`PathStep`]); only an error
/// spells out its path.
#[derive(Default)]
pub(super) struct Errors {
    found: Cell<Vec<ConfigError>>,
    steps: Cell<Vec<PathStep>>,
}

/// A step from a value into a part of it.
#[derive(Debug)]
struct PathStep {
    /// The index of the previous step: 0 is the root, n is the n-th step.
    from: usize,
    /// As in a path: `name`, `["odd name"]` or `[2]`.
    text: String,
}

impl Errors {
    /// Adds a step and returns its index.
    pub fn step(&self, from: usize, text: String) -> usize {
        with(&self.steps, |steps| {
            steps.push(PathStep { from, text });
            steps.len()
        })
    }

    pub fn push(&self, at: usize, value: Option<&Value>, message: &str) {
        let error = ConfigError {
            path: self.path(at),
            value: value.map(shown),
            // A message may quote the configuration: it must stay on one line.
            message: cut(message.chars().map(without_control).collect(), LONGEST_MESSAGE),
        };
        with(&self.found, |found| found.push(error));
    }

    fn path(&self, at: usize) -> String {
        let mut path = String::new();
        with(&self.steps, |steps| {
            let mut texts = Vec::new();
            let mut here = at;
            while let Some(step) = here.checked_sub(1).and_then(|index| steps.get(index)) {
                texts.push(step.text.as_str());
                here = step.from;
            }
            for text in texts.iter().rev() {
                if !path.is_empty() && !text.starts_with('[') {
                    path.push('.');
                }
                path.push_str(text);
            }
        });
        path
    }

    /// Whether there is an error at this path or within.
    pub fn concern(&self, at: usize) -> bool {
        let path = self.path(at);
        let within = |error: &ConfigError| {
            let rest = error.path.strip_prefix(&path);
            rest.is_some_and(|rest| path.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
        };
        with(&self.found, |found| found.iter().any(within))
    }

    /// The value, if no error was found.
    pub fn into_result<T>(self, value: T) -> Result<T, ConfigErrors> {
        match self.found.into_inner() {
            errors if errors.is_empty() => Ok(value),
            errors => Err(ConfigErrors(errors)),
        }
    }
}

fn without_control(letter: char) -> char {
    match letter.is_control() {
        true => ' ',
        false => letter,
    }
}

/// The nearest known word, if it is near enough to be meant.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Only the start of a long word is compared: no known word is as long, and the work stays bounded.
    let word: String = word.chars().take(shown::LONGEST).collect();
    let mut nearest = None;
    for candidate in known {
        let distance = strsim::levenshtein(&word, candidate);
        if distance <= candidate.len().div_ceil(3) && nearest.is_none_or(|(least, _)| distance < least) {
            nearest = Some((distance, *candidate));
        }
    }
    nearest.map(|(_, candidate)| candidate)
}

/// `; did you mean "rate"?` if one of the known words is near, else `; valid: …`.
pub(super) fn suggestion(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(candidate) => format!("; did you mean \"{candidate}\"?"),
        None if known.is_empty() => "; none is known".to_owned(),
        None => format!("; valid: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_near_word_is_suggested_and_else_all_are_listed() {
        let known = ["rate", "burst", "replaces"];
        assert_eq!(suggestion("replace", &known), "; did you mean \"replaces\"?");
        assert_eq!(suggestion("bust", &known), "; did you mean \"burst\"?");
        assert_eq!(suggestion("colour", &known), "; valid: rate, burst, replaces");
        assert_eq!(suggestion("x", &[]), "; none is known");
        let long = "rate".repeat(100_000);
        assert_eq!(suggestion(&long, &known), "; valid: rate, burst, replaces");
    }

    #[test]
    fn an_error_is_one_short_line_for_any_value() {
        let errors = Errors::default();
        errors.push(0, Some(&json!("é\n".repeat(5_000))), &"x".repeat(5_000));
        errors.push(0, Some(&json!(vec![1; 5_000])), "wrong");
        let shown = errors.into_result(()).unwrap_err().to_string();
        let lines: Vec<&str> = shown.split('\n').collect();
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.chars().count() < 600), "{shown}");
    }

    #[test]
    fn many_errors_are_counted_instead_of_shown() {
        let errors = Errors::default();
        (0..60).for_each(|_| errors.push(0, None, "wrong"));
        let shown = errors.into_result(()).unwrap_err().to_string();
        assert_eq!(shown.lines().count(), 51);
        assert!(shown.ends_with("\nand 10 more"));
    }

    #[test]
    fn an_error_concerns_its_place_and_what_encloses_it() {
        let errors = Errors::default();
        let into = |from, text: &str| errors.step(from, text.to_owned());
        let limits = into(0, "limits");
        let second = into(limits, "[1]");
        let rate = into(second, "rate");
        assert!(!errors.concern(0));
        errors.push(rate, None, "wrong");
        assert!([0, limits, second, rate].into_iter().all(|at| errors.concern(at)));
        assert!(!errors.concern(into(0, "limit")));
        assert!(!errors.concern(into(rate, "x")));
        assert_eq!(
            errors.into_result(()).unwrap_err().to_string(),
            "limits[1].rate: wrong"
        );
    }
}
