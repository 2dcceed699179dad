//! Generates load with `wrk`: one thread and several connections, with one request in flight on each connection.

use crate::harness::root;
use crate::options::Load;
use serde::Deserialize;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Which callers send the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    All,
    /// Every second request comes from a partner.
    HalfPartners,
}

/// The result that wrk reports.
#[derive(Debug, Deserialize)]
pub struct Outcome {
    pub requests: f64,
    pub micros: f64,
    /// Responses with 4xx or 5xx.
    pub denied: f64,
    /// Connections that broke or timed out.
    pub broken: f64,
    /// µs
    pub p50: f64,
    /// µs
    pub p99: f64,
}

impl Outcome {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.requests / (self.micros / 1e6)
    }
}

/// Panics if wrk is missing or connections broke, because then the results cannot be compared.
pub fn run(port: u16, path: &str, load: Load, callers: Callers, seconds: u64) -> Outcome {
    let mut command = Command::new("wrk");
    command
        .args(["--threads", "1", "--connections", &load.connections.to_string()])
        .args([
            "--duration",
            &format!("{seconds}s"),
            "--timeout",
            "10s",
            "--script",
        ])
        .arg(root().join("bench/runner/wrk.lua"))
        .arg(format!("http://127.0.0.1:{port}/"))
        .args(["--", &load.keys.to_string(), path]);
    if callers == Callers::HalfPartners {
        command.arg("half");
    }
    dies_with_runner(&mut command);
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot start wrk: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with('{'));
    let outcome: Outcome = line
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_else(|| panic!("wrk: {text}{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(outcome.broken, 0.0, "connections broke: {text}");
    outcome
}

/// Makes the kernel kill this process when the runner is killed. Only for processes that the main thread starts.
pub fn dies_with_runner(command: &mut Command) {
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}
