//! The machine and the versions with which the benchmark ran.

use crate::harness::{default_envoy, root};
use std::process::Command;

/// Lines for the report.
pub fn facts() -> Vec<String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes: f64 = memory
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(f64::NAN);
    vec![
        format!("{} UTC", first_line("date", &["-u", "+%F %H:%M"])),
        format!(
            "{cores} cores of {}, {:.0} GB, Linux {}; shared by everything: load, Envoy, Redis, the upstream, the service",
            model.map_or("an unknown model", |(_, model)| model.trim()),
            kilobytes / 1e6,
            first_line("uname", &["-r"])
        ),
        format!(
            "Headgate {}, Envoy {}, {}, {}, limitador {}, {}",
            first_line("git", &["-C", &root().to_string_lossy(), "describe", "--always", "--dirty"]),
            envoy().unwrap_or("unknown".into()),
            first_line("redis-server", &["--version"]).split(" sha").next().unwrap_or_default(),
            first_line("wrk", &["--version"]).split(" [").next().unwrap_or_default(),
            limitador().unwrap_or("unknown".into()),
            first_line("rustc", &["--version"]).split(" (").next().unwrap_or_default(),
        ),
    ]
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}

/// `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`
fn envoy() -> Option<String> {
    let own = std::env::var("ENVOY").ok().filter(|path| !path.is_empty());
    let shipped = || {
        root()
            .join(format!(".tools/envoy-{}/envoy", default_envoy()))
            .to_string_lossy()
            .into_owned()
    };
    let output = Command::new(own.unwrap_or_else(shipped))
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, version) = text.split_once("version: ")?;
    Some(version.split('/').nth(1)?.to_owned())
}

/// The version of limitador, from the lock file.
fn limitador() -> Option<String> {
    let lock = std::fs::read_to_string(root().join("bench/Cargo.lock")).ok()?;
    let (_, after) = lock.split_once("name = \"limitador\"\nversion = \"")?;
    Some(after.split('"').next()?.to_owned())
}
