//! Reading what an Envoy has logged.

use super::Envoy;
use crate::harness::wait_for;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

impl Envoy {
    /// What Envoy and the filter have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    pub fn log_file(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The filter's log lines that are JSON, with this event.
    pub fn events(&self, event: &str) -> Vec<Value> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| line.get(line.find("{\"")?..));
        lines
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|value| value["event"] == event)
            .collect()
    }

    /// Waits for a line that contains the text.
    pub fn wait_for_log(&self, text: &str) -> String {
        wait_for(
            &format!("{text:?} in Envoy's log"),
            Duration::from_secs(10),
            || {
                self.log()
                    .lines()
                    .find(|line| line.contains(text))
                    .map(str::to_owned)
            },
        )
    }

    /// The access log, once it has at least this many lines.
    pub fn access_log(&self, lines: usize) -> Vec<Value> {
        self.read_access_log(lines, |line| serde_json::from_str(line).ok())
    }

    /// The same of a log that is not JSON.
    pub fn access_log_text(&self, lines: usize) -> Vec<String> {
        self.read_access_log(lines, |line| Some(line.to_owned()))
    }

    fn read_access_log<T>(&self, lines: usize, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
        wait_for(
            &format!("{lines} lines in the access log"),
            Duration::from_secs(10),
            || {
                let text = std::fs::read_to_string(self.dir.join("access.log")).unwrap_or_default();
                let entries: Vec<T> = text.lines().filter_map(&read).collect();
                (entries.len() >= lines).then_some(entries)
            },
        )
    }
}
