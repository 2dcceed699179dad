//! `match`, `not` and `exempt`: conditions on a request, and checks for duplicates and contradictions.

use crate::config::node::Node;
use crate::config::scalar::{is_token, HEADER_REMEDY};
use crate::config::shape::{distinct, Object, Rule, Shape, Test, TextForm, ANY, SHORT, TOKEN};
use crate::config::sources;
use crate::identify::{Source, SourceKind};
use crate::limit::{Case, HostPattern, Match, PathPattern, PatternError, ValuePattern};
use serde_json::Value;

macro_rules! condition {
    (ignore_case: $ignore_case:expr, not: $not:ident) => {
        Object {
            fields: &[
                ("methods", distinct(&TOKEN, 1)),
                ("path", Shape::Either(&Shape::Text(TextForm::Path), &BY_REGEX)),
                ("ignore_case", $ignore_case),
                ("hosts", distinct(&Shape::Text(TextForm::Host), 1)),
                (
                    "headers",
                    Shape::Map {
                        keys: TextForm::Token,
                        of: &Shape::Either(&Shape::Text(TextForm::Value), &BY_REGEX),
                        least: 1,
                    },
                ),
                ("route", SHORT),
                ("source", distinct(&ANY, 1)),
                ("not", Shape::Object(&$not)),
            ],
            rules: &[
                Rule::NotEmpty,
                Rule::Never(
                    &[("ignore_case", Test::Present), ("path", Test::Absent)],
                    "ignore_case is about a path: write path, or leave it out",
                ),
                Rule::Never(
                    &[("ignore_case", Test::Present), ("path", Test::Object)],
                    "a regex is compared as it is written: begin it with (?i), and leave ignore_case out",
                ),
            ],
        }
    };
}

/// A condition by which a limit applies.
pub(super) static CONDITION: Object = condition!(ignore_case: Shape::Flag, not: FREEING);
/// A condition by which requests are free: of `exempt`, or within `not`. Paths are compared exactly.
pub(super) static FREEING: Object = condition!(ignore_case: Shape::False, not: CONDITION);

const BY_REGEX: Shape = Shape::Object(&REGEX);
static REGEX: Object = Object {
    fields: &[("regex", Shape::Text(TextForm::Regex))],
    rules: &[Rule::Required("regex")],
};

/// What a fitting condition does, with the settings of its limit.
#[derive(Clone, Copy)]
pub(super) enum ConditionUse {
    /// A limit applies; the value is its default for comparing paths.
    Limits(Case),
    /// The request is exempt.
    Frees,
}

impl ConditionUse {
    fn negated(self, case: Case) -> ConditionUse {
        match self {
            ConditionUse::Limits(_) => ConditionUse::Frees,
            ConditionUse::Frees => ConditionUse::Limits(case),
        }
    }
}

/// Reads a condition; `None` if an error leaves nothing to compare with.
pub(super) fn read(node: &Node, known: &[Source], effect: ConditionUse) -> Option<Match> {
    let fields = node.fields(&CONDITION)?;
    if fields.is_empty() {
        node.fail("has no condition; leave it out, or write one of methods, path, hosts, headers, route, source, not");
        return None;
    }
    let list = |name, what| match fields.get(name) {
        Some(node) => read_list(&node, what),
        None => Vec::new(),
    };
    let ignore_case = fields.get("ignore_case");
    let case = ignore_case
        .as_ref()
        .and_then(|node| read_ignore_case(node, fields.get("path").as_ref(), effect))
        .unwrap_or(match effect {
            ConditionUse::Limits(case) => case,
            ConditionUse::Frees => Case::default(),
        });
    let condition = Match {
        methods: each_once(&list("methods", "a method"), read_method),
        path: fields.get("path").and_then(|node| read_path(&node)),
        case,
        hosts: each_once(&list("hosts", "a host"), |node| {
            compiled(node, HostPattern::parse(node.text("a host")?))
        }),
        headers: fields
            .get("headers")
            .map(|node| read_headers(&node))
            .unwrap_or_default(),
        route: fields
            .get("route")
            .and_then(|node| node.short_text("a route's name"))
            .map(str::to_owned),
        sources: each_once(&list("source", "a source's name"), |node| {
            sources::known(node, known).map(|source| source.name.clone())
        }),
        not: fields
            .get("not")
            .and_then(|node| read(&node, known, effect.negated(case)))
            .map(Box::new),
    };
    if let (true, Some(not), Some(node)) = (node.is_sound(), &condition.not, fields.get("not")) {
        if implies(&condition, not) {
            node.fail(
                "excludes every request that the other conditions match: can never match; remove one of them",
            );
        } else if excludes_every_caller(not, known) {
            node.fail("excludes every caller, since each has an address: can never match; remove a source");
        }
    }
    node.is_sound().then_some(condition)
}

/// How a path's literals are compared: refused if it would have no effect.
fn read_ignore_case(node: &Node, path: Option<&Node>, effect: ConditionUse) -> Option<Case> {
    let ignored = node.flag()?;
    match path {
        None => node.fail("applies to a path, and this condition has no path; write path, or leave this out"),
        Some(path) if path.value().is_object() => {
            node.fail("a regex is compared as it is written: begin it with (?i) to ignore case, and leave this out");
        }
        Some(_) if ignored && matches!(effect, ConditionUse::Frees) => node.fail(
            "a path that frees requests (in exempt, or within not) is compared exactly; write each spelling, and \
             leave this out",
        ),
        Some(_) => {}
    }
    Some(if ignored { Case::Ignored } else { Case::Exact })
}

