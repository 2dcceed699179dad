//! The top level of the configuration: its role, and its sections.
//!
//! A configuration is the guard's if it says `role: redis_call`, or if it has `redis.key_prefix` and nothing else; any
//! other is a filter's, and needs limits. Whether the host uses it in that role is known when it calls.

use crate::config::limits::{self, LimitContext};
use crate::config::matching::ConditionUse;
use crate::config::native::{self, Transport};
use crate::config::node::{Fields, Node};
use crate::config::rates::Rates;
use crate::config::shape::{distinct, list, words, Object, Rule, Shape, Test, TextForm, ENFORCE, NAME};
use crate::config::{input, limits::ON_ERROR, matching, reach, settings, sources};
use crate::limit::{Enforce, Match, OnError};
use crate::model::{OnAmbiguousClient, OnNoClient, Plugin, Policy, Store};
use serde_json::Value;

const ROLES: [(&str, Role); 2] = [("filter", Role::Filter), ("redis_call", Role::RedisCall)];
const STORES: [(&str, Store); 2] = [("redis", Store::Redis), ("local", Store::Local)];
const ON_NO_CLIENT: [(&str, OnNoClient); 2] = [("allow", OnNoClient::Allow), ("deny", OnNoClient::Deny)];
const ON_AMBIGUOUS_CLIENT: [(&str, OnAmbiguousClient); 2] = [
    ("next", OnAmbiguousClient::Next),
    ("deny", OnAmbiguousClient::Deny),
];

/// The whole configuration.
pub(super) static POLICY: Object = Object {
    fields: &[
        ("role", Shape::Words(&words(&ROLES))),
        ("enabled", Shape::Flag),
        ("instance", NAME),
        ("enforce", ENFORCE),
        ("store", Shape::Words(&words(&STORES))),
        ("redis", Shape::Object(&settings::REDIS)),
        ("on_error", Shape::Words(&words(&ON_ERROR))),
        ("local", Shape::Object(&settings::LOCAL)),
        ("identify", distinct(&Shape::Object(&sources::SOURCE), 1)),
        ("on_no_client", Shape::Words(&words(&ON_NO_CLIENT))),
        ("on_ambiguous_client", Shape::Words(&words(&ON_AMBIGUOUS_CLIENT))),
        ("exempt", list(&Shape::Object(&matching::FREEING), 0)),
        (
            "rates",
            Shape::Map {
                keys: TextForm::RateName,
                of: &Shape::Text(TextForm::PlainRate),
                least: 0,
            },
        ),
        ("limits", distinct(&Shape::Object(&limits::LIMIT), 1)),
        ("response", Shape::Object(&settings::RESPONSE)),
        ("verdict_cache", Shape::Object(&settings::VERDICT_CACHE)),
        ("log", Shape::Object(&settings::LOG)),
        ("metrics", Shape::Object(&settings::METRICS)),
        ("filter_state", settings::FILTER_STATE),
    ],
    rules: &[
        Rule::NotEmpty,
        Rule::UnlessGuard(&["limits"]),
        Rule::Never(
            &[
                ("limits", Test::Some(&[("lease", Test::Positive)])),
                ("store", Test::Is("local")),
            ],
            "a lease needs store: redis",
        ),
        Rule::Never(
            &[
                (
                    "limits",
                    Test::Some(&[("overrides", Test::Some(&[("from", Test::Present)]))]),
                ),
                ("store", Test::Is("local")),
            ],
            "a live override needs store: redis",
        ),
    ],
};

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Filter,
    RedisCall,
}

/// If it reports errors, the result must not be used.
pub(super) fn read(root: &Node, transport: Transport) -> Plugin {
    let nothing = Plugin::RedisCall {
        key_prefix: String::new(),
    };
    let Some(fields) = root.fields(&POLICY) else {
        return nothing;
    };
    if fields.is_empty() {
        root.fail_bare(input::EMPTY);
        return nothing;
    }
    let role = fields.get("role").and_then(|node| node.choice(&ROLES));
    if role == Some(Role::RedisCall) || is_key_prefix_alone(root.value()) {
        return read_redis_call(&fields);
    }
    let policy = read_policy(&fields, transport);
    if policy.limits.is_empty() && root.is_sound() {
        refuse_without_limits(&fields);
    }
    Plugin::Filter(Box::new(policy))
}

