//! What to measure, and for how long: the environment variables of [`crate`].

use crate::harness::root;
use std::env::var;
use std::fmt::{self, Debug, Display};
use std::path::PathBuf;
use std::str::FromStr;

pub struct Options {
    pub rounds: usize,
    /// Of each measurement.
    pub seconds: u64,
    /// Beginnings of names; empty: all setups.
    setups: Vec<String>,
    connections: Vec<usize>,
    keys: Vec<usize>,
    pub upstream: Place,
    /// Where the results go.
    pub out: PathBuf,
}

/// Where the upstream lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A server of the runner's.
    Own,
    /// A listener with a direct response in the Envoy that is measured. The targets come from measurements like that.
    Envoy,
}

/// What comes at a setup: so many connections, each with one request under way, from so many clients in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load {
    pub keys: usize,
    pub connections: usize,
}

impl Load {
    /// The load of most targets.
    pub const FULL: Load = Load {
        keys: 1_000,
        connections: 128,
    };
    pub const LONE: Load = Load {
        keys: 1_000,
        connections: 1,
    };
    pub const MANY_KEYS: Load = Load {
        keys: 100_000,
        connections: 128,
    };
}

impl Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.connections == 1 { "" } else { "s" };
        write!(
            f,
            "{} connection{plural}, {} keys",
            self.connections,
            crate::report::grouped(self.keys as f64)
        )
    }
}

impl Options {
    pub fn from_env() -> Options {
        let upstream = match var("UPSTREAM").unwrap_or_default().as_str() {
            "" | "envoy" => Place::Envoy,
            "own" => Place::Own,
            other => panic!("UPSTREAM={other}: own or envoy"),
        };
        Options {
            rounds: number("ROUNDS", 5),
            seconds: number("SECONDS", 3),
            setups: list("SETUPS", &[]),
            connections: list("CONNECTIONS", &[1, 32, 128]),
            keys: list("KEYS", &[1_000, 100_000]),
            upstream,
            out: var("BENCH_OUT")
                .ok()
                .filter(|out| !out.is_empty())
                .map_or_else(|| root().join("bench"), PathBuf::from),
        }
    }

    /// Whether a setup of this name is wanted. The floor always is: figures are ratios to it.
    pub fn wants(&self, name: &str) -> bool {
        let begins = |wanted: &String| {
            name.strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.setups.is_empty() || name == "none" || self.setups.iter().any(begins)
    }

    pub fn loads(&self) -> Vec<Load> {
        let with = |keys: &usize| {
            self.connections
                .iter()
                .map(|&connections| Load {
                    keys: *keys,
                    connections,
                })
                .collect::<Vec<_>>()
        };
        self.keys.iter().flat_map(with).collect()
    }
}

fn number<T: FromStr<Err: Debug> + Clone>(name: &str, default: T) -> T {
    list(name, &[]).pop().unwrap_or(default)
}

/// Separated by commas; the default where the variable is empty or not there.
fn list<T: FromStr<Err: Debug> + Clone>(name: &str, default: &[T]) -> Vec<T> {
    let text = var(name).unwrap_or_default();
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let parse = |part: &str| {
        part.parse()
            .unwrap_or_else(|error| panic!("{name}={text}: {error:?}"))
    };
    let values: Vec<T> = parts.map(parse).collect();
    if values.is_empty() {
        default.to_vec()
    } else {
        values
    }
}
