//! The policies of a file, for the subcommands that work with one that is right.

use super::find::{find, Found};
use super::{input, Failure};
use headgate_core::config::{Plugin, Policy};

/// A policy that may be tried out.
pub struct Loaded {
    pub policy: Policy,
    pub found: Found,
}

/// The filter's configurations in a file, of one instance if it is named; never none.
///
/// # Errors
/// Files that cannot be read, and configurations with mistakes.
pub fn load(file: &str, instance: Option<&str>) -> Result<Vec<Loaded>, Failure> {
    let parsed = find(&input::read(file)?, file.ends_with(".json")).map_err(|error| {
        Failure::new(format!(
            "{file}:{}:{}: {}",
            error.place.line, error.place.column, error.message
        ))
    })?;
    let mut loaded = Vec::new();
    let mut others = Vec::new();
    for found in parsed.found {
        match found.parse() {
            Ok(Plugin::Filter(policy)) if instance.is_none_or(|name| name == policy.instance) => {
                loaded.push(Loaded {
                    policy: *policy,
                    found,
                });
            }
            Ok(Plugin::Filter(policy)) => others.push(policy.instance),
            Ok(Plugin::RedisCall { .. }) => {}
            Err(errors) => {
                return Err(Failure::new(format!(
                    "{file}: {errors}\n`headgate check {file}` shows where"
                )));
            }
        }
    }
    match (loaded.is_empty(), instance) {
        (false, _) => Ok(loaded),
        (true, Some(name)) if !others.is_empty() => Err(Failure::new(format!(
            "{file}: no instance {name}; it has {}",
            others.join(", ")
        ))),
        (true, _) => Err(Failure::new(format!("{file}: no policy of Headgate's here"))),
    }
}

/// A policy that a test wrote.
#[cfg(test)]
pub fn loaded(text: &str) -> Loaded {
    let found = find(text, false).unwrap().found.remove(0);
    match found.parse() {
        Ok(Plugin::Filter(policy)) => Loaded {
            policy: *policy,
            found,
        },
        other => panic!("{text}\n{other:?}"),
    }
}
