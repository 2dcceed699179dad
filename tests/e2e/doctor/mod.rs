//! `headgate doctor` against real Envoys and real Redis: every finding is provoked.

mod connection;
mod login;
mod policy;
mod readable;
mod several;
mod slots;
mod tls;
mod traffic;
mod transport;

use crate::harness::*;
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// What is not counted passes, and is not waited for.
pub const POLICY: &str = "{redis: {timeout: 300ms}, on_error: allow, limits: [{name: x, rate: 50/hour}]}";

/// What doctor reports.
pub struct DoctorReport {
    pub status: i32,
    pub json: Value,
    pub text: String,
}

/// Runs doctor on these addresses, as text and as JSON.
pub fn doctor_at(addresses: &[String], options: &[&str], environment: &[(&str, &str)]) -> DoctorReport {
    let run = |more: &[&str]| {
        Command::new(native_command())
            .arg("doctor")
            .args(addresses)
            .args(options)
            .args(more)
            .envs(environment.iter().copied())
            .output()
            .expect("headgate doctor")
    };
    let [text, json] = [&[][..], &["--json"]].map(run);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let errors = String::from_utf8_lossy(&json.stderr);
    assert!(errors.is_empty(), "{errors}");
    let status = json.status.code().expect("an exit status");
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["status"], status, "{json:#}");
    let report = DoctorReport { status, json, text };
    for finding in report.findings() {
        let field = |name: &str| finding[name].as_str().unwrap_or_default();
        assert!(
            !field("message").is_empty() && !field("remedy").is_empty(),
            "{finding:#}"
        );
    }
    report
}

pub fn address(envoy: &Envoy) -> String {
    format!("http://127.0.0.1:{}", envoy.admin_port)
}

pub fn doctor(envoy: &Envoy) -> DoctorReport {
    doctor_at(&[address(envoy)], &[], &[])
}

impl DoctorReport {
    /// All findings, of the Envoys and between them.
    pub fn findings(&self) -> Vec<&Value> {
        let envoys = self.json["envoys"].as_array().expect("Envoys").iter();
        envoys
            .map(|envoy| &envoy["findings"])
            .chain([&self.json["findings"]])
            .flat_map(|list| list.as_array().expect("findings"))
            .collect()
    }

    /// The finding with this id; everything it shows must contain the words.
    pub fn has(&self, id: &str, severity: &str, words: &[&str]) -> &Self {
        let found = self.findings().into_iter().find(|finding| finding["id"] == id);
        let found = found.unwrap_or_else(|| panic!("no {id}: {}", self.text));
        assert_eq!(found["severity"], severity, "{}", self.text);
        let shown = found.to_string();
        for word in words {
            assert!(shown.contains(word), "{word} in {found:#}");
        }
        self
    }

    pub fn has_not(&self, ids: &[&str]) -> &Self {
        for finding in self.findings() {
            let id = finding["id"].as_str().unwrap_or_default();
            assert!(!ids.contains(&id), "{id}: {}", self.text);
        }
        self
    }

    /// No other findings than these.
    pub fn only(&self, ids: &[&str]) -> &Self {
        for finding in self.findings() {
            let id = finding["id"].as_str().unwrap_or_default();
            assert!(ids.contains(&id), "{id}: {}", self.text);
        }
        self
    }

    pub fn status(&self, expected: i32) -> &Self {
        assert_eq!(self.status, expected, "{}", self.text);
        self
    }
}

/// Sends requests until doctor's report fits, for 20 s.
pub async fn until(envoy: &Envoy, what: &str, fits: impl Fn(&DoctorReport) -> bool) -> DoctorReport {
    let mut last = None;
    for _ in 0..40 {
        for _ in 0..2 {
            envoy.get("/").header("x-api-key", "a").send().await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let report = doctor(envoy);
        if fits(&report) {
            return report;
        }
        last = Some(report.text);
    }
    panic!("{what}: {}", last.unwrap_or_default());
}

/// Sends requests until doctor reports the finding.
pub async fn until_found(envoy: &Envoy, id: &str) -> DoctorReport {
    until(envoy, id, |report| {
        report.findings().iter().any(|finding| finding["id"] == id)
    })
    .await
}

/// Sends requests until doctor's exit status is 0.
pub async fn until_counted(envoy: &Envoy) -> DoctorReport {
    until(envoy, "status 0", |report| report.status == 0).await
}
