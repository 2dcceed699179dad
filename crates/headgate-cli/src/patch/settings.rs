//! The settings of a connection manager on which Headgate depends: the source of a request's address, normalised paths,
//! and header names with underscores. They change how an existing Envoy handles requests. So they are changed only with
//! `--edge` or `--trusted-proxies`.

use super::change::{Change, ChangeKind};
use super::path::Spot;
use crate::document::{Node, Reader};
use crate::envoy_addresses::Trust;
use crate::parts::Part;
use serde_json::Value;

/// The options that the user gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The number of the user's own proxies in front of this Envoy; 0: clients connect to it directly.
    pub proxies: u32,
    pub keeps_paths: bool,
    pub keeps_underscores: bool,
}

impl Settings {
    /// The settings as options, for the comments in the file.
    pub fn options(self) -> String {
        let mut text = match self.proxies {
            0 => "--edge".to_owned(),
            number => format!("--trusted-proxies {number}"),
        };
        for (flag, name) in [
            (self.keeps_paths, " --keep-paths"),
            (self.keeps_underscores, " --keep-underscores"),
        ] {
            text += if flag { name } else { "" };
        }
        text
    }

    /// Reads [`Settings::options`].
    pub fn read(options: &str) -> Option<Settings> {
        let mut words = options
            .split(' ')
            .skip_while(|word| !["--edge", "--trusted-proxies"].contains(word));
        let proxies = match words.next()? {
            "--edge" => 0,
            _ => words.next()?.parse().ok()?,
        };
        let rest: Vec<&str> = words.collect();
        Some(Settings {
            proxies,
            keeps_paths: rest.contains(&"--keep-paths"),
            keeps_underscores: rest.contains(&"--keep-underscores"),
        })
    }
}

const ADDRESS: &str = "use_remote_address";
const HOPS: &str = "xff_num_trusted_hops";
const SLASHES: &str = "path_with_escaped_slashes_action";
const PROTOCOL: &str = "common_http_protocol_options";
const UNDERSCORES: &str = "headers_with_underscores_action";
const BY_EXTENSION: &str = "original_ip_detection_extensions";

/// A setting: its name, the value that is written, and other values that are also accepted.
struct Wanted {
    name: &'static str,
    value: String,
    as_good: &'static [&'static str],
    /// The value is Envoy's default, so it is not added.
    is_default: bool,
}

fn wanted(settings: Settings, has_extension: bool) -> Vec<Wanted> {
    let one = |name, value: &str| Wanted {
        name,
        value: value.to_owned(),
        as_good: &[],
        is_default: false,
    };
    let mut list = Vec::new();
    if !has_extension {
        list.push(one(ADDRESS, "true"));
        list.push(Wanted {
            is_default: settings.proxies == 0,
            ..one(HOPS, &settings.proxies.to_string())
        });
    }
    if !settings.keeps_paths {
        list.push(one("normalize_path", "true"));
        list.push(one("merge_slashes", "true"));
        list.push(Wanted {
            as_good: &["REJECT_REQUEST", "UNESCAPE_AND_FORWARD"],
            ..one(SLASHES, "UNESCAPE_AND_REDIRECT")
        });
    }
    list
}

/// The changes of one connection manager; notes are added to `notes`.
pub fn changes(manager: &Spot<'_>, settings: Settings, notes: &mut Vec<(usize, String)>) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut fields = Vec::new();
    let mark = settings.options();
    let extension = manager
        .field(BY_EXTENSION)
        .filter(|spot| !spot.node.items().is_empty());
    if let Some(extension) = &extension {
        let message =
            format!("{BY_EXTENSION} decides the callers' address; {ADDRESS} and {HOPS} are left as they are");
        notes.push((extension.node.place.line, message));
    }
    for setting in wanted(settings, extension.is_some()) {
        match manager.field(setting.name) {
            Some(spot)
                if is(spot.node, &setting.value)
                    || setting.as_good.iter().any(|value| is(spot.node, value)) => {}
            Some(spot) => changes.push(scalar(&spot, &setting.value, &mark)),
            None if setting.is_default => {}
            None => fields.push((setting.name.to_owned(), plain(&setting.value))),
        }
    }
    if !settings.keeps_underscores {
        let reject = (UNDERSCORES.to_owned(), plain("REJECT_REQUEST"));
        match manager.field(PROTOCOL) {
            None => fields.push((
                PROTOCOL.to_owned(),
                Part::Map {
                    fields: vec![reject],
                    is_flow: true,
                },
            )),
            Some(options) => match options.field(UNDERSCORES) {
                Some(spot) if is(spot.node, "REJECT_REQUEST") || is(spot.node, "DROP_HEADER") => {}
                Some(spot) => changes.push(scalar(&spot, "REJECT_REQUEST", &mark)),
                None => changes.push(added(&options, vec![reject], &mark)),
            },
        }
    }
    if !fields.is_empty() {
        changes.insert(0, added(manager, fields, &mark));
    }
    changes
}

