//! Carries a decision out on the request of the effective context: figures, filter state, resume or reply.

use super::attributes::RequestAttributes;
use super::host::{self, HeaderMap};
use super::seen::Seen;
use crate::config::Policy;
use crate::decision::{CountedBy, Decision, Outcome};
use crate::filter_state::StateName;
use crate::headers::{self, Header};
use crate::instances::{self, Shown, Standing};
use crate::limit::Group;
use crate::protocol::Protocol;
use crate::reply::Reply;

/// What is left to do when the response passes.
#[derive(Debug, Default)]
pub enum Afterwards {
    /// Nothing: the filter is off, or the reply is our own.
    #[default]
    Nothing,
    /// The upstream's response gets these figures, if any, and what it says to have cost is charged.
    Answered {
        figures: Vec<Header>,
        later: Vec<Group>,
        by: Option<CountedBy>,
    },
}

/// What is known of the request beside the decision.
pub struct Facts<'a> {
    /// `source:value or hash`; `None`: nobody was told apart.
    pub client: Option<&'a str>,
    /// How long Redis took, in µs.
    pub redis_us: Option<u64>,
    /// How the caller is to be answered.
    pub protocol: Protocol,
    /// Another instance has decided before this one.
    pub earlier: bool,
    /// Where they have been read just now.
    pub attributes: Option<&'a RequestAttributes>,
    /// The wall clock.
    pub unix_ms: u64,
    /// Operators are told through it.
    pub seen: &'a Seen,
}

/// Sets filter state and request headers, or replies. The caller resumes a paused request unless this replied.
/// `groups` is what was counted.
pub fn carry_out(policy: &Policy, decision: &Decision, facts: &Facts, groups: Vec<Group>) -> Afterwards {
    let unix_ms = facts.unix_ms;
    let earlier = match facts.earlier {
        true => shown_earlier(facts),
        false => Shown::default(),
    };
    let reply = Reply::new(policy, decision, facts.protocol, unix_ms, fastrand::f64);
    tell(policy, decision, facts, reply.as_ref());
    let retry_after = reply.as_ref().and_then(|reply| reply.retry_after);
    facts.seen.decided(policy, decision, facts, &groups, retry_after);
    let cost = decision.shown.map_or(1, |shown| shown.cost);
    if let Some(mut reply) = reply {
        let ours = Shown {
            headers: std::mem::take(&mut reply.headers),
            cost,
        };
        reply.headers = instances::merge(earlier, ours, true).headers;
        take_over(policy, facts);
        host::reply(&reply);
        return Afterwards::Nothing;
    }
    let mut figures = headers::quota(&policy.response, &policy.limits, decision, unix_ms);
    if !figures.is_empty() {
        let ours = Shown {
            headers: figures,
            cost,
        };
        let shown = instances::merge(earlier, ours, false);
        figures = shown.headers;
        take_over(policy, facts);
        tell_cost(SHOWN_COST, shown.cost, facts);
        for figure in &figures {
            // The first instance has taken away what was there.
            match facts.earlier {
                true => host::set_header(host::Map::Request, figure),
                false => host::add_header(host::Map::Request, figure),
            }
        }
    }
    if !decision.shadow.is_empty() {
        host::set_header(host::Map::Request, &(headers::LIMITED, "true".into()));
    }
    let mut later = groups;
    later.retain(Group::has_later);
    Afterwards::Answered {
        figures,
        later,
        by: decision.by,
    }
}

fn shown_earlier(facts: &Facts) -> Shown {
    let headers = match facts.attributes {
        Some(attributes) => instances::shown(attributes.headers().iter()),
        None => instances::shown(HeaderMap::read(host::Map::Request).iter()),
    };
    Shown {
        headers,
        cost: cost_earlier(SHOWN_COST),
    }
}

/// Tells the instances behind what a call costs under the limit whose figures they find. Where nothing is told, it
/// is 1: nearly always, so that a request seldom pays for it.
fn tell_cost(name: &str, cost: u64, facts: &Facts) {
    if cost > 1 || facts.earlier {
        host::set_filter_state(name, itoa::Buffer::new().format(cost).as_bytes());
    }
}

fn cost_earlier(name: &str) -> u64 {
    number_property(name).unwrap_or(1)
}

/// Tells the instances before that this one has spoken for them.
fn take_over(policy: &Policy, facts: &Facts) {
    if facts.earlier {
        host::set_filter_state(instances::SHOWN_BY, policy.instance.as_bytes());
    }
}

fn text_property(name: &str) -> String {
    let value = host::property(name.as_bytes()).unwrap_or_default();
    String::from_utf8(value).unwrap_or_default()
}

fn number_property(name: &str) -> Option<u64> {
    text_property(name).parse().ok()
}

