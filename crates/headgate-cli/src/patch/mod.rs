//! `headgate patch` adds Headgate to an existing Envoy configuration, and `headgate unpatch` removes it.
//!
//! The text is edited in place: comments, order and formatting of everything else are kept. A second run first removes
//! what the first run wrote. With the same options it gives the same file, otherwise the parts for the new policy or
//! Redis.
//!
//! - `source`, `path`: the text, and paths in its tree. `change`, `marks`, `tree`: edits, the comments
//!   around them, and what they do to the tree.
//! - `files`, `present`, `order`: what the files contain. `plan`, `redis`, `bootstrap`, `settings`, `access_log`: what
//!   is added.
//! - `unpatch` removes the parts, `rewrite` makes the new texts from the old ones, `output` prints and writes them.

mod access_log;
mod bootstrap;
mod change;
mod files;
mod marks;
mod order;
mod output;
mod path;
mod plan;
mod present;
mod redis;
mod rewrite;
mod settings;
mod source;
mod tree;
mod unpatch;

use super::document::{self, Node};
use super::find::{self, Found};
use super::redis_options::{Password, Redis, RedisOptions};
use super::{check, input, report::Severity, Failure, Output};
use crate::parts;
use files::FileKind;
use headgate_core::config::{Plugin, Policy, Store};
use settings::Settings;

#[derive(clap::Args)]
pub struct PatchArgs {
    /// Envoy's configuration as YAML, or several files that one Envoy reads (bootstrap, LDS, CDS); - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// The policy as YAML, as in docs/configuration.md
    #[arg(long, value_name = "FILE")]
    policy: String,
    #[command(flatten)]
    redis: RedisOptions,
    /// The path of the module on the machine where Envoy runs
    #[arg(long, value_name = "FILE", default_value = "target/headgate.wasm")]
    module: String,
    /// Only this listener; may be repeated [default: all with an HTTP connection manager]
    #[arg(long, value_name = "NAME")]
    listener: Vec<String>,
    /// Clients connect to Envoy directly: use the address of the connection, normalise paths, refuse header names with
    /// underscores
    #[arg(long, conflicts_with = "trusted_proxies")]
    edge: bool,
    /// The same behind N of your own proxies, which append to X-Forwarded-For
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    trusted_proxies: Option<u32>,
    /// With --edge or --trusted-proxies: leave the settings of paths as they are
    #[arg(long)]
    keep_paths: bool,
    /// With --edge or --trusted-proxies: leave header names with underscores as they are
    #[arg(long)]
    keep_underscores: bool,
    /// Leave the access logs as they are
    #[arg(long)]
    keep_access_log: bool,
    #[command(flatten)]
    output: output::OutputArgs,
}

#[derive(clap::Args)]
pub struct UnpatchArgs {
    /// Files that `headgate patch` has written; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    output: output::OutputArgs,
}

/// A file, and its text without what an earlier run wrote.
pub struct PatchedFile {
    pub name: String,
    /// The text as it was read, without a byte order mark.
    pub text: String,
    pub has_mark: bool,
    /// The text without the parts of the earlier run.
    pub clean: String,
    pub kind: FileKind,
    pub documents: Vec<Node>,
    /// Headgate's configurations in the file.
    pub found: Vec<Found>,
}

impl PatchedFile {
    /// The document that Envoy reads: the first one.
    fn root(&self) -> Option<&Node> {
        self.documents.first()
    }
}

pub fn unpatch(args: &UnpatchArgs) -> Result<Output, Failure> {
    let mut results = Vec::new();
    for name in &args.files {
        let text = read(name)?;
        let unpatched = unpatch::unpatch(&text, &|_| true).map_err(at(name))?;
        let mut lines: Vec<(usize, String)> = unpatched
            .removed
            .iter()
            .map(|one| (one.line, one.report.clone()))
            .collect();
        if lines.is_empty() {
            let is_there = find::find(&text, false)
                .is_ok_and(|file| file.found.iter().any(|found| found.filter.is_some()));
            lines.push((
                1,
                match is_there {
                    true => {
                        "Headgate is written by hand here, which `headgate patch` did not do: left as it is"
                            .to_owned()
                    }
                    false => "nothing of `headgate patch` in it".to_owned(),
                },
            ));
        }
        results.push(output::Result {
            name: name.clone(),
            old: text,
            new: unpatched.text,
            lines,
        });
    }
    args.output.deliver(&results, 0)
}

