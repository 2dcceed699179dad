//! `headgate check`: everything that is wrong with a file's configurations, and what is unwise about them.

use super::document::Place;
use super::find::{find, Found};
use super::report::{Report, Severity};
use super::{advice, envoy, input, Failure, Output};
use headgate_core::config::Plugin;
use serde_json::json;
use std::fmt::Write as _;

#[derive(clap::Args)]
pub struct CheckArgs {
    /// envoy.yaml, WasmPlugin, EnvoyFilter, EnvoyExtensionPolicy or a plain policy, as YAML or JSON; - is standard
    /// input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Warnings are errors
    #[arg(long)]
    strict: bool,
    /// Findings as a JSON list
    #[arg(long)]
    json: bool,
}

pub fn run(args: &CheckArgs) -> Result<Output, Failure> {
    let (mut text, mut list) = (String::new(), Vec::new());
    let (mut errors, mut warnings) = (0, 0);
    for file in &args.files {
        let (report, plugins) = check(&input::read(file)?, file.ends_with(".json"));
        errors += report.count(Severity::Error);
        warnings += report.count(Severity::Warning);
        list.extend(report.json(file));
        text += &report.text(file);
        if report.count(Severity::Error) == 0 {
            let _ = writeln!(text, "{file}: {}", summary(&plugins));
        }
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

/// Checks a file's text; also returns its valid configurations.
pub fn check(text: &str, json: bool) -> (Report, Vec<Plugin>) {
    let mut report = Report::default();
    let file = match find(text, json) {
        Ok(file) => file,
        Err(error) => {
            report.outside(Severity::Error, error.place, "", error.message);
            return (report, Vec::new());
        }
    };
    if file.found.is_empty() {
        let place = Place { line: 1, column: 1 };
        report.outside(
            Severity::Error,
            place,
            "",
            "no Headgate configuration found: no wasm filter has headgate in its name, vm_id or file, or has limits",
        );
    }
    let mut plugins = Vec::new();
    for found in &file.found {
        repeated(found, &mut report);
        match found.parse() {
            Ok(plugin) => {
                if let Plugin::Filter(policy) = &plugin {
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
    (report, plugins.into_iter().map(|(_, plugin)| plugin).collect())
}

/// Of duplicate fields in YAML, Envoy silently uses the last. (The plugin refuses them in JSON text.)
fn repeated(found: &Found, report: &mut Report) {
    if let super::find::Content::Tree(tree) = &found.content {
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
    format!("good: {}", all.join("; "))
}

fn plural(count: usize, word: &str) -> String {
    match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    }
}
