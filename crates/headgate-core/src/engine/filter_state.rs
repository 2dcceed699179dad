//! The filter state that the filter writes (`wasm.ratelimit_*`), for access logs, traces, other filters and later
//! instances in the chain.

use super::pending::Caller;
use super::Exchange;
use crate::decision::{CountedBy, Decision};
use crate::headers;
use crate::instances::{self, RemainingQuota};
use crate::model::{Policy, StateName};
use crate::reply::Reply;

const DECISION: &str = StateName::Decision.as_str();
/// The cost of the call under the limit that the headers show. For later instances only, as is `REPORTED_COST`, which
/// is the cost under the limit in filter state.
pub const SHOWN_COST: &str = "ratelimit_shown_cost";
const REPORTED_COST: &str = "ratelimit_cost";

/// The values that are written in addition to the decision.
pub struct DecisionContext<'a> {
    pub caller: &'a Caller,
    /// How long the request waited for Redis, in µs; `None`: Redis was not asked.
    pub redis_us: Option<u64>,
    /// The wall clock.
    pub unix_ms: u64,
    /// The filter's own reply, if any.
    pub reply: Option<&'a Reply>,
}

/// Writes the filter state that the policy selects. Values of an earlier instance are merged: the refusal or the
/// tighter limit wins, the lists of shadow limits are joined, and the waits are added.
pub fn write(policy: &Policy, decision: &Decision, context: &DecisionContext, request: &mut dyn Exchange) {
    let DecisionContext { caller, reply, .. } = *context;
    let earlier = caller.earlier;
    let wanted = policy.filter_state;
    let word = decision.outcome.as_str();
    let decided = earlier.then(|| text(request, DECISION));
    if !decided.is_some_and(|earlier| instances::stays(earlier.as_bytes(), word, reply.is_some())) {
        request.set_filter_state(DECISION, word.as_bytes());
    }
    if let Some(by) = decision.by.filter(|_| wanted.writes(StateName::By)) {
        let certain = by == CountedBy::Redis;
        if !(earlier && certain && !text(request, StateName::By.as_str()).is_empty()) {
            request.set_filter_state(StateName::By.as_str(), by.as_str().as_bytes());
        }
    }
    if reply.is_some() && wanted.writes(StateName::Error) {
        // Access logs and tracers use it for a span's tag of that name.
        request.set_filter_state(StateName::Error.as_str(), b"true");
    }
    if let Some(client) = caller
        .client
        .as_ref()
        .filter(|_| wanted.writes(StateName::Client))
    {
        request.set_filter_state(StateName::Client.as_str(), client.as_bytes());
    }
    if let Some(figures) = decision.reported.as_ref().filter(|_| wanted.writes_figures()) {
        let remaining_quota = RemainingQuota {
            remaining: figures.remaining,
            reset: headers::reset(policy.response.reset, figures.reset_ms, context.unix_ms),
            cost: figures.cost,
        };
        let tighter = earlier
            && reply.is_none()
            && earlier_quota(request).is_some_and(|it| it.tighter(&remaining_quota));
        if !tighter {
            let limit = policy.limits.get(figures.limit);
            if let Some(limit) = limit.filter(|_| wanted.writes(StateName::Name)) {
                request.set_filter_state(StateName::Name.as_str(), limit.name.as_bytes());
            }
            if wanted.writes(StateName::Limit) {
                set_number(request, StateName::Limit.as_str(), figures.quota);
            }
            // Always both: later instances compare by them.
            set_number(request, StateName::Remaining.as_str(), remaining_quota.remaining);
            set_number(request, StateName::Reset.as_str(), remaining_quota.reset);
            write_cost(request, REPORTED_COST, remaining_quota.cost, earlier);
        }
    }
    let refused = reply.filter(|_| wanted.writes(StateName::RetryAfter));
    if let Some(wait) = refused.and_then(|reply| reply.retry_after) {
        set_number(request, StateName::RetryAfter.as_str(), wait);
    }
    if let Some(micros) = context.redis_us.filter(|_| wanted.writes(StateName::RedisUs)) {
        let name = StateName::RedisUs.as_str();
        let before = earlier.then(|| number(request, name)).flatten();
        set_number(request, name, micros + before.unwrap_or(0));
    }
    if !decision.shadow.is_empty() && wanted.writes(StateName::Shadow) {
        let mut names = match earlier {
            true => text(request, StateName::Shadow.as_str()),
            false => String::new(),
        };
        let limits = decision
            .shadow
            .iter()
            .filter_map(|&limit| policy.limits.get(limit));
        for limit in limits {
            if !names.is_empty() {
                names.push(',');
            }
            names.push_str(&limit.name);
        }
        request.set_filter_state(StateName::Shadow.as_str(), names.as_bytes());
    }
}

/// Writes the cost of a call for later instances. Nothing is written for a cost of 1, which is the usual cost: this
/// saves a host call.
pub fn write_cost(request: &mut dyn Exchange, name: &str, cost: u64, earlier: bool) {
    if cost > 1 || earlier {
        set_number(request, name, cost);
    }
}

/// The cost that an earlier instance wrote, or 1 if it wrote no cost.
pub fn cost_earlier(request: &dyn Exchange, name: &str) -> u64 {
    number(request, name).unwrap_or(1)
}

/// Whether an earlier instance in the chain has decided.
pub fn decided_earlier(request: &dyn Exchange) -> bool {
    request
        .filter_state(DECISION)
        .is_some_and(|word| !word.is_empty())
}

/// Whether a later instance refused the request that this one admitted.
pub fn refused_later(response: &dyn super::Response) -> bool {
    matches!(
        response.filter_state(DECISION).as_deref(),
        Some(b"denied" | b"failed_closed" | b"no_client" | b"ambiguous_client")
    )
}

fn earlier_quota(request: &dyn Exchange) -> Option<RemainingQuota> {
    Some(RemainingQuota {
        remaining: number(request, StateName::Remaining.as_str())?,
        reset: number(request, StateName::Reset.as_str())?,
        cost: cost_earlier(request, REPORTED_COST),
    })
}

fn text(request: &dyn Exchange, name: &str) -> String {
    String::from_utf8(request.filter_state(name).unwrap_or_default()).unwrap_or_default()
}

fn number(request: &dyn Exchange, name: &str) -> Option<u64> {
    text(request, name).parse().ok()
}

fn set_number(request: &mut dyn Exchange, name: &str, value: u64) {
    request.set_filter_state(name, itoa::Buffer::new().format(value).as_bytes());
}
