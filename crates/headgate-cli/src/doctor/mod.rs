//! `headgate doctor` reports whether requests are counted, and if not, why. It reads Envoy's admin interface, and
//! connects to Redis itself if requests are not counted.
//!
//! It changes nothing, sends no request through Envoy, and prints no secret.
//!
//! # Layout
//! - `admin` and `envoy` read the admin interface; `config`, `stats` and `instance` contain what was read.
//! - `judge` decides whether each instance counts, and collects findings. `calls` finds out why its calls fail.
//!   `transport` follows the path to Redis in the configuration. `redis`, with `access`, `probe` and `tls`, connects to
//!   Redis. `answers` interprets the answers of Redis, and `counters` Envoy's counters. `compare` compares several
//!   Envoys.
//! - `finding` and `show` are the report.

mod access;
mod admin;
mod answers;
mod calls;
mod compare;
mod config;
mod counters;
mod envoy;
mod finding;
mod instance;
mod judge;
mod probe;
mod redis;
mod show;
mod stats;
mod tls;
mod transport;

use self::access::LoginArgs;
use self::admin::Admin;
use self::envoy::Envoy;
use self::finding::{Diagnosis, DiagnosisLevel};
use self::judge::{judge, Judged};
use super::{Failure, Output};
use std::time::Duration;

/// How long to wait before the counters are read again, if requests were not counted a moment ago.
const SECOND_LOOK: Duration = Duration::from_millis(1_200);

#[derive(clap::Args)]
pub struct DoctorArgs {
    /// Envoy's admin interface, as http://HOST:PORT or HOST:PORT; several are compared
    #[arg(required = true, value_name = "ADMIN")]
    admin: Vec<String>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Do not connect to Redis: report only what Envoy shows
    #[arg(long)]
    no_connect: bool,
    #[command(flatten)]
    login: LoginArgs,
}

/// The Envoy to examine, and the options.
struct Site<'s> {
    envoy: &'s Envoy,
    login: &'s LoginArgs,
    connects: bool,
}

/// What was read from one Envoy.
struct Read {
    version: String,
    state: String,
    uptime: String,
    workers: u64,
    now_ms: u64,
    judged: Vec<Judged>,
}

/// One Envoy, and what was found.
struct Examined {
    url: String,
    /// `None`: it cannot be read.
    read: Option<Read>,
    findings: Vec<Diagnosis>,
}

impl Examined {
    fn status(&self) -> u8 {
        let worst = self.findings.iter().map(|finding| finding.severity).max();
        worst.map_or(0, DiagnosisLevel::status)
    }
}

/// Examines every Envoy. The exit status is the worst: 0 if requests are counted, 1 if not, 2 if that cannot be read.
pub fn run(args: &DoctorArgs) -> Result<Output, Failure> {
    let examined: Vec<Examined> = std::thread::scope(|scope| {
        let started: Vec<_> = args
            .admin
            .iter()
            .map(|address| scope.spawn(move || examine(address, args)))
            .collect();
        let ended = started.into_iter().map(|thread| thread.join());
        ended.filter_map(Result::ok).collect()
    });
    let instances: Vec<(&str, Vec<&instance::Instance>)> = examined
        .iter()
        .filter_map(|examined| {
            let judged = examined.read.as_ref()?.judged.iter();
            Some((
                examined.url.as_str(),
                judged.map(|judged| &judged.instance).collect(),
            ))
        })
        .collect();
    let between = compare::compare(&instances);
    let worst = between.iter().map(|finding| finding.severity.status());
    let status = examined
        .iter()
        .map(Examined::status)
        .chain(worst)
        .max()
        .unwrap_or(0);
    let text = match args.json {
        true => show::json(&examined, &between, status),
        false => show::text(&examined, &between),
    };
    Ok(Output { text, status })
}

/// Examines one Envoy.
fn examine(address: &str, args: &DoctorArgs) -> Examined {
    let read = Admin::new(address).and_then(|admin| {
        let mut envoy = Envoy::read(&admin)?;
        if judge::is_undecided(&envoy) {
            std::thread::sleep(SECOND_LOOK);
            envoy.before = Some(envoy.stats.clone());
            envoy.read_stats(&admin)?;
        }
        Ok((admin.address().to_owned(), envoy))
    });
    let (url, envoy) = match read {
        Ok(read) => read,
        Err(error) => {
            let finding = Diagnosis::unreadable(error.id(), error.to_string(), error.remedy());
            return Examined {
                url: address.to_owned(),
                read: None,
                findings: vec![finding],
            };
        }
    };
    let site = Site {
        envoy: &envoy,
        login: &args.login,
        connects: !args.no_connect,
    };
    let (judged, findings) = judge(&site);
    Examined {
        url,
        findings,
        read: Some(Read {
            version: envoy.version.clone(),
            state: envoy.state.clone(),
            uptime: envoy.uptime.clone(),
            workers: envoy.workers,
            now_ms: envoy.now_ms,
            judged,
        }),
    }
}
