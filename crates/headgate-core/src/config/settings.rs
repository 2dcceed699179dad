//! The sections with settings: redis, local, response, verdict_cache, log, metrics, filter_state.

use crate::config::error::suggestion;
use crate::config::node::{Fields, Node};
use crate::config::scalar::is_token;
use crate::config::sources;
use crate::identify::Source;
use crate::limit::Percent;
use crate::model::{
    BodyFormat, FilterState, LocalSettings, LogSettings, MetricsSettings, NamedClient, NamedClientValue,
    RedisSettings, ResetForm, ResponseSettings, StateName, UpstreamHeaders, VerdictCacheSettings,
};
use std::ops::RangeInclusive;
use std::time::Duration;

const REDIS_FIELDS: &[&str] = &["cluster", "key_prefix", "timeout", "max_in_flight", "native"];

/// Entries of a table in memory.
const TABLE: RangeInclusive<u64> = 1..=10_000_000;
const LONGEST_BODY: usize = 64 << 10;
const LONGEST_CONTENT_TYPE: usize = 256;

/// A section's fields; no fields if it is missing or not an object.
struct Section<'a>(Option<Fields<'a>>);

impl<'a> Section<'a> {
    fn read(node: Option<Node<'a>>, known: &'static [&'static str]) -> Section<'a> {
        Section(node.and_then(|node| node.fields(known)))
    }

    fn get<T>(&self, name: &str, read: impl FnOnce(&Node<'a>) -> Option<T>) -> Option<T> {
        self.0
            .as_ref()
            .and_then(|fields| fields.get(name))
            .and_then(|node| read(&node))
    }

    fn integer(&self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.get(name, |node| node.integer(range))
    }
}

pub(super) fn redis(node: Option<Node>) -> RedisSettings {
    let section = Section::read(node, REDIS_FIELDS);
    let cluster = section.get("cluster", |node| node.short_text("the name of an Envoy cluster"));
    RedisSettings {
        cluster: cluster.unwrap_or("redis_call").to_owned(),
        key_prefix: section
            .get("key_prefix", key_prefix)
            .unwrap_or("ratelimit")
            .to_owned(),
        timeout: section
            .get("timeout", |node| node.duration(1..=10_000))
            .unwrap_or(Duration::from_millis(100)),
        max_in_flight: section.integer("max_in_flight", 1..=1_000_000).unwrap_or(4_096) as usize,
        native: None,
    }
}

/// The prefix is used before a hash tag, in an ACL's glob and in the guard: no braces, no wildcards.
fn key_prefix<'a>(node: &Node<'a>) -> Option<&'a str> {
    let prefix = node.text("a prefix for keys")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
    if !(1..=64).contains(&prefix.len()) || !prefix.bytes().all(allowed) {
        node.fail("not a key prefix; use 1 to 64 letters, digits and . _ - : /");
        return None;
    }
    Some(prefix)
}

pub(super) fn local(node: Option<Node>) -> LocalSettings {
    let section = Section::read(node, &["share", "max_counters"]);
    let share = section.get("share", |node| {
        let share = node.percent()?;
        if share.basis_points() == 0 {
            node.fail("grants nothing; write 0.01% to 100%, or on_error: deny");
        }
        Some(share)
    });
    LocalSettings {
        share: share.unwrap_or(Percent::FULL),
        max_counters: section.integer("max_counters", TABLE).unwrap_or(65_536) as usize,
    }
}

pub(super) fn response(node: Option<Node>) -> ResponseSettings {
    const FIELDS: &[&str] = &[
        "status",
        "error_status",
        "body",
        "format",
        "headers",
        "reset",
        "retry_after_jitter",
        "upstream_headers",
        "content_type",
    ];
    let section = Section::read(node, FIELDS);
    let status = |name, default| {
        section
            .integer(name, 400..=599)
            .map_or(default, |status| status as u16)
    };
    let format = section.get("format", |node| {
        node.choice(&[
            ("text", BodyFormat::Text),
            ("problem_json", BodyFormat::ProblemJson),
        ])
    });
    let reset = section.get("reset", |node| {
        node.choice(&[("unix", ResetForm::Unix), ("delta", ResetForm::Delta)])
    });
    let upstream_headers = section.get("upstream_headers", |node| {
        node.choice(&[
            ("replace", UpstreamHeaders::Replace),
            ("keep", UpstreamHeaders::Keep),
        ])
    });
    let (x_ratelimit, ietf) = section.get("headers", header_families).unwrap_or((true, false));
    ResponseSettings {
        status: status("status", 429),
        error_status: status("error_status", 503),
        body: section
            .get("body", body)
            .unwrap_or("Rate limit exceeded")
            .to_owned(),
        format: format.unwrap_or(BodyFormat::Text),
        x_ratelimit,
        ietf,
        reset: reset.unwrap_or(ResetForm::Unix),
        retry_after_jitter: section
            .get("retry_after_jitter", |node| node.percent())
            .unwrap_or(Percent::NONE),
        upstream_headers: upstream_headers.unwrap_or(UpstreamHeaders::Replace),
        content_type: section.get("content_type", content_type).map(str::to_owned),
    }
}

/// A media type, such as `application/json; charset=utf-8` (RFC 9110, section 8.3.1).
fn content_type<'a>(node: &Node<'a>) -> Option<&'a str> {
    let text = node.text("a media type")?;
    let media_type = text.split(';').next().unwrap_or_default().trim_end();
    let is_media_type = media_type
        .split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    let is_value =
        text.len() <= LONGEST_CONTENT_TYPE && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !is_media_type || !is_value {
        node.fail("not a media type; write one such as application/json, of at most 256 characters");
        return None;
    }
    Some(text)
}

