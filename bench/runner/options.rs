//! Reads the environment variables, which select what to measure and for how long: see [`crate`].

use crate::harness::root;
use std::env::var;
use std::fmt::{self, Debug, Display};
use std::path::PathBuf;
use std::str::FromStr;

pub struct Options {
    /// The number of rounds, or of pairs.
    pub rounds: usize,
    /// The duration of each measurement.
    pub seconds: u64,
    /// The setups whose names begin with one of these; empty: all setups.
    setups: Vec<String>,
    connections: Vec<usize>,
    keys: Vec<usize>,
    pub upstream: Place,
    /// The path of the requests.
    pub path: String,
    /// The directory of the results.
    pub out: PathBuf,
}

/// Where the upstream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A server in the runner.
    Own,
    /// A listener with a direct response in the Envoy that is measured. The targets are for this kind of upstream.
    Envoy,
}

/// The load on a setup: the number of connections, each with one request in flight, and the number of clients, whose
/// requests alternate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load {
    pub keys: usize,
    pub connections: usize,
}

impl Load {
    /// The load for which most targets are defined.
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
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        write!(
            f,
            "{} connection{}, {} key{}",
            self.connections,
            plural(self.connections),
            crate::report::grouped(self.keys as f64),
            plural(self.keys)
        )
    }
}

impl Options {
    /// The options for the comparison of all setups.
    pub fn from_env() -> Options {
        Options::read(("ROUNDS", 5), 3, &[1, 32, 128], &[1_000, 100_000], "bench")
    }

    /// The options for the comparison of two modules in pairs.
    pub fn of_pairs() -> Options {
        let Load { keys, connections } = Load::FULL;
        Options::read(("PAIRS", 15), 2, &[connections], &[keys], "target")
    }

    fn read(
        (repeats, times): (&str, usize),
        seconds: u64,
        connections: &[usize],
        keys: &[usize],
        folder: &str,
    ) -> Options {
        let upstream = match var("UPSTREAM").unwrap_or_default().as_str() {
            "" | "envoy" => Place::Envoy,
            "own" => Place::Own,
            other => panic!("UPSTREAM={other}: own or envoy"),
        };
        Options {
            rounds: number(repeats, times),
            seconds: number("SECONDS", seconds),
            setups: list("SETUPS", &[]),
            connections: list("CONNECTIONS", connections),
            keys: list("KEYS", keys),
            upstream,
            path: path(),
            out: var("BENCH_OUT")
                .ok()
                .filter(|out| !out.is_empty())
                .map_or_else(|| root().join(folder), PathBuf::from),
        }
    }

    /// Whether the setup with this name is selected. `none` always is, because the figures are ratios to it.
    pub fn wants(&self, name: &str) -> bool {
        let begins = |wanted: &String| {
            name.strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.wants_all() || name == "none" || self.setups.iter().any(begins)
    }

    pub fn wants_all(&self) -> bool {
        self.setups.is_empty()
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

fn path() -> String {
    let path = var("PATH_SENT").ok().filter(|path| !path.is_empty());
    let path = path.unwrap_or_else(|| "/".to_owned());
    let printable = path.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(
        path.starts_with('/') && printable,
        "PATH_SENT={path}: begin it with / and write what is not printable ASCII as %XX"
    );
    path
}

fn number<T: FromStr<Err: Debug> + Clone>(name: &str, default: T) -> T {
    list(name, &[]).pop().unwrap_or(default)
}

/// Reads a list separated by commas. If the variable is empty or not set, returns the default.
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
