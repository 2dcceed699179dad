//! The native command against the counters of a real Envoy: counters, live overrides, explained requests, and access to
//! Redis.

mod counters;
mod overrides;
mod policies;
mod reach;

use crate::harness::*;
use serde_json::Value;
use std::process::{Command, Output};
use std::time::Duration;

/// The command, without an environment that would change its answers.
pub fn program() -> Command {
    let mut command = Command::new(native_command());
    command.env_remove("HEADGATE_HASH_KEY");
    command
}

/// The command, against one place in one Redis.
struct Headgate<'a> {
    url: String,
    prefix: &'a str,
    more: Vec<String>,
}

impl<'a> Headgate<'a> {
    fn on(port: u16, prefix: &'a str) -> Headgate<'a> {
        Headgate {
            url: format!("redis://127.0.0.1:{port}"),
            prefix,
            more: Vec::new(),
        }
    }

    /// With the policy, as a file.
    fn policy(mut self, policy: &str) -> Headgate<'a> {
        let file = new_dir("policy").join("policy.yaml");
        std::fs::write(&file, policy).expect("a policy");
        self.more = vec!["--policy".to_owned(), file.to_string_lossy().into_owned()];
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        program()
            .args(arguments)
            .args(["--redis", &self.url, "--prefix", self.prefix])
            .args(&self.more)
            .output()
            .expect("the command headgate")
    }

    /// Its output and status.
    fn text(&self, arguments: &[&str]) -> (String, i32) {
        let output = self.run(arguments);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("UTF-8");
        (text, output.status.code().expect("a status"))
    }

    fn good(&self, arguments: &[&str]) -> String {
        let (text, status) = self.text(arguments);
        assert_eq!(status, 0, "{arguments:?}: {text}");
        text
    }

    /// The counter of a limit, as `show --json` has it.
    fn counter(&self, client: &str, limit: &str) -> Value {
        let shown: Value = serde_json::from_str(&self.good(&["show", client, "--json"])).expect("JSON");
        let counters = shown["counters"].as_array().expect("counters");
        let counter = counters.iter().find(|counter| counter["limit"] == limit);
        counter
            .unwrap_or_else(|| panic!("no {limit} in {shown:#}"))
            .clone()
    }
}

/// The statuses of this many calls with the API key.
async fn statuses(envoy: &Envoy, path: &str, key: &str, calls: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..calls {
        statuses.push(envoy.get(path).header("x-api-key", key).send().await.status);
    }
    statuses
}

/// Asks until the call has this status: an Envoy may remember a denial for a moment.
async fn until(envoy: &Envoy, key: &str, status: u16) {
    for _ in 0..30 {
        if statuses(envoy, "/", key, 1).await == [status] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{key} never gets {status}");
}