/// Whether `x-ratelimit` and `ietf` are among them.
fn header_families(node: &Node) -> Option<(bool, bool)> {
    let (mut x_ratelimit, mut ietf) = (false, false);
    for item in node.items()? {
        let Some(is_ietf) = item.choice(&[("x-ratelimit", false), ("ietf", true)]) else {
            continue;
        };
        let family = if is_ietf { &mut ietf } else { &mut x_ratelimit };
        if std::mem::replace(family, true) {
            item.fail("is duplicated; remove one");
        }
    }
    Some((x_ratelimit, ietf))
}

/// The body. A placeholder is a word in braces; other braces are text, as in a JSON body.
fn body<'a>(node: &Node<'a>) -> Option<&'a str> {
    const KNOWN: [&str; 4] = ["limit", "remaining", "retry_after", "name"];
    let body = node.text("a text")?;
    if body.len() > LONGEST_BODY {
        node.fail(&format!("{} bytes; write at most {LONGEST_BODY}", body.len()));
    }
    for piece in body.split('{').skip(1) {
        let Some((word, _)) = piece.split_once('}') else {
            continue;
        };
        let is_word = !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if is_word && !KNOWN.contains(&word) {
            node.fail(&format!(
                "unknown placeholder {{{word:.40}}}{}",
                suggestion(word, &KNOWN)
            ));
        }
    }
    Some(body)
}

pub(super) fn verdict_cache(node: Option<Node>) -> VerdictCacheSettings {
    let section = Section::read(node, &["max_age", "entries"]);
    let max_age = section.get("max_age", |node| node.duration(0..=3_600_000));
    VerdictCacheSettings {
        max_age: max_age.unwrap_or(Duration::from_secs(1)),
        entries: section.integer("entries", 0..=*TABLE.end()).unwrap_or(65_536) as usize,
    }
}

pub(super) fn log(node: Option<Node>) -> LogSettings {
    let section = Section::read(node, &["denials_per_second"]);
    LogSettings {
        denials_per_second: section.integer("denials_per_second", 0..=1_000_000).unwrap_or(10) as u32,
    }
}

pub(super) fn metrics(node: Option<Node>, known: &[Source]) -> MetricsSettings {
    let section = Section::read(node, &["enabled", "clients"]);
    let mut clients: Vec<NamedClient> = Vec::new();
    for item in section.get("clients", |node| node.items()).unwrap_or_default() {
        let Some(client) = named_client(&item, known) else {
            continue;
        };
        if clients.iter().any(|other| other.name == client.name) {
            item.fail_bare(&format!(
                "the name \"{}\" is used twice; give each client its own",
                client.name
            ));
        }
        clients.push(client);
    }
    MetricsSettings {
        enabled: section.get("enabled", |node| node.flag()).unwrap_or(true),
        clients,
    }
}

fn named_client(node: &Node, known: &[Source]) -> Option<NamedClient> {
    let fields = node.fields(&["name", "source", "value", "hash"])?;
    let name_node = fields.required("name", "write the name of its series");
    let name = name_node.as_ref().and_then(|node| node.name());
    if let (Some(node), Some("other")) = (&name_node, name) {
        node.fail("is the name for all other clients; choose another name");
    }
    let source = fields.required("source", "write the name of a source of identify");
    let source = source.and_then(|node| sources::known(&node, known));
    let value: NamedClientValue = sources::client_value(&fields, source)?;
    Some(NamedClient {
        name: name?.to_owned(),
        source: source?.name.clone(),
        value,
    })
}

/// `all`, or a list of names.
pub(super) fn filter_state(node: Option<Node>) -> FilterState {
    let Some(node) = node else {
        return FilterState::ALL;
    };
    let known = StateName::ALL.map(|name| (name.as_str(), name));
    let is_name = |text: &str| known.iter().any(|(name, _)| *name == text);
    match node.value().as_str() {
        Some("all") => return FilterState::ALL,
        Some(text) if !is_name(text) => {
            node.fail("unknown; write all, or a list of names such as [ratelimit_decision, ratelimit_by]");
            return FilterState::ALL;
        }
        _ => {}
    }
    let mut names = Vec::new();
    for item in node.items().unwrap_or_default() {
        let Some(name) = item.choice(&known) else {
            continue;
        };
        if names.contains(&name) {
            item.fail("is duplicated; remove one");
        }
        names.push(name);
    }
    FilterState::listed(&names)
}
