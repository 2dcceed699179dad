//! Applies a decision to its request: filter state, quota headers for the upstream, the filter's own reply.

use super::event::{Endpoint, Event};
use super::filter_state::{self, DecisionContext, SHOWN_COST};
use super::pending::{Caller, Decided};
use super::{CallId, Engine, Exchange, Now};
use crate::decision::{CountedBy, Decision, Outcome};
use crate::headers::{self, Header};
use crate::instances::{self, Shown};
use crate::limit::Group;
use crate::local::SharedData;
use crate::redis::Level;
use crate::redis::RedisCall;
use crate::reply::Reply;
use crate::telemetry::denials::{trace_id, DenialLine};

/// How a decided request continues.
#[derive(Debug)]
pub enum Answer {
    /// It continues to the upstream.
    Pass(Admitted),
    /// It is answered by the filter.
    Reply(Reply),
}

/// What is left to do for an admitted request: the headers for its response, and the costs that are still to be
/// charged. Pass it back once: to [`Engine::on_response`] or, if no response comes, to [`Engine::on_gone`].
#[derive(Debug, Default)]
pub struct Admitted {
    /// Quota headers for the response.
    pub(super) figures: Vec<Header>,
    /// Groups with limits that are charged on the response.
    pub(super) response_groups: Vec<Group>,
    pub(super) by: Option<CountedBy>,
}

impl<T: RedisCall<CallId>, S: SharedData + Clone> Engine<T, S> {
    /// Applies the decision to the request.
    pub(super) fn answer(&mut self, now: Now, decided: Decided, request: &mut dyn Exchange) -> Answer {
        let Decided {
            caller,
            groups,
            decision,
            redis_us,
        } = decided;
        let policy = self.policy.clone();
        let unix_ms = now.unix_ms();
        let earlier = match caller.earlier {
            true => shown_earlier(request),
            false => Shown::default(),
        };
        let random = || self.random.f64();
        let reply = Reply::new(&policy, &decision, caller.protocol, unix_ms, random);
        let context = DecisionContext {
            caller: &caller,
            redis_us,
            unix_ms,
            reply: reply.as_ref(),
        };
        filter_state::write(&policy, &decision, &context, request);
        let is_earlier = caller.earlier;
        let retry_after = reply.as_ref().and_then(|reply| reply.retry_after);
        self.report(unix_ms, caller, &decision, &groups, retry_after, request);
        let cost = decision.shown.map_or(1, |shown| shown.cost);
        if let Some(mut reply) = reply {
            let ours = Shown {
                headers: std::mem::take(&mut reply.headers),
                cost,
            };
            reply.headers = instances::merge(earlier, ours, true).headers;
            if is_earlier {
                request.set_filter_state(instances::SHOWN_BY, policy.instance.as_bytes());
            }
            return Answer::Reply(reply);
        }
        let mut figures = headers::quota(&policy.response, &policy.limits, &decision, unix_ms);
        if !figures.is_empty() {
            let ours = Shown {
                headers: figures,
                cost,
            };
            let shown = instances::merge(earlier, ours, false);
            figures = shown.headers;
            if is_earlier {
                request.set_filter_state(instances::SHOWN_BY, policy.instance.as_bytes());
            }
            filter_state::write_cost(request, SHOWN_COST, shown.cost, is_earlier);
            for figure in &figures {
                // The first instance has removed the previous headers.
                match is_earlier {
                    true => request.set_header(figure),
                    false => request.add_header(figure),
                }
            }
        }
        if !decision.shadow.is_empty() {
            request.set_header(&(headers::LIMITED, "true".into()));
        }
        let mut response_groups = groups;
        response_groups.retain(Group::has_response_cost);
        Answer::Pass(Admitted {
            figures,
            response_groups,
            by: decision.by,
        })
    }

    /// Reports a decision to operators. `groups`: the groups that were counted. `retry_after`: in seconds, as in the
    /// response header. It makes as few host calls as possible: most denials come from memory, and a host call would be
    /// the largest part of their cost.
    fn report(
        &mut self,
        unix_ms: u64,
        caller: Caller,
        decision: &Decision,
        groups: &[Group],
        retry_after: Option<u64>,
        request: &dyn Exchange,
    ) {
        self.events.note(Event::Decided {
            outcome: decision.outcome,
            by: decision.by,
        });
        let reported = decision.reported.filter(|_| decision.outcome == Outcome::Denied);
        let Some(index) = reported.map(|reported| reported.limit) else {
            return;
        };
        let policy = &self.policy;
        let left_out = self.denials.note(index, unix_ms / 1_000, &self.shared);
        if !self.events.metrics && left_out.is_none() {
            return;
        }
        let limit = policy.limits.get(index);
        let mut charges = groups.iter().flat_map(|group| &group.charges);
        let matched = charges
            .find(|charge| charge.limit == index)
            .and_then(|charge| charge.matched)
            .filter(|matched| limit.is_some_and(|limit| limit.path_pattern(*matched).is_some()));
        let endpoint = match matched {
            Some(matched) => Endpoint::Match(matched),
            None => Endpoint::Route(request.route().unwrap_or_default()),
        };
        if let Some(left_out) = left_out {
            let line = DenialLine {
                instance: &policy.instance,
                client: caller.client.as_deref(),
                limit: limit.map_or("", |limit| &limit.name),
                by: decision.by.map_or("", CountedBy::as_str),
                endpoint: endpoint.name(limit),
                retry_after,
                left_out,
                ..DenialLine::default()
            };
            let line = with_request(line, request);
            self.events.line(Level::Warn, line);
        }
        self.events.note(Event::Denied {
            limit: index,
            endpoint,
            client: caller.client,
        });
    }
}

/// The quota headers that earlier instances have set.
fn shown_earlier(request: &dyn Exchange) -> Shown {
    Shown {
        headers: instances::shown(request),
        cost: filter_state::cost_earlier(request, SHOWN_COST),
    }
}

/// The longest text from a caller in a log line, in bytes.
const MAX_TEXT: usize = 128;

/// The log line of a denial, with the fields that are read from the request's headers.
fn with_request(line: DenialLine<'_>, request: &dyn Exchange) -> String {
    let text = |name: &str| {
        let value = request.header(name).value()?;
        Some(String::from_utf8_lossy(value.get(..MAX_TEXT).unwrap_or(&value)).into_owned())
    };
    let [method, request_id, w3c, b3, x_b3] =
        [":method", "x-request-id", "traceparent", "b3", "x-b3-traceid"].map(text);
    let line = DenialLine {
        method: method.as_deref(),
        request_id: request_id.as_deref(),
        trace_id: trace_id(w3c.as_deref(), b3.as_deref(), x_b3.as_deref()),
        ..line
    };
    line.json()
}