fn read_list<'a>(node: &Node<'a>, what: &str) -> Vec<Node<'a>> {
    let items = node.items().unwrap_or_default();
    if node.value().as_array().is_some_and(Vec::is_empty) {
        node.fail(&format!(
            "an empty list matches nothing; write {what}, or leave the field out"
        ));
    }
    items
}

/// Reads each element, and reports duplicates.
fn each_once<T: PartialEq>(nodes: &[Node], read: impl Fn(&Node) -> Option<T>) -> Vec<T> {
    let mut list = Vec::new();
    for node in nodes {
        let Some(item) = read(node) else { continue };
        if list.contains(&item) {
            node.fail("is duplicated; remove one");
        }
        list.push(item);
    }
    list
}

fn read_method(node: &Node) -> Option<String> {
    let method = node.text("a method")?;
    if !is_token(method) {
        node.fail("not a method; write one such as GET");
    }
    Some(method.to_ascii_uppercase())
}

fn read_path(node: &Node) -> Option<PathPattern> {
    match read_regex(node) {
        Some(regex) => compiled(node, PathPattern::regex(regex?)),
        None => compiled(node, PathPattern::template(node.text("a path, or {regex: …}")?)),
    }
}

fn read_headers(node: &Node) -> Vec<(String, ValuePattern)> {
    let mut headers: Vec<(String, ValuePattern)> = Vec::new();
    let entries = node.entries().unwrap_or_default();
    if node.value().as_object().is_some_and(|map| map.is_empty()) {
        node.fail("has no header; write one, or leave the field out");
    }
    for (name, node) in entries {
        if !is_token(name) {
            node.fail_bare(HEADER_REMEDY);
        }
        let name = name.to_ascii_lowercase();
        if headers.iter().any(|(other, _)| *other == name) {
            node.fail_bare("this header is duplicated, in different case; remove one");
        }
        headers.extend(read_value(&node).map(|pattern| (name, pattern)));
    }
    headers
}

fn read_value(node: &Node) -> Option<ValuePattern> {
    match read_regex(node) {
        Some(regex) => compiled(node, ValuePattern::regex(regex?)),
        None => compiled(
            node,
            ValuePattern::exact(node.text("a value, \"*\" or {regex: …}")?),
        ),
    }
}

/// `{regex: …}`: `None` if the value has another form, `Some(None)` if it is invalid.
fn read_regex<'a>(node: &Node<'a>) -> Option<Option<&'a str>> {
    matches!(node.value(), Value::Object(_)).then(|| {
        let fields = node.fields(&REGEX)?;
        fields.required("regex", "write {regex: …}")?.text("a regex")
    })
}

fn compiled<T>(node: &Node, pattern: Result<T, PatternError>) -> Option<T> {
    match pattern {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            node.fail(&error.0);
            None
        }
    }
}

/// Whether every request that fits `a` also fits `b`, as far as this is known without analysing patterns.
pub(super) fn implies(a: &Match, b: &Match) -> bool {
    within(&a.methods, &b.methods)
        && (b.path.is_none() || (a.path == b.path && (a.case == b.case || b.case == Case::Ignored)))
        && within(&a.hosts, &b.hosts)
        && b.headers.iter().all(|header| implies_header(a, header))
        && (b.route.is_none() || a.route == b.route)
        && within(&a.sources, &b.sources)
        && match (&a.not, &b.not) {
            (_, None) => true,
            (Some(excluded), Some(unwanted)) => implies(unwanted, excluded),
            (None, Some(_)) => false,
        }
}

/// Whether list `a` is within list `b`; an empty list matches everything.
fn within<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    b.is_empty() || (!a.is_empty() && a.iter().all(|item| b.contains(item)))
}

fn implies_header(a: &Match, (name, pattern): &(String, ValuePattern)) -> bool {
    let is_present = ValuePattern::exact("*");
    let implied = |own: &ValuePattern| own == pattern || is_present.as_ref() == Ok(pattern);
    a.headers
        .iter()
        .any(|(own_name, own)| own_name == name && implied(own))
}

/// Whether `condition` is on sources alone.
fn is_by_source(condition: &Match) -> bool {
    let Match {
        methods,
        path,
        case: _,
        hosts,
        headers,
        route,
        sources,
        not,
    } = condition;
    let other_lists = methods.len() + hosts.len() + headers.len();
    !sources.is_empty() && other_lists == 0 && path.is_none() && route.is_none() && not.is_none()
}

fn excludes_every_caller(not: &Match, known: &[Source]) -> bool {
    let is_excluded = |source: &Source| not.sources.contains(&source.name);
    let is_address = |source: &Source| matches!(source.kind, SourceKind::Address { .. });
    is_by_source(not) && known.iter().all(is_excluded) && known.iter().any(is_address)
}

/// Whether no identified client can fit.
pub(super) fn excludes_every_client(condition: &Match, known: &[Source]) -> bool {
    let Some(not) = condition.not.as_deref().filter(|not| is_by_source(not)) else {
        return false;
    };
    let may_fit = |source: &Source| condition.sources.is_empty() || condition.sources.contains(&source.name);
    known
        .iter()
        .all(|source| !may_fit(source) || not.sources.contains(&source.name))
}

/// Whether the condition asks for a client: `source` outside of `not`, or within two of them.
pub(super) fn asks_for_client(condition: &Match) -> bool {
    fn asks(condition: &Match, is_negated: bool) -> bool {
        (!is_negated && !condition.sources.is_empty())
            || condition.not.as_deref().is_some_and(|not| asks(not, !is_negated))
    }
    asks(condition, false)
}
