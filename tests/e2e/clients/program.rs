//! The programs of this folder: each is started for a test, and ends with it.

use crate::harness::*;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How long a program may take to listen or to end, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program in Node; `line` is its name and its arguments.
pub fn node(line: &str) -> Command {
    assert!(
        here().join("node_modules").exists(),
        "no clients: run `make setup`"
    );
    command("node", line)
}

/// A program in Python.
pub fn python(line: &str) -> Command {
    let packages = root().join(".tools/python-clients");
    assert!(packages.exists(), "no {}: run `make setup`", packages.display());
    let mut command = command("python3", line);
    command
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn command(interpreter: &str, line: &str) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(interpreter);
    command
        .arg(here().join(words.next().unwrap_or_default()))
        .args(words);
    command
}

fn here() -> PathBuf {
    root().join("tests/e2e/clients")
}

/// Runs a program to its end; its last line is its report, as JSON.
pub fn report(command: Command) -> Value {
    let what = format!("{command:?}");
    let dir = new_dir("client");
    let process = Process::start(command, &dir);
    let status = wait_for(&what, PATIENCE, || process.exited());
    let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    let last = log.lines().last().filter(|_| status == 0);
    last.and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_else(|| panic!("{what} ends with {status}:\n{log}"))
}

/// The numbers of a list in a report.
pub fn numbers(list: &Value) -> Vec<f64> {
    let values = list.as_array().into_iter().flatten();
    values.filter_map(Value::as_f64).collect()
}

/// A program that listens; ended when dropped.
pub struct Server {
    pub port: u16,
    _process: Process,
}

impl Server {
    /// `command` for the port on which it is to listen.
    pub fn start(command: impl FnOnce(u16) -> Command) -> Server {
        let port = free_port();
        let process = Process::start(command(port), &new_dir("server"));
        wait_for("a server", PATIENCE, || {
            assert_eq!(process.exited(), None, "the server ends");
            listens(port).then_some(())
        });
        Server {
            port,
            _process: process,
        }
    }
}
