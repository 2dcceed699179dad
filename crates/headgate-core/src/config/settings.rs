//! The sections with settings: redis, local, response, verdict_cache, log, metrics, filter_state.

use crate::config::error::suggestion;
use crate::config::node::{Fields, Node};
use crate::config::scalar::is_token;
use crate::config::shape::{
    distinct, words, Object, Rule, Shape, Test, TextForm, ANY, CLIENT_VALUE, HASH, NAME, SHARE, SHORT,
};
use crate::config::{native, sources};
use crate::identify::Source;
use crate::limit::Percent;
use crate::model::{
    BodyFormat, FilterState, LocalSettings, LogSettings, MetricsSettings, NamedClient, NamedClientValue,
    RedisSettings, ResetForm, ResponseSettings, StateName, UpstreamHeaders, VerdictCacheSettings,
};
use std::time::Duration;

/// The most entries of a table in memory.
const TABLE: u64 = 10_000_000;
const LONGEST_BODY: usize = 64 << 10;
const LONGEST_CONTENT_TYPE: usize = 256;

pub(super) static REDIS: Object = Object {
    fields: &[
        ("cluster", SHORT),
        ("key_prefix", Shape::Text(TextForm::KeyPrefix)),
        (
            "timeout",
            Shape::Duration {
                least: 1,
                most: 10_000,
            },
        ),
        (
            "max_in_flight",
            Shape::Integer {
                least: 1,
                most: 1_000_000,
            },
        ),
        ("native", Shape::Object(&native::NATIVE)),
    ],
    rules: &[Rule::Never(
        &[("native", Test::Present), ("cluster", Test::Present)],
        "cluster leads nowhere beside redis.native: leave it out",
    )],
};
pub(super) static LOCAL: Object = Object {
    fields: &[
        ("share", Shape::Text(TextForm::PositiveShare)),
        (
            "max_counters",
            Shape::Integer {
                least: 1,
                most: TABLE,
            },
        ),
    ],
    rules: &[],
};
const STATUS: Shape = Shape::Integer {
    least: 400,
    most: 599,
};
const FORMATS: [(&str, BodyFormat); 2] = [
    ("text", BodyFormat::Text),
    ("problem_json", BodyFormat::ProblemJson),
];
/// Whether it is `ietf`.
const HEADER_FAMILIES: [(&str, bool); 2] = [("x-ratelimit", false), ("ietf", true)];
const RESETS: [(&str, ResetForm); 2] = [("unix", ResetForm::Unix), ("delta", ResetForm::Delta)];
const UPSTREAM_HEADERS: [(&str, UpstreamHeaders); 2] = [
    ("replace", UpstreamHeaders::Replace),
    ("keep", UpstreamHeaders::Keep),
];
pub(super) static RESPONSE: Object = Object {
    fields: &[
        ("status", STATUS),
        ("error_status", STATUS),
        ("body", Shape::Text(TextForm::Body)),
        ("format", Shape::Words(&words(&FORMATS))),
        ("headers", distinct(&Shape::Words(&words(&HEADER_FAMILIES)), 0)),
        ("reset", Shape::Words(&words(&RESETS))),
        ("retry_after_jitter", SHARE),
        ("upstream_headers", Shape::Words(&words(&UPSTREAM_HEADERS))),
        ("content_type", Shape::Text(TextForm::MediaType)),
    ],
    rules: &[],
};
pub(super) static VERDICT_CACHE: Object = Object {
    fields: &[
        (
            "max_age",
            Shape::Duration {
                least: 0,
                most: 3_600_000,
            },
        ),
        (
            "entries",
            Shape::Integer {
                least: 0,
                most: TABLE,
            },
        ),
    ],
    rules: &[],
};
pub(super) static LOG: Object = Object {
    fields: &[(
        "denials_per_second",
        Shape::Integer {
            least: 0,
            most: 1_000_000,
        },
    )],
    rules: &[],
};
pub(super) static METRICS: Object = Object {
    fields: &[
        ("enabled", Shape::Flag),
        ("clients", distinct(&Shape::Object(&NAMED_CLIENT), 0)),
    ],
    rules: &[],
};
static NAMED_CLIENT: Object = Object {
    fields: &[
        ("name", NAME),
        ("source", ANY),
        ("value", CLIENT_VALUE),
        ("hash", HASH),
    ],
    rules: &[
        Rule::Required("name"),
        Rule::Required("source"),
        Rule::ExactlyOne(&["value", "hash"]),
        Rule::Never(
            &[("name", Test::Is(OTHER))],
            "other is what everyone else is called: choose another name",
        ),
    ],
};
/// The series of all clients without one of their own.
const OTHER: &str = "other";