/// Filter state: `wasm.ratelimit_*`, for access logs, traces and other filters, as far as the policy wants it written.
/// Where an earlier instance has told something, the two are told as one: the refusal or the tighter limit, both
/// shadows, the sum of both waits.
fn tell(policy: &Policy, decision: &Decision, facts: &Facts, reply: Option<&Reply>) {
    let wanted = policy.filter_state;
    let text = |name: StateName, value: &[u8]| {
        if wanted.writes(name) {
            host::set_filter_state(name.as_str(), value);
        }
    };
    let number = |name: StateName, value: u64| text(name, itoa::Buffer::new().format(value).as_bytes());
    let word = word(decision.outcome);
    let decided = facts.earlier.then(|| text_property(DECISION));
    if !decided.is_some_and(|earlier| instances::stays(earlier.as_bytes(), word, reply.is_some())) {
        text(StateName::Decision, word.as_bytes());
    }
    if let Some(by) = decision.by.filter(|_| wanted.writes(StateName::By)) {
        let certain = by == CountedBy::Redis;
        if !(facts.earlier && certain && !text_property(StateName::By.as_str()).is_empty()) {
            text(StateName::By, by_word(by).as_bytes());
        }
    }
    if reply.is_some() {
        // for a span's tag of that name
        text(StateName::Error, b"true");
    }
    if let Some(client) = facts.client {
        text(StateName::Client, client.as_bytes());
    }
    if let Some(figures) = decision.told.as_ref().filter(|_| wanted.writes_figures()) {
        let standing = Standing {
            remaining: figures.remaining,
            reset: headers::reset(policy.response.reset, figures.reset_ms, facts.unix_ms),
            cost: figures.cost,
        };
        let tighter = || told_earlier().is_some_and(|earlier| earlier.tighter(&standing));
        if !(facts.earlier && reply.is_none() && tighter()) {
            if let Some(limit) = policy.limits.get(figures.limit) {
                text(StateName::Name, limit.name.as_bytes());
            }
            number(StateName::Limit, figures.quota);
            number(StateName::Remaining, standing.remaining);
            number(StateName::Reset, standing.reset);
            tell_cost(TOLD_COST, standing.cost, facts);
        }
    }
    if let Some(wait) = reply.and_then(|reply| reply.retry_after) {
        number(StateName::RetryAfter, wait);
    }
    if let Some(micros) = facts.redis_us.filter(|_| wanted.writes(StateName::RedisUs)) {
        let before = facts
            .earlier
            .then(|| number_property(StateName::RedisUs.as_str()));
        number(StateName::RedisUs, micros + before.flatten().unwrap_or(0));
    }
    if !decision.shadow.is_empty() && wanted.writes(StateName::Shadow) {
        let mut names = match facts.earlier {
            true => text_property(StateName::Shadow.as_str()),
            false => String::new(),
        };
        for limit in decision
            .shadow
            .iter()
            .filter_map(|&limit| policy.limits.get(limit))
        {
            if !names.is_empty() {
                names.push(',');
            }
            names.push_str(&limit.name);
        }
        text(StateName::Shadow, names.as_bytes());
    }
}

const DECISION: &str = StateName::Decision.as_str();
/// For the instances behind alone: what a call costs under the limit in the headers, and under the limit above.
const SHOWN_COST: &str = "ratelimit_shown_cost";
const TOLD_COST: &str = "ratelimit_cost";

fn told_earlier() -> Option<Standing> {
    Some(Standing {
        remaining: number_property(StateName::Remaining.as_str())?,
        reset: number_property(StateName::Reset.as_str())?,
        cost: cost_earlier(TOLD_COST),
    })
}

/// Whether an instance of the chain has decided already.
pub fn decided_earlier() -> bool {
    host::property(DECISION.as_bytes()).is_some_and(|word| !word.is_empty())
}

/// Whether the response comes from an instance: of those that let a request pass, one behind may still have refused.
pub fn refused_later() -> bool {
    matches!(
        text_property(DECISION).as_str(),
        "denied" | "failed_closed" | "no_client" | "ambiguous_client"
    )
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allowed => "allowed",
        Outcome::Denied => "denied",
        Outcome::FailedOpen => "failed_open",
        Outcome::FailedClosed => "failed_closed",
        Outcome::Exempt => "exempt",
        Outcome::NoClient { .. } => "no_client",
        Outcome::AmbiguousClient => "ambiguous_client",
    }
}

pub fn by_word(by: CountedBy) -> &'static str {
    match by {
        CountedBy::Redis => "redis",
        CountedBy::Local => "local",
        CountedBy::Cache => "cache",
        CountedBy::Lease => "lease",
    }
}
