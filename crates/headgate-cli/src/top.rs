//! `headgate top`: which clients are rejected most, from the `most_rejected` lines of Envoy's logs.
//!
//! Each line is one worker's report about one minute (see `telemetry/top.rs`). This module only adds them up.

use super::table::Table;
use super::{input, Failure, Output};
use serde_json::{json, Value};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::time::Duration;

/// The `event` field of such a line.
const EVENT: &str = "most_rejected";

/// What Envoy puts before each line of a wasm module.
const WASM_LOG: &str = "wasm log ";

/// Where a log of JSON lines has the line itself: Docker's, Envoy's own and others'.
const LOG_FIELDS: [&str; 3] = ["log", "message", "msg"];

/// How often a log is looked at for more.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(clap::Args)]
pub struct TopArgs {
    /// Envoy's log, also as Docker or Kubernetes keep it; - is standard input
    #[arg(default_value = "-")]
    log: String,
    /// How many clients to show
    #[arg(long, short, value_name = "N", default_value_t = 10)]
    number: usize,
    /// Only the last N reports: each worker that denies makes one a minute
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Follow the log until interrupted, and show the table again with each report
    #[arg(long, short)]
    follow: bool,
    /// JSON, for scripts; with --follow a line for each report
    #[arg(long)]
    json: bool,
}

/// One worker's report about one minute.
struct WorkerReport {
    instance: String,
    seconds: u64,
    clients: Vec<Rejected>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Rejected {
    client: String,
    /// The limit that rejected it last.
    limit: String,
    rejected: u64,
    /// How many of `rejected` may be other clients'.
    error: u64,
}

pub fn run(args: &TopArgs) -> Result<Output, Failure> {
    if args.follow {
        return follow(args);
    }
    let text = input::read_lossy(&args.log)?;
    let mut reports = VecDeque::new();
    for (number, line) in text.lines().enumerate() {
        add(args, &mut reports, number + 1, line)?;
    }
    if reports.is_empty() {
        let from = args.log.as_str();
        return Err(Failure::new(format!(
            "{from}: no {EVENT} line: no client was rejected for a minute, metrics are off, or Envoy logs less than `info`"
        )));
    }
    Ok(Output::text(shown(args, &reports)))
}

/// Reads the log as it grows. Standard input may end. A file may be rotated: one that became shorter is read from its
/// start.
fn follow(args: &TopArgs) -> Result<Output, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", args.log));
    let open = || -> std::io::Result<Box<dyn Read>> {
        Ok(match args.log.as_str() {
            "-" => Box::new(std::io::stdin()),
            file => Box::new(std::fs::File::open(file)?),
        })
    };
    let mut log = BufReader::new(open().map_err(failed)?);
    let (mut reports, mut line, mut number, mut read) = (VecDeque::new(), Vec::new(), 0, 0);
    loop {
        let more = log.read_until(b'\n', &mut line).map_err(failed)?;
        read += more as u64;
        if line.ends_with(b"\n") {
            number += 1;
            if add(args, &mut reports, number, &String::from_utf8_lossy(&line))? {
                let mut out = std::io::stdout().lock();
                let text = shown(args, &reports);
                if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
                    break; // the reader has closed the pipe
                }
            }
            line.clear();
        } else if more == 0 {
            if args.log == "-" {
                break;
            }
            if std::fs::metadata(&args.log).is_ok_and(|now| now.len() < read) {
                log = BufReader::new(open().map_err(failed)?);
                (number, read) = (0, 0);
                line.clear();
            }
            std::thread::sleep(PAUSE);
        }
    }
    Ok(Output::text(String::new()))
}

/// Adds the line's report, if it has one, and drops reports before the last `--last`.
fn add(
    args: &TopArgs,
    reports: &mut VecDeque<WorkerReport>,
    number: usize,
    line: &str,
) -> Result<bool, Failure> {
    let report = match find(line) {
        None => return Ok(false),
        Some(report) => report.and_then(|value| WorkerReport::read(&value)),
    };
    let report = report.ok_or_else(|| {
        Failure::new(format!(
            "{}:{number}: a {EVENT} line that cannot be read",
            args.log
        ))
    })?;
    reports.push_back(report);
    while args.last.is_some_and(|last| reports.len() > last) {
        reports.pop_front();
    }
    Ok(true)
}

