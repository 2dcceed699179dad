//! `limits`: reads each limit, and the names by which limits refer to each other.

use crate::config::matching::ConditionUse;
use crate::config::node::{Fields, Node};
use crate::config::rates::Rates;
use crate::config::scalar::NAME_REMEDY;
use crate::config::shape::{
    distinct, list, words, Object, Rule, Shape, Test, TextForm, ANY, ENFORCE, NAME, RATE, SHARE,
};
use crate::config::shown::quoted;
use crate::config::{counting, key, matching, overrides, replaces};
use crate::identify::Source;
use crate::limit::{Case, Enforce, KeyPart, Limit, Match, OnError, Percent, Quota};
use crate::model::Store;
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) static LIMIT: Object = Object {
    fields: &[
        ("name", NAME),
        ("rate", RATE),
        ("algorithm", Shape::Words(&words(&counting::ALGORITHMS))),
        ("burst", counting::UNITS),
        ("align", Shape::Words(&words(&counting::ALIGN))),
        ("match", Shape::Either(&CONDITION, &list(&CONDITION, 1))),
        ("ignore_case", Shape::Flag),
        ("key", distinct(&Shape::Text(TextForm::KeyPart), 1)),
        ("overrides", distinct(&Shape::Object(&overrides::OVERRIDE), 0)),
        ("on_error", Shape::Words(&words(&ON_ERROR))),
        ("replaces", Shape::Either(&ANY, &distinct(&ANY, 0))),
        ("expose", Shape::Flag),
        ("enforce", ENFORCE),
        (
            "cost",
            Shape::Either(&counting::FIXED_COST, &Shape::Object(&counting::COST)),
        ),
        ("lease", SHARE),
    ],
    rules: &[
        Rule::Required("rate"),
        Rule::Never(
            &[("ignore_case", Test::Present), ("match", Test::Absent)],
            "ignore_case is about the paths of match: write match, or leave it out",
        ),
        Rule::Never(
            &[("burst", Test::Present), ("algorithm", Test::IsNot("gcra"))],
            "only gcra has a burst: remove it, or write algorithm: gcra",
        ),
        Rule::Never(
            &[
                ("align", Test::Present),
                ("algorithm", Test::IsNot("fixed_window")),
            ],
            "only fixed_window is aligned: remove align, or write algorithm: fixed_window",
        ),
        Rule::Never(
            &[("cost", Test::With("response_header")), ("algorithm", LOG)],
            "a cost from the response is not for a log: write algorithm: sliding_window_counter",
        ),
        Rule::Never(
            &[("algorithm", LOG), ("overrides", LIVE)],
            "a live override may raise N above what a log keeps: write algorithm: sliding_window_counter",
        ),
        Rule::Never(
            &[("lease", Test::Positive), ("cost", Test::Object)],
            "a lease needs a cost that is known in advance: remove it, or write a fixed cost",
        ),
        Rule::Never(
            &[("lease", Test::Positive), ("overrides", LIVE)],
            "a lease would outlive a live override: remove one of the two",
        ),
        Rule::Never(
            &[("overrides", LIVE), ("key", NO_CLIENT)],
            "a live override is kept by client: add client to key",
        ),
        Rule::Never(
            &[
                ("overrides", Test::Some(&[("source", Test::Present)])),
                ("key", NO_CLIENT),
            ],
            "an override by source needs the client: add client to key, or write cidr",
        ),
        Rule::Never(
            &[
                ("match", Test::Some(&[("source", Test::Present)])),
                ("key", NO_CLIENT),
            ],
            "source needs the client: add client to key",
        ),
    ],
};

const CONDITION: Shape = Shape::Object(&matching::CONDITION);
const LOG: Test = Test::Is("sliding_window_log");
const LIVE: Test = Test::Some(&[("from", Test::Present)]);
const NO_CLIENT: Test = Test::Lacks("client");

pub(super) const ON_ERROR: [(&str, OnError); 3] = [
    ("local", OnError::Local),
    ("allow", OnError::Allow),
    ("deny", OnError::Deny),
];

/// What a limit needs from the rest of the configuration.
pub(super) struct LimitContext<'c> {
    pub sources: &'c [Source],
    pub rates: &'c Rates<'c>,
    pub store: Store,
    /// The default for limits without their own.
    pub on_error: OnError,
    pub enforce: Enforce,
}

/// The limits in their order. Invalid ones are left out, so indices are only correct without errors.
pub(super) fn read(node: Option<Node>, context: &LimitContext) -> Vec<Limit> {
    let items = node.and_then(|node| node.items()).unwrap_or_default();
    let entries: Vec<Option<Fields>> = items.iter().map(|item| item.fields(&LIMIT)).collect();
    let mut indices = BTreeMap::new();
    let names: Vec<String> = entries
        .iter()
        .enumerate()
        .map(|(index, fields)| claim_name(index, fields.as_ref(), &mut indices))
        .collect();
    let mut graph = Vec::new();
    let mut limits = Vec::new();
    for (index, (fields, name)) in entries.iter().zip(&names).enumerate() {
        let replaced = fields
            .as_ref()
            .map(|fields| replaces::read(fields, index, &indices))
            .unwrap_or_default();
        graph.push(replaced.clone());
        if let Some(limit) = fields.as_ref().and_then(|fields| read_limit(fields, context)) {
            limits.push(Limit {
                name: name.clone(),
                replaces: replaced,
                ..limit
            });
        }
    }
    replaces::refuse_circles(&graph, &items, &names);
    limits
}

