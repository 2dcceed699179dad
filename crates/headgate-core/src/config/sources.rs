//! `identify`: the sources that identify clients, and references to them by name.

use crate::config::error::suggestion;
use crate::config::node::{Fields, Node};
use crate::config::scalar::{is_name, is_token};
use crate::config::shape::{distinct, list, words, Object, Rule, Shape, Test, TextForm, NAME, SHORT, TOKEN};
use crate::identify::{network, Digest, DigestError, Extract, Source, SourceKind, TlsField};
use crate::model::NamedClientValue;
use std::net::IpAddr;

const KINDS: [&str; 7] = ["header", "cookie", "query", "metadata", "tls", "all", "address"];

macro_rules! source {
    ($($rule:expr),* $(,)?) => {
        Object {
            fields: &[
                ("name", NAME),
                ("header", TOKEN),
                ("cookie", TOKEN),
                ("query", SHORT),
                ("metadata", list(&SHORT, 2)),
                ("tls", Shape::Words(&words(&TLS))),
                ("all", distinct(&Shape::Object(&PART), 2)),
                ("address", Shape::Object(&ADDRESS_PREFIXES)),
                ("extract", Shape::Text(TextForm::Extract)),
                ("as", Shape::Words(&words(&AS))),
            ],
            rules: &[
                Rule::ExactlyOne(&KINDS),
                Rule::Never(
                    &[("extract", Test::Present), ("address", Test::Present)],
                    "only text can be extracted from: remove extract",
                ),
                $($rule),*
            ],
        }
    };
}

pub(super) static SOURCE: Object = source!(
    Rule::Never(
        &[("extract", Test::Present), ("all", Test::Present)],
        "only text can be extracted from: write extract in a part",
    ),
    Rule::Never(
        &[("name", Test::Is(ADDRESS)), ("address", Test::Absent)],
        "the name address belongs to address sources: choose another",
    ),
);
/// A part of a composite.
static PART: Object = source!(Rule::Without(&["name", "as", "all"]));
static ADDRESS_PREFIXES: Object = Object {
    fields: &[
        ("ipv4_prefix", Shape::Integer { least: 1, most: 32 }),
        ("ipv6_prefix", Shape::Integer { least: 1, most: 128 }),
    ],
    rules: &[],
};

const TLS: [(&str, TlsField); 3] = [
    ("uri_san", TlsField::UriSan),
    ("dns_san", TlsField::DnsSan),
    ("subject", TlsField::Subject),
];
const AS: [(&str, bool); 1] = [("plain", true)];
const ADDRESS: &str = "address";

/// The sources in their order; by default the API key, else the address.
pub(super) fn read(node: Option<Node>) -> Vec<Source> {
    let Some(node) = node else {
        return defaults();
    };
    let Some(items) = node.items() else {
        return Vec::new();
    };
    if items.is_empty() {
        node.fail(
            "an empty list identifies no client; leave it out for [{header: x-api-key}, {address: {}}]",
        );
    }
    let mut unnamed_kinds: Vec<&str> = Vec::new();
    let mut sources: Vec<Source> = Vec::new();
    for item in &items {
        let Some(Read { source, kind, named }) = read_source(item, false) else {
            continue;
        };
        if !named && unnamed_kinds.contains(&kind) {
            item.fail(&format!(
                "a second source of the kind {kind} needs a name; give it one"
            ));
        } else if sources.iter().any(|other| other.name == source.name) {
            item.fail(&format!(
                "the name \"{}\" is used twice; give each source its own",
                source.name
            ));
        } else if source.name == ADDRESS && kind != ADDRESS {
            item.fail("the name \"address\" belongs to address sources; choose another");
        }
        if !named {
            unnamed_kinds.push(kind);
        }
        sources.push(source);
    }
    sources
}

fn defaults() -> Vec<Source> {
    let address = SourceKind::Address {
        ipv4_prefix: 32,
        ipv6_prefix: 64,
    };
    vec![
        source("api_key", SourceKind::Header("x-api-key".to_owned()), false),
        source(ADDRESS, address, true),
    ]
}

fn source(name: &str, kind: SourceKind, plain: bool) -> Source {
    Source {
        name: name.to_owned(),
        kind,
        extract: None,
        plain,
    }
}

/// A placeholder for an invalid kind; never part of a policy.
fn placeholder() -> SourceKind {
    SourceKind::Header(String::new())
}

struct Read {
    source: Source,
    kind: &'static str,
    named: bool,
}

/// One source, or one part of a composite. An invalid kind becomes a placeholder, so that references to the source's
/// name stay valid.
fn read_source(node: &Node, is_part: bool) -> Option<Read> {
    let fields = node.fields(if is_part { &PART } else { &SOURCE })?;
    let Some((kind_name, kind_node)) = fields.exactly_one(&KINDS) else {
        let name = fields.get("name").and_then(|node| node.name())?;
        return Some(Read {
            source: source(name, placeholder(), false),
            kind: "",
            named: true,
        });
    };
    if is_part {
        let why = "belongs to the composite, not to a part of it";
        fields.refuse(&["name", "as"], why);
    }
    let is_plain = fields
        .get("as")
        .and_then(|node| node.choice(&AS))
        .unwrap_or(false);
    let kind = read_kind(kind_name, &kind_node, is_plain, is_part);
    if kind_name == "all" || kind_name == ADDRESS {
        fields.refuse(
            &["extract"],
            "cannot be used here: an address has no text to extract from",
        );
    }
    let extract = fields.get("extract").and_then(|node| read_extract(&node));
    let name_node = fields.get("name");
    let name = match &name_node {
        Some(node) => node.name()?.to_owned(),
        None => default_name(kind_name, kind.as_ref()),
    };
    if !is_name(&name) {
        node.fail("this header gives no valid name for the source; give the source a name");
    }
    Some(Read {
        source: Source {
            name,
            kind: kind.unwrap_or_else(placeholder),
            extract,
            plain: is_plain || kind_name == ADDRESS,
        },
        kind: kind_name,
        named: name_node.is_some(),
    })
}