fn is_key_prefix_alone(root: &Value) -> bool {
    let redis = only(root, "redis");
    redis.and_then(|redis| only(redis, "key_prefix")).is_some()
}

/// The field of an object without other fields.
fn only<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let fields = value.as_object().filter(|fields| fields.len() == 1);
    fields.and_then(|fields| fields.get(name))
}

/// Only if there is no other error: missing limits may be a consequence of one, such as a misspelled field.
fn refuse_without_limits(fields: &Fields) {
    const REMEDY: &str =
        "a filter without limits counts nothing; write one such as [{rate: 100/minute}] (the guard, a \
         network filter, takes role: redis_call and redis.key_prefix alone)";
    match fields.get("limits") {
        Some(node) => node.fail(REMEDY),
        None => fields.fail_missing("limits", &format!("missing: {REMEDY}")),
    }
}

fn read_redis_call(fields: &Fields) -> Plugin {
    const WHY: &str = "role redis_call takes redis.key_prefix and nothing else; leave this out";
    for name in POLICY.names().filter(|name| !["role", "redis"].contains(name)) {
        if let Some(node) = fields.get(name) {
            node.fail_bare(WHY);
        }
    }
    let redis = fields.get("redis");
    for name in settings::REDIS.names().filter(|name| *name != "key_prefix") {
        if let Some(node) = redis.as_ref().and_then(|node| node.get(name)) {
            node.fail_bare(WHY);
        }
    }
    Plugin::RedisCall {
        key_prefix: settings::redis(redis).key_prefix,
    }
}

fn read_policy(fields: &Fields, transport: Transport) -> Policy {
    let get = |name| fields.get(name);
    let store = get("store").and_then(|node| node.choice(&STORES));
    let on_no_client = get("on_no_client").and_then(|node| node.choice(&ON_NO_CLIENT));
    let on_ambiguous_client = get("on_ambiguous_client").and_then(|node| node.choice(&ON_AMBIGUOUS_CLIENT));
    let sources = sources::read(get("identify"));
    let rates = Rates::read(get("rates"));
    let context = LimitContext {
        sources: &sources,
        rates: &rates,
        store: store.unwrap_or(Store::Redis),
        on_error: get("on_error")
            .and_then(|node| node.choice(&ON_ERROR))
            .unwrap_or(OnError::Local),
        enforce: get("enforce")
            .and_then(|node| limits::read_enforce(&node))
            .unwrap_or(Enforce::Always),
    };
    let exempt = read_exempt(get("exempt"), &context);
    // Without a value they count as missing.
    let list = get("limits").filter(|node| !node.value().is_null());
    let limits = limits::read(list, &context);
    let sound = ["identify", "exempt", "limits"]
        .iter()
        .all(|name| get(name).is_none_or(|node| node.is_sound()));
    if let (true, Some(node)) = (sound, list) {
        reach::check(&node, &limits, &exempt, &sources);
    }
    let mut redis = settings::redis(get("redis"));
    redis.native = native::read(transport, get("redis").as_ref(), &fields.node, context.store);
    Policy {
        enabled: get("enabled").and_then(|node| node.flag()).unwrap_or(true),
        instance: get("instance")
            .and_then(|node| node.name())
            .unwrap_or("main")
            .to_owned(),
        store: context.store,
        redis,
        local: settings::local(get("local")),
        on_no_client: on_no_client.unwrap_or(OnNoClient::Allow),
        on_ambiguous_client: on_ambiguous_client.unwrap_or(OnAmbiguousClient::Next),
        exempt,
        limits,
        response: settings::response(get("response")),
        verdict_cache: settings::verdict_cache(get("verdict_cache")),
        log: settings::log(get("log")),
        metrics: settings::metrics(get("metrics"), &sources),
        filter_state: settings::filter_state(get("filter_state")),
        identify: sources,
    }
}

fn read_exempt(node: Option<Node>, context: &LimitContext) -> Vec<Match> {
    let items = node.and_then(|node| node.items()).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| matching::read(item, context.sources, ConditionUse::Frees))
        .collect()
}