/// The limit's name, or its rate as written; an error if another limit has it already.
fn claim_name(index: usize, fields: Option<&Fields>, indices: &mut BTreeMap<String, usize>) -> String {
    let written = fields.and_then(|fields| fields.get("name"));
    let rate = fields.and_then(|fields| fields.get("rate"));
    let name = match (&written, &rate) {
        (Some(node), _) => node.name(),
        (None, Some(node)) => node.value().as_str().map(|rate| rate.trim_matches(' ')),
        (None, None) => None,
    };
    let Some(name) = name else {
        return String::new();
    };
    let first = indices.get(name).copied();
    match (first, written, rate) {
        (None, None, Some(rate)) if name.len() > 64 => {
            rate.fail(&format!("too long to be the limit's name; {NAME_REMEDY}"));
        }
        (Some(first), Some(node), _) => {
            node.fail(&format!("the name is used twice, also by limits[{first}]; give each limit its own"));
        }
        (Some(first), None, Some(node)) => node.fail(&format!(
            "the name {} is used twice, also by limits[{first}]: a limit without a name gets its rate as its name; give one of them a name",
            quoted(name)
        )),
        _ => {}
    }
    if first.is_none() {
        indices.insert(name.to_owned(), index);
    }
    name.to_owned()
}

/// All but its name and what it replaces.
fn read_limit(fields: &Fields, context: &LimitContext) -> Option<Limit> {
    let get = |name| fields.get(name);
    let rate = fields.required("rate", "write one such as 100/minute");
    let quota = rate.and_then(|node| context.rates.quota(&node));
    let key = key::read(get("key").as_ref());
    let has_client = key.contains(&KeyPart::Client);
    let case = get("ignore_case").and_then(|node| read_ignore_case(&node, get("match").is_some()));
    let matches = get("match")
        .map(|node| read_matches(&node, has_client, case.unwrap_or_default(), context))
        .unwrap_or_default();
    let of = overrides::OverrideContext { quota, has_client };
    let overrides = overrides::read(get("overrides").as_ref(), &of, context);
    let on_error = get("on_error").and_then(|node| node.choice(&ON_ERROR));
    let enforce = get("enforce").and_then(|node| read_enforce(&node));
    let expose = get("expose").and_then(|node| node.flag());
    // With an invalid rate, the other fields are still checked, as if the limit were unlimited.
    let quota_or_none = quota.unwrap_or(Quota::Unlimited);
    let counting = counting::read(fields, quota_or_none, &overrides, context.store);
    Some(Limit {
        name: String::new(),
        quota: quota?,
        algorithm: counting.algorithm,
        matches,
        key,
        overrides,
        enforce: enforce.unwrap_or(context.enforce),
        on_error: on_error.unwrap_or(context.on_error),
        replaces: Vec::new(),
        expose: expose.unwrap_or(true),
        cost: counting.cost,
        lease: counting.lease,
    })
}

/// How the paths of all its matches are compared.
fn read_ignore_case(node: &Node, has_match: bool) -> Option<Case> {
    let ignored = node.flag()?;
    if !has_match {
        node.fail("applies to the paths of match, and match is missing; write match, or leave this out");
    }
    Some(if ignored { Case::Ignored } else { Case::Exact })
}

fn read_matches(node: &Node, has_client: bool, case: Case, context: &LimitContext) -> Vec<Match> {
    let items = node.one_or_items();
    if items.is_empty() {
        node.fail("an empty list matches nothing; leave match out to match every request");
    }
    let mut matches = Vec::new();
    for item in &items {
        let Some(condition) = matching::read(item, context.sources, ConditionUse::Limits(case)) else {
            continue;
        };
        if !has_client && matching::asks_for_client(&condition) {
            let node = item.get("source").or_else(|| item.get("not"));
            node.as_ref()
                .unwrap_or(item)
                .fail("source needs the client; add client to key");
        }
        if has_client && matching::excludes_every_client(&condition, context.sources) {
            item.fail(
                "excludes every source, and the key has the client: can never match; write another key, such as [address]",
            );
        }
        matches.push(condition);
    }
    matches
}

/// `true`, `false` or a share of the clients.
pub(super) fn read_enforce(node: &Node) -> Option<Enforce> {
    match node.value() {
        Value::Bool(true) => return Some(Enforce::Always),
        Value::Bool(false) => return Some(Enforce::Never),
        Value::String(text) if text == "true" || text == "false" => {
            node.fail(&format!("wrong type; write {text} without quotes"));
            return None;
        }
        Value::String(_) | Value::Number(_) => {}
        _ => {
            node.fail_type("true, false or a share such as 10%");
            return None;
        }
    }
    Some(match node.percent()? {
        Percent::NONE => Enforce::Never,
        Percent::FULL => Enforce::Always,
        share => Enforce::Share(share),
    })
}