pub fn patch(args: &PatchArgs) -> Result<Output, Failure> {
    let redis = args.redis.read()?;
    let Some((policy, written)) = policy(&args.policy)? else {
        return Ok(Output {
            text: String::new(),
            status: 1,
        });
    };
    let texts: Vec<(String, String)> = args
        .files
        .iter()
        .map(|name| Ok((name.clone(), read(name)?)))
        .collect::<Result<_, Failure>>()?;
    let settings = args
        .edge
        .then_some(0)
        .or(args.trusted_proxies)
        .map(|proxies| Settings {
            proxies,
            keeps_paths: args.keep_paths,
            keeps_underscores: args.keep_underscores,
        });
    if settings.is_none() && (args.keep_paths || args.keep_underscores) {
        return Err(Failure::new(
            "--keep-paths and --keep-underscores go with --edge or --trusted-proxies N",
        ));
    }
    let wish = plan::Wish {
        policy: &policy,
        written,
        redis: redis.as_ref(),
        module: &args.module,
        listeners: &args.listener,
        settings,
        keeps_access_log: args.keep_access_log,
    };
    let rewritten = rewrite::rewrite(texts, wish)?;
    hints(args, &policy, redis.as_ref());
    args.output.deliver(&rewritten.results, rewritten.status)
}

/// Warnings about the options.
fn hints(args: &PatchArgs, policy: &Policy, redis: Option<&Redis>) {
    if policy.store == Store::Local && redis.is_some() {
        eprintln!(
            "{}: store: local counts in Envoy's memory, and not in the Redis of --redis",
            args.policy
        );
    }
    eprintln!(
        "{}: hint: set {} in Envoy's environment, the same secret for all Envoys: secrets such as API keys are hashed with it",
        args.policy,
        find::HASH_KEY
    );
    if !std::path::Path::new(&args.module).exists() {
        eprintln!(
            "{}: hint: not here; the module must be at this path where Envoy runs (`make build` writes target/headgate.wasm)",
            args.module
        );
    }
    if let Some(Password::File(path)) = redis.and_then(|redis| redis.password.as_ref()) {
        if std::fs::read(path).is_ok_and(|bytes| bytes.ends_with(b"\n")) {
            eprintln!(
                "{path}: the line feed at its end is part of the password to Envoy; remove it (printf %s)"
            );
        }
    }
}

/// Envoy reads a file of that name as JSON, which has no comments.
fn read(name: &str) -> Result<String, Failure> {
    let is_json = name.to_ascii_lowercase().ends_with(".json");
    if is_json {
        return Err(Failure::new(format!(
            "{name}: Envoy reads a .json file as JSON, which has no place for the comments by which `headgate unpatch` finds \
             its parts; copy it to a .yaml file: JSON is YAML"
        )));
    }
    input::read(name)
}

fn at(name: &str) -> impl Fn((usize, String)) -> Failure + '_ {
    move |(line, message)| Failure::new(format!("{name}:{line}: {message}"))
}

/// The policy, and its text as a part; `None` if it has errors, which are printed.
pub(crate) fn policy(name: &str) -> Result<Option<(Policy, parts::Part)>, Failure> {
    let text = input::read(name)?;
    let (report, plugins) = check::check(&text, false);
    if !report.findings.is_empty() {
        eprint!("{}", report.text(name));
    }
    if report.count(Severity::Error) > 0 {
        return Ok(None);
    }
    let fail = |message: &str| Err(Failure::new(format!("{name}: {message}")));
    let documents = document::parse(&text).map_err(|error| at(name)((error.place.line, error.message)))?;
    let found = find::find(&text, false)
        .map_err(|error| at(name)((error.place.line, error.message)))?
        .found;
    if documents.len() != 1
        || found.len() != 1
        || found
            .iter()
            .any(|found| !found.at.is_empty() || found.filter.is_some())
    {
        return fail("not a plain policy; write its fields alone, such as limits: [{rate: 100/minute}]");
    }
    let (Some(node), Some(plugin)) = (documents.first(), plugins.into_iter().next()) else {
        return fail("no policy in it");
    };
    match plugin {
        Plugin::Filter(policy) if policy.redis.native.is_some() => {
            fail("redis.native is for Higress alone; remove it")
        }
        Plugin::Filter(policy) => Ok(Some((*policy, parts::written(&text, node)))),
        Plugin::RedisCall { .. } => fail("the configuration of role redis_call, which `headgate patch` writes by itself; give a policy with limits"),
    }
}

#[cfg(test)]
mod tests;
