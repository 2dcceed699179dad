//! `headgate check` reports the mistakes in a file's configurations, and settings that are valid but risky.

use super::document::Place;
use super::find::{find, FilterKind, Found};
use super::report::{Report, Severity};
use super::{advice, envoy, input, Failure, Output};
use headgate_core::config::Plugin;
use serde_json::json;
use std::fmt::Write as _;

#[derive(clap::Args)]
pub struct CheckArgs {
    /// envoy.yaml, a file for LDS, CDS or ECDS, WasmPlugin, EnvoyFilter, EnvoyExtensionPolicy or a plain policy, as
    /// YAML or JSON; - is standard input. Of several files, those without Headgate are skipped, and their names are
    /// printed
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Report warnings as errors
    #[arg(long)]
    strict: bool,
    /// Print the findings as a JSON list
    #[arg(long)]
    json: bool,
}

pub fn run(args: &CheckArgs) -> Result<Output, Failure> {
    let (mut text, mut list) = (String::new(), Vec::new());
    let (mut errors, mut warnings, mut checked) = (0, 0, 0);
    for file in &args.files {
        let content = input::read(file)?;
        let may_be_foreign = args.files.len() > 1;
        let (report, plugins) = match check_file(&content, file.ends_with(".json"), may_be_foreign) {
            Checked::PassedOver(report) => (report, Vec::new()),
            Checked::Whole(report, plugins) => {
                checked += 1;
                (report, plugins)
            }
        };
        errors += report.count(Severity::Error);
        warnings += report.count(Severity::Warning);
        list.extend(report.json(file));
        text += &report.text(file);
        if report.count(Severity::Error) == 0 && !plugins.is_empty() {
            let verdict = match report.count(Severity::Warning) {
                0 => "good".to_owned(),
                count => format!("valid, with {}", plural(count, "warning")),
            };
            let _ = writeln!(text, "{file}: {verdict}: {}", summary(&plugins));
        }
    }
    if checked == 0 {
        errors += 1;
        let _ = writeln!(text, "error: {NOT_FOUND} in any of these files");
        let place = Place { line: 1, column: 1 };
        let mut report = Report::default();
        report.outside(Severity::Error, place, "", NOT_FOUND);
        list.extend(
            args.files
                .first()
                .map(|file| report.json(file))
                .unwrap_or_default(),
        );
    }
    if args.json {
        text = format!("{:#}\n", json!(list));
    } else if errors + warnings > 0 {
        let _ = writeln!(
            text,
            "{}, {}",
            plural(errors, "error"),
            plural(warnings, "warning")
        );
    }
    let fails = errors > 0 || (args.strict && warnings > 0);
    Ok(Output {
        text,
        status: u8::from(fails),
    })
}

const NOT_FOUND: &str = "no Headgate configuration found";

/// The result for one file.
enum Checked {
    /// The findings and the valid configurations of the file.
    Whole(Report, Vec<Plugin>),
    /// The file has no configuration of Headgate, and needs none because other files are given; a note reports this.
    PassedOver(Report),
}

/// Checks the text of one file; also returns its valid configurations.
pub fn check(text: &str, json: bool) -> (Report, Vec<Plugin>) {
    match check_file(text, json, false) {
        Checked::Whole(report, plugins) => (report, plugins),
        Checked::PassedOver(report) => (report, Vec::new()),
    }
}

/// Checks a file's text. If several files are given, a file `may_be_foreign`: without a configuration of Headgate.
fn check_file(text: &str, json: bool, may_be_foreign: bool) -> Checked {
    let mut report = Report::default();
    let start = Place { line: 1, column: 1 };
    let file = match find(text, json) {
        Ok(file) => file,
        Err(error) => {
            let lower = text.to_ascii_lowercase();
            if may_be_foreign && !lower.contains("headgate") && !lower.contains("limits") {
                report.outside(
                    Severity::Note,
                    start,
                    "",
                    "passed over: not YAML, and no word of Headgate",
                );
                return Checked::PassedOver(report);
            }
            report.outside(Severity::Error, error.place, "", error.message);
            return Checked::Whole(report, Vec::new());
        }
    };
    if may_be_foreign && file.is_foreign() {
        report.outside(
            Severity::Note,
            start,
            "",
            "passed over: no configuration of Headgate",
        );
        return Checked::PassedOver(report);
    }
    if file.found.is_empty() {
        let message =
            format!("{NOT_FOUND}: no wasm filter has headgate in its name, vm_id or file, or has limits");
        report.outside(Severity::Error, start, "", message);
    }
    let mut plugins = Vec::new();
    for found in &file.found {
        repeated(found, &mut report);
        match found.parse() {
            Ok(plugin) => {
                // A network filter has the other role. This is reported, and its limits are not checked.
                let policy = match &plugin {
                    Plugin::Filter(policy) if found.filter != Some(FilterKind::Network) => Some(policy),
                    _ => None,
                };
                if let Some(policy) = policy {
                    advice::give(found, policy, &mut report);
                }
                plugins.push((found, plugin));
            }
            Err(errors) => {
                for error in errors.iter() {
                    let shown = error
                        .value
                        .iter()
                        .fold(String::new(), |text, value| text + value + ": ");
                    report.about(Severity::Error, found, &error.path, shown + &error.message);
                }
            }
        }
    }
    envoy::check(&file, &plugins, &mut report);
    Checked::Whole(report, plugins.into_iter().map(|(_, plugin)| plugin).collect())
}

/// Of duplicate fields in YAML, Envoy silently uses the last. (The plugin refuses them in JSON text.)
fn repeated(found: &Found, report: &mut Report) {
    if let super::content::Content::Tree(tree) = &found.content {
        for (name, place) in tree.repeated() {
            report.outside(
                Severity::Error,
                place,
                &found.at,
                format!("the field {name:?} is duplicated in one object; remove one"),
            );
        }
    }
}

fn summary(plugins: &[Plugin]) -> String {
    let one = |plugin: &Plugin| match plugin {
        Plugin::Filter(policy) => {
            format!(
                "instance {} with {}",
                policy.instance,
                plural(policy.limits.len(), "limit")
            )
        }
        Plugin::RedisCall { key_prefix } => format!("redis_call for {key_prefix}:"),
    };
    let all: Vec<String> = plugins.iter().map(one).collect();
    all.join("; ")
}

fn plural(count: usize, word: &str) -> String {
    match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    }
}