fn added(spot: &Spot<'_>, fields: Vec<(String, Part)>, options: &str) -> Change {
    let names: Vec<String> = fields
        .iter()
        .map(|(name, part)| match part {
            Part::Scalar { text, .. } => format!("{name}: {text}"),
            other => format!("{name}: {}", other.json().replace('"', "")),
        })
        .collect();
    Change {
        path: spot.path.clone(),
        kind: ChangeKind::Fields {
            before: Some("http_filters".to_owned()),
            fields,
        },
        report: format!("added {} ({options})", names.join(", ")),
        mark: format!("settings, {options}"),
    }
}

fn scalar(spot: &Spot<'_>, value: &str, options: &str) -> Change {
    let name = match spot.path.0.last() {
        Some(super::path::Step::Key(name)) => name.clone(),
        _ => String::new(),
    };
    Change {
        path: spot.path.clone(),
        kind: ChangeKind::Scalar(value.to_owned()),
        report: format!("changed {name} to {value} ({options})"),
        mark: options.to_owned(),
    }
}

fn plain(text: &str) -> Part {
    Part::template(text, &[])
}

/// Whether a scalar has this value, also as a string: protobuf's JSON accepts both.
fn is(node: &Node, value: &str) -> bool {
    match node.value(Reader::Envoy) {
        Value::Bool(flag) => flag.to_string() == value,
        Value::Number(number) => number.to_string() == value,
        Value::String(text) => text == value,
        _ => false,
    }
}

/// The missing settings.
pub struct Missing {
    /// Clients can choose their address.
    pub address: bool,
    pub messages: Vec<String>,
}

/// The settings that a connection manager lacks, if no options were given.
pub fn missing(manager: &Spot<'_>) -> Missing {
    let mut messages = Vec::new();
    let address = matches!(Trust::of(manager.node), Trust::Anyone);
    let remedy = "add --edge if Envoy faces the callers, or --trusted-proxies N behind N proxies of your own";
    if address {
        messages.push(format!(
            "missing: {ADDRESS}: callers choose the address they are limited by, since Envoy believes X-Forwarded-For; {remedy}"
        ));
    }
    let is_true = |name: &str| manager.field(name).is_some_and(|spot| is(spot.node, "true"));
    let unset = |name: &str, bad: &[&str]| {
        let spot = manager.field(name);
        spot.is_none_or(|spot| bad.iter().any(|value| is(spot.node, value)))
    };
    let mut paths: Vec<&str> = ["normalize_path", "merge_slashes"]
        .into_iter()
        .filter(|name| !is_true(name))
        .collect();
    if unset(SLASHES, &["KEEP_UNCHANGED", "IMPLEMENTATION_SPECIFIC_DEFAULT"]) {
        paths.push(SLASHES);
    }
    if !paths.is_empty() {
        messages.push(format!(
            "missing: {}: the routes and the upstream may read a path otherwise than the limits; {remedy}",
            paths.join(", ")
        ));
    }
    let has_underscores = manager
        .field(PROTOCOL)
        .and_then(|options| options.field(UNDERSCORES))
        .is_some_and(|spot| is(spot.node, "REJECT_REQUEST") || is(spot.node, "DROP_HEADER"));
    if !has_underscores {
        messages.push(format!(
            "missing: {UNDERSCORES}: to many upstreams x_api_key is x-api-key, and not to the limits; {remedy}"
        ));
    }
    Missing { address, messages }
}
