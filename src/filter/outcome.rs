//! Carries a decision out on the request of the effective context: figures, filter state, resume or reply.

use super::host;
use crate::config::Policy;
use crate::decision::{CountedBy, Decision, Outcome};
use crate::headers::{self, Header};
use crate::reply::Reply;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is left to do when the response passes.
#[derive(Debug, Default)]
pub enum Afterwards {
    /// Nothing: no figures, or the reply is our own and has them.
    #[default]
    Nothing,
    /// The upstream's response gets the figures.
    Show(Vec<Header>),
}

/// What operators may know of the request beside the decision.
pub struct Facts<'a> {
    /// `source:value or hash`; `None`: nobody was told apart.
    pub client: Option<&'a str>,
    /// How long Redis took, in µs.
    pub redis_us: Option<u64>,
}

/// Sets filter state and request headers, or replies. The caller resumes a paused request unless this replied.
pub fn carry_out(policy: &Policy, decision: &Decision, facts: &Facts, grpc: bool) -> Afterwards {
    let unix_ms = unix_ms();
    let reply = Reply::new(policy, decision, unix_ms, fastrand::f64());
    tell(policy, decision, facts, reply.as_ref(), unix_ms);
    if let Some(reply) = reply {
        host::reply(
            reply.status,
            grpc.then_some(reply.grpc_status),
            &reply.headers,
            &reply.body,
        );
        return Afterwards::Nothing;
    }
    let figures = headers::quota(&policy.response, &policy.limits, decision, unix_ms);
    for (name, value) in &figures {
        host::set_header(host::Map::Request, name, value);
    }
    if !decision.shadow.is_empty() {
        host::set_header(host::Map::Request, headers::LIMITED, "true");
    }
    match figures.is_empty() {
        true => Afterwards::Nothing,
        false => Afterwards::Show(figures),
    }
}

/// Filter state: `wasm.ratelimit_*`, for access logs, traces and other filters.
fn tell(policy: &Policy, decision: &Decision, facts: &Facts, reply: Option<&Reply>, unix_ms: u64) {
    host::set_filter_state("ratelimit_decision", word(decision.outcome).as_bytes());
    if let Some(by) = decision.by {
        host::set_filter_state("ratelimit_by", by_word(by).as_bytes());
    }
    if let Some(client) = facts.client {
        host::set_filter_state("ratelimit_client", client.as_bytes());
    }
    let mut digits = String::with_capacity(20);
    let mut number = |name: &str, value: u64| {
        digits.clear();
        let _ = write!(digits, "{value}");
        host::set_filter_state(name, digits.as_bytes());
    };
    if let Some(figures) = decision.told.as_ref() {
        if let Some(limit) = policy.limits.get(figures.limit) {
            host::set_filter_state("ratelimit_name", limit.name.as_bytes());
        }
        number("ratelimit_limit", figures.quota);
        number("ratelimit_remaining", figures.remaining);
        number(
            "ratelimit_reset",
            headers::reset(policy.response.reset, figures.reset_ms, unix_ms),
        );
    }
    if let Some(wait) = reply.and_then(|reply| reply.retry_after) {
        number("ratelimit_retry_after", wait);
    }
    if let Some(micros) = facts.redis_us {
        number("ratelimit_redis_us", micros);
    }
    if !decision.shadow.is_empty() {
        let names = decision
            .shadow
            .iter()
            .filter_map(|&limit| policy.limits.get(limit));
        let names: Vec<&str> = names.map(|limit| limit.name.as_str()).collect();
        host::set_filter_state("ratelimit_shadow", names.join(",").as_bytes());
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allowed => "allowed",
        Outcome::Denied => "denied",
        Outcome::FailedOpen => "failed_open",
        Outcome::FailedClosed => "failed_closed",
        Outcome::Exempt => "exempt",
        Outcome::NoClient { .. } => "no_client",
    }
}

fn by_word(by: CountedBy) -> &'static str {
    match by {
        CountedBy::Redis => "redis",
        CountedBy::Local => "local",
        CountedBy::Cache => "cache",
    }
}

/// The wall clock, in ms; the only use of it: waits and caches are on the monotonic clock.
fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
