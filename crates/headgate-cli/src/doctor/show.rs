//! The report, as text and as JSON.

use super::finding::{Diagnosis, DiagnosisLevel};
use super::instance::{Counting, Instance};
use super::judge::Judged;
use super::{Examined, Read};
use serde::Serialize;
use std::fmt::Write as _;

/// As JSON.
#[derive(Serialize)]
struct DoctorReport<'r> {
    status: u8,
    envoys: Vec<EnvoyReport<'r>>,
    /// Between the Envoys.
    findings: &'r [Diagnosis],
}

#[derive(Serialize)]
struct EnvoyReport<'r> {
    url: &'r str,
    status: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'r str>,
    instances: Vec<InstanceReport<'r>>,
    findings: &'r [Diagnosis],
}

#[derive(Serialize)]
struct InstanceReport<'r> {
    name: &'r str,
    /// `counted`, `not_counted`, …; `unknown` where nothing is reported.
    state: &'static str,
    store: &'static str,
    requests: u64,
    by_redis: u64,
    by_local: u64,
    /// Seconds; `null`: never, or not reported.
    last_counted_seconds_ago: Option<u64>,
    last_uncounted_seconds_ago: Option<u64>,
}

impl Counting {
    fn as_str(self) -> &'static str {
        match self {
            Counting::NoTraffic => "no_traffic",
            Counting::NothingToCount => "nothing_to_count",
            Counting::Counted => "counted",
            Counting::CountedAgain => "counted_again",
            Counting::Partly => "partly_counted",
            Counting::NotCounted => "not_counted",
        }
    }
}

/// How long ago, in seconds; `None`: never.
fn ago(at_ms: u64, now_ms: u64) -> Option<u64> {
    (at_ms > 0).then(|| now_ms.saturating_sub(at_ms) / 1_000)
}

fn store(is_local: bool) -> &'static str {
    match is_local {
        true => "local",
        false => "redis",
    }
}

pub fn json(examined: &[Examined], between: &[Diagnosis], status: u8) -> String {
    let envoys = examined.iter().map(|examined| {
        let read = examined.read.as_ref();
        let instances = read.map(|read| {
            let judged = read.judged.iter();
            judged.map(|judged| instance(judged, read.now_ms)).collect()
        });
        EnvoyReport {
            url: &examined.url,
            status: examined.status(),
            version: read.map(|read| read.version.as_str()),
            instances: instances.unwrap_or_default(),
            findings: &examined.findings,
        }
    });
    let report = DoctorReport {
        status,
        envoys: envoys.collect(),
        findings: between,
    };
    let mut text = serde_json::to_string_pretty(&report).unwrap_or_default();
    text.push('\n');
    text
}

fn instance(judged: &Judged, now_ms: u64) -> InstanceReport<'_> {
    let read = &judged.instance;
    InstanceReport {
        name: &read.name,
        state: judged.counting.map_or("unknown", Counting::as_str),
        store: store(judged.is_local),
        requests: read.requests(),
        by_redis: read.by_redis,
        by_local: read.by_local,
        last_counted_seconds_ago: ago(read.last_counted_ms, now_ms),
        last_uncounted_seconds_ago: ago(read.last_uncounted_ms, now_ms),
    }
}

pub fn text(examined: &[Examined], between: &[Diagnosis]) -> String {
    let mut text = String::new();
    for examined in examined {
        match &examined.read {
            None => {
                let _ = writeln!(text, "{}", examined.url);
            }
            Some(read) => envoy(&mut text, &examined.url, read),
        }
        for finding in &examined.findings {
            push(&mut text, finding);
        }
    }
    if !between.is_empty() {
        text.push_str("between the Envoys\n");
        for finding in between {
            push(&mut text, finding);
        }
    }
    text
}

fn envoy(text: &mut String, url: &str, read: &Read) {
    let _ = writeln!(
        text,
        "{url}: Envoy {}, {}, up {}, {} workers",
        read.version, read.state, read.uptime, read.workers
    );
    for judged in &read.judged {
        let _ = writeln!(
            text,
            "  {}: {}",
            judged.instance.name,
            sentence(judged, read.now_ms)
        );
    }
}

/// Whether an instance counts, in one sentence.
fn sentence(judged: &Judged, now_ms: u64) -> String {
    let read: &Instance = &judged.instance;
    let place = match judged.is_local {
        true => "in this Envoy's memory, as configured",
        false => "by Redis",
    };
    let counted = match judged.is_local {
        true => read.by_local,
        false => read.by_redis,
    };
    let last = |at_ms| match ago(at_ms, now_ms) {
        Some(seconds) => format!("the last one {seconds} s ago"),
        None => "none yet".to_owned(),
    };
    let counts = format!(
        "{counted} requests counted {place}, {}",
        last(read.last_counted_ms)
    );
    match judged.counting {
        None => "it is unknown whether requests are counted".to_owned(),
        Some(Counting::NoTraffic) => "no request has come yet".to_owned(),
        Some(Counting::NothingToCount) => format!("{} requests, and none is counted", read.requests()),
        Some(Counting::Counted) => format!("requests are counted: {counts}"),
        Some(Counting::CountedAgain) => format!("requests are counted again: {counts}"),
        Some(Counting::Partly) => format!(
            "some requests are not counted, {}; {counts}",
            last(read.last_uncounted_ms)
        ),
        Some(Counting::NotCounted) => format!(
            "requests are NOT counted, {}; {counts}",
            last(read.last_uncounted_ms)
        ),
    }
}

fn push(text: &mut String, finding: &Diagnosis) {
    let instance = match finding.instance.as_str() {
        "" => String::new(),
        name => format!(" ({name})"),
    };
    let _ = writeln!(
        text,
        "  {:<8} {}{instance}: {}",
        finding.severity.as_str(),
        finding.id,
        finding.message
    );
    for evidence in &finding.evidence {
        let _ = writeln!(text, "           seen: {evidence}");
    }
    let verb = if finding.severity == DiagnosisLevel::Note {
        "note"
    } else {
        "do"
    };
    let _ = writeln!(text, "           {verb}:   {}", finding.remedy);
}