const STATE_NAMES: [(&str, StateName); StateName::ALL.len()] = StateName::NAMED;
const ALL: &str = "all";
pub(super) const FILTER_STATE: Shape = Shape::Either(
    &Shape::Words(&[ALL]),
    &distinct(&Shape::Words(&words(&STATE_NAMES)), 0),
);

/// A section's fields; no fields if it is missing or not an object.
struct Section<'a>(Option<Fields<'a>>);

impl<'a> Section<'a> {
    fn read(node: Option<Node<'a>>, object: &'static Object) -> Section<'a> {
        Section(node.and_then(|node| node.fields(object)))
    }

    fn get<T>(&self, name: &str, read: impl FnOnce(&Node<'a>) -> Option<T>) -> Option<T> {
        self.0
            .as_ref()
            .and_then(|fields| fields.get(name))
            .and_then(|node| read(&node))
    }

    fn integer(&self, name: &str) -> Option<u64> {
        self.0.as_ref().and_then(|fields| fields.integer(name))
    }

    fn duration(&self, name: &str) -> Option<Duration> {
        self.0.as_ref().and_then(|fields| fields.duration(name))
    }
}

pub(super) fn redis(node: Option<Node>) -> RedisSettings {
    let section = Section::read(node, &REDIS);
    let cluster = section.get("cluster", |node| node.short_text("the name of an Envoy cluster"));
    RedisSettings {
        cluster: cluster.unwrap_or("redis_call").to_owned(),
        key_prefix: section
            .get("key_prefix", key_prefix)
            .unwrap_or("ratelimit")
            .to_owned(),
        timeout: section.duration("timeout").unwrap_or(Duration::from_millis(100)),
        max_in_flight: section.integer("max_in_flight").unwrap_or(4_096) as usize,
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
    let section = Section::read(node, &LOCAL);
    let share = section.get("share", |node| {
        let share = node.percent()?;
        if share.basis_points() == 0 {
            node.fail("grants nothing; write 0.01% to 100%, or on_error: deny");
        }
        Some(share)
    });
    LocalSettings {
        share: share.unwrap_or(Percent::FULL),
        max_counters: section.integer("max_counters").unwrap_or(65_536) as usize,
    }
}

pub(super) fn response(node: Option<Node>) -> ResponseSettings {
    let section = Section::read(node, &RESPONSE);
    let status = |name, default| section.integer(name).map_or(default, |status| status as u16);
    let format = section.get("format", |node| node.choice(&FORMATS));
    let reset = section.get("reset", |node| node.choice(&RESETS));
    let upstream_headers = section.get("upstream_headers", |node| node.choice(&UPSTREAM_HEADERS));
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
        let Some(is_ietf) = item.choice(&HEADER_FAMILIES) else {
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
    let section = Section::read(node, &VERDICT_CACHE);
    let max_age = section.duration("max_age");
    VerdictCacheSettings {
        max_age: max_age.unwrap_or(Duration::from_secs(1)),
        entries: section.integer("entries").unwrap_or(65_536) as usize,
    }
}

pub(super) fn log(node: Option<Node>) -> LogSettings {
    let section = Section::read(node, &LOG);
    LogSettings {
        denials_per_second: section.integer("denials_per_second").unwrap_or(10) as u32,
    }
}

pub(super) fn metrics(node: Option<Node>, known: &[Source]) -> MetricsSettings {
    let section = Section::read(node, &METRICS);
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
    let fields = node.fields(&NAMED_CLIENT)?;
    let name_node = fields.required("name", "write the name of its series");
    let name = name_node.as_ref().and_then(|node| node.name());
    if let (Some(node), Some(OTHER)) = (&name_node, name) {
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
    let is_name = |text: &str| STATE_NAMES.iter().any(|(name, _)| *name == text);
    match node.value().as_str() {
        Some(ALL) => return FilterState::ALL,
        Some(text) if !is_name(text) => {
            node.fail("unknown; write all, or a list of names such as [ratelimit_decision, ratelimit_by]");
            return FilterState::ALL;
        }
        _ => {}
    }
    let mut names = Vec::new();
    for item in node.items().unwrap_or_default() {
        let Some(name) = item.choice(&STATE_NAMES) else {
            continue;
        };
        if names.contains(&name) {
            item.fail("is duplicated; remove one");
        }
        names.push(name);
    }
    FilterState::listed(&names)
}