/// The default name of a source: its kind; for a header, the header's name in the same form: `x-api-key` is `api_key`.
fn default_name(word: &str, kind: Option<&SourceKind>) -> String {
    match kind {
        Some(SourceKind::Header(header)) => header.strip_prefix("x-").unwrap_or(header).replace('-', "_"),
        _ => word.to_owned(),
    }
}

fn read_kind(word: &str, node: &Node, is_plain: bool, is_part: bool) -> Option<SourceKind> {
    match word {
        "header" => node.header_name().map(SourceKind::Header),
        "cookie" => {
            let name = node.text("a cookie's name")?;
            if !is_token(name) {
                node.fail("not a cookie's name");
            }
            Some(SourceKind::Cookie(name.to_owned()))
        }
        "query" => node
            .short_text("a query parameter's name")
            .map(|name| SourceKind::Query(name.to_owned())),
        "metadata" => read_metadata(node),
        "tls" => node.choice(&TLS).map(SourceKind::Tls),
        "all" if is_part => {
            node.fail_bare("a composite within a composite; list all parts in one");
            None
        }
        "all" => read_parts(node, is_plain),
        _ => read_address(node),
    }
}

fn read_metadata(node: &Node) -> Option<SourceKind> {
    let items = node.items()?;
    if items.len() < 2 {
        node.fail("too short; write the filter's name and then the path, such as [envoy.filters.http.jwt_authn, payload, sub]");
    }
    let path: Option<Vec<String>> = items
        .iter()
        .map(|item| item.short_text("a key").map(str::to_owned))
        .collect();
    path.map(SourceKind::Metadata)
}

fn read_address(node: &Node) -> Option<SourceKind> {
    let fields = node.fields(&ADDRESS_PREFIXES)?;
    let prefix = |name, default: u8| match fields.get(name) {
        Some(_) => fields.integer(name).map(|prefix| prefix as u8),
        None => Some(default),
    };
    let (ipv4_prefix, ipv6_prefix) = (prefix("ipv4_prefix", 32), prefix("ipv6_prefix", 64));
    Some(SourceKind::Address {
        ipv4_prefix: ipv4_prefix?,
        ipv6_prefix: ipv6_prefix?,
    })
}

fn read_parts(node: &Node, is_plain: bool) -> Option<SourceKind> {
    let items = node.items()?;
    if items.len() < 2 {
        node.fail("a composite has two parts or more; for one, write the source itself");
    }
    let mut parts: Vec<Source> = Vec::new();
    for item in &items {
        let Some(Read { mut source, .. }) = read_source(item, true) else {
            continue;
        };
        source.plain |= is_plain;
        if parts.contains(&source) {
            item.fail("is duplicated; remove one");
        }
        parts.push(source);
    }
    Some(SourceKind::All(parts))
}

fn read_extract(node: &Node) -> Option<Extract> {
    match Extract::parse(node.text("a regex with one group")?) {
        Ok(extract) => Some(extract),
        Err(message) => {
            node.fail(&message);
            None
        }
    }
}

/// The source of this name, or an error.
pub(super) fn known<'s>(node: &Node, sources: &'s [Source]) -> Option<&'s Source> {
    let name = node.text("a source's name")?;
    let source = sources.iter().find(|source| source.name == name);
    // Without any source, `identify` itself has an error already.
    if source.is_none() && !sources.is_empty() {
        let known: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        node.fail(&format!(
            "no source of identify has this name{}",
            suggestion(name, &known)
        ));
    }
    source
}

/// A client by the `value` or `hash` of a source; refuses values that the source never yields.
pub(super) fn client_value(fields: &Fields, source: Option<&Source>) -> Option<NamedClientValue> {
    let (form, node) = fields.exactly_one(&["value", "hash"])?;
    if form == "hash" {
        let hash = node.text("32 hex digits, as `headgate hash` prints them")?;
        if source.is_some_and(Source::is_plain) {
            node.fail("this source's values are plain; write value");
        }
        let digest: Result<Digest, DigestError> = hash.parse();
        if let Err(error) = digest {
            node.fail(&error.to_string());
        }
        return digest.ok().map(NamedClientValue::Hash);
    }
    let value = node.text("a value")?;
    let kind = source.map(|source| &source.kind);
    if value.is_empty() {
        node.fail("no source yields an empty value");
    } else if matches!(kind, Some(SourceKind::Address { .. }))
        && value.parse::<IpAddr>().is_err()
        && network(value).is_none()
    {
        node.fail("not an address; write one, or a prefix such as 2001:db8::/64");
    }
    Some(NamedClientValue::Value(value.to_owned()))
}