/// The report of a line: alone, after Envoy's prefix, or in a field of a JSON line. `None`: the line is not a report;
/// `Some(None)`: it is an invalid report.
///
/// Logs contain texts of callers, too. A report that a caller writes into a path or a header is ignored.
fn find(line: &str) -> Option<Option<Value>> {
    if !line.contains(EVENT) {
        return None;
    }
    let start = line.find("{\"")?;
    let (before, json) = line.split_at_checked(start)?;
    let ours = before.contains(WASM_LOG);
    if !ours && !before.trim().is_empty() {
        return None;
    }
    let Ok(value) = serde_json::from_str::<Value>(json.trim_end()) else {
        return ours.then_some(None);
    };
    match value.get("event") {
        Some(event) => (event == EVENT).then_some(Some(value)),
        None => LOG_FIELDS
            .iter()
            .find_map(|field| find(value.get(field)?.as_str()?)),
    }
}

impl WorkerReport {
    fn read(value: &Value) -> Option<WorkerReport> {
        let rejected = |value: &Value| {
            Some(Rejected {
                client: value["client"].as_str()?.to_owned(),
                limit: value["limit"].as_str()?.to_owned(),
                rejected: value["rejected"].as_u64()?,
                error: value["error"].as_u64()?,
            })
        };
        Some(WorkerReport {
            instance: value["instance"].as_str()?.to_owned(),
            seconds: value["seconds"].as_u64()?,
            clients: value["clients"]
                .as_array()?
                .iter()
                .map(rejected)
                .collect::<Option<_>>()?,
        })
    }
}

/// All reports as one, by instance, the most rejected first.
fn sums(reports: &VecDeque<WorkerReport>) -> Vec<(&str, Rejected)> {
    let mut sums: BTreeMap<(&str, &str), Rejected> = BTreeMap::new();
    for report in reports {
        for one in &report.clients {
            let sum = sums.entry((&report.instance, &one.client)).or_default();
            sum.client.clone_from(&one.client);
            sum.limit.clone_from(&one.limit);
            sum.rejected = sum.rejected.saturating_add(one.rejected);
            sum.error = sum.error.saturating_add(one.error);
        }
    }
    let mut all: Vec<_> = sums
        .into_iter()
        .map(|((instance, _), sum)| (instance, sum))
        .collect();
    all.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.rejected));
    all
}

fn shown(args: &TopArgs, reports: &VecDeque<WorkerReport>) -> String {
    let all = sums(reports);
    let all = all.get(..args.number).unwrap_or(&all);
    let at_least = |one: &Rejected| one.rejected.saturating_sub(one.error);
    if args.json {
        let clients: Vec<Value> = all
            .iter()
            .map(|(instance, one)| {
                json!({
                    "instance": instance,
                    "client": one.client,
                    "limit": one.limit,
                    "rejected": one.rejected,
                    "at_least": at_least(one),
                })
            })
            .collect();
        let json = json!({"reports": reports.len(), "clients": clients});
        return match args.follow {
            true => format!("{json}\n"),
            false => format!("{json:#}\n"),
        };
    }
    let seconds = reports.iter().map(|report| report.seconds).max().unwrap_or(0);
    let plural = if reports.len() == 1 { "" } else { "s" };
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} report{plural} of {seconds} s and one worker each",
        reports.len()
    );
    let mut table = Table::new(&["client", "instance", "limit", "rejected", "at least"]);
    for (instance, one) in all {
        table.row(&[
            &printable(&one.client),
            &printable(instance),
            &printable(&one.limit),
            &one.rejected.to_string(),
            &at_least(one).to_string(),
        ]);
    }
    text += &table.text();
    text
}

/// Names that callers choose may contain control sequences for terminals.
fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    safe
}
