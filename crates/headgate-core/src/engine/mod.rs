//! Decides about requests, from the arrival of their headers to their last charge. It is a state machine without I/O.
//!
//! A shell passes events in and carries out what the engine returns:
//!
//! - A request: [`Engine::on_request`] either decides at once or returns that the request is pending. For a pending
//!   request, [`Engine::carry_out`] applies the decision once it is ready. Later the shell calls
//!   [`Engine::on_response`] or [`Engine::on_gone`], and then [`Engine::charge`] if that call returned charges.
//! - A caller that leaves while its request is pending: [`Engine::on_left`].
//! - The transport: [`Engine::on_transport`].
//! - The timer: [`Engine::on_timeout`].
//!
//! After each of these the shell calls [`Engine::poll_ready`], [`Engine::poll_event`] and [`Engine::poll_timeout`].
//!
//! Time is an argument, the random number generator is passed in at the start, and nothing here waits. While a method
//! runs, the shell must not call into the engine again: it queues the events that the host reports in the meantime.
//!
//! Layout: `plan` finds the counters of a request, `counting` sends the calls and handles their replies, `leasing`
//! takes permits in advance, `deciding` makes decisions, `answer` and `filter_state` apply them to the request,
//! `response` is the response phase, `pending` holds the pending requests.

mod answer;
mod call;
mod counting;
mod deciding;
mod event;
mod exchange;
mod fallback;
mod filter_state;
mod leasing;
mod local;
mod pending;
mod plan;
mod response;
mod sizes;
#[cfg(test)]
mod tests;

pub use answer::{Admitted, Answer};
pub use call::{CallId, Now, RequestId};
pub use event::{Endpoint, Event, LogLine, OTHER_ENDPOINT};
pub use exchange::{Edits, Exchange, Response};
pub use fallback::Fallback;
pub use plan::{plan, Planned};
pub use response::ResponseCharges;
pub use sizes::Sizes;

use crate::earliest::earliest;
use crate::headers::Family;
use crate::identify::{Hasher, Identity};
use crate::lease::LeaseBook;
use crate::limit::Planner;
use crate::local::SharedData;
use crate::model::Policy;
use crate::protocol::Protocol;
use crate::redis::{Completed, Gauges, RedisCall};
use crate::stall::Stall;
use crate::telemetry::denials::Denials;
use crate::telemetry::{notice_text, FailureLog};
use crate::verdict_cache::VerdictCache;
use counting::RetryCall;
use event::Events;
use local::Local;
use pending::{Caller, Decided, PendingRequests};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The shortest timeout that [`Engine::poll_timeout`] asks for.
pub const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);

/// The state of a request after [`Engine::on_request`].
#[derive(Debug)]
pub enum RequestStatus {
    /// It is decided: the shell applies the answer at once.
    Decided(Answer),
    /// The request waits until [`Engine::poll_ready`] returns this id or [`Engine::on_left`] is called with it. The
    /// shell keeps the [`Fallback`] outside of the engine.
    Pending(RequestId, Fallback),
}

/// A request whose decision is to be applied by [`Engine::carry_out`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The id under which the request waits.
    pub id: RequestId,
    /// The number that was passed to [`Engine::on_request`].
    pub caller: u64,
}

/// The engine of one worker under one configuration. `T` is the transport to Redis; `S` is the data that all workers of
/// an Envoy share.
pub struct Engine<T, S> {
    policy: Rc<Policy>,
    planner: Planner,
    transport: T,
    shared: S,
    local: Local<S>,
    requests: PendingRequests,
    verdicts: VerdictCache,
    leases: LeaseBook,
    next_lease: u64,
    retries: VecDeque<RetryCall>,
    stall: Stall,
    /// The time of the timer that this engine has asked the shell to set.
    asked: Option<Instant>,
    /// When Redis's clock is read next.
    clock_due: Option<Instant>,
    failures: FailureLog,
    denials: Denials,
    events: Events,
    random: fastrand::Rng,
    /// Reused to save an allocation; empty between two events.
    completed: Vec<Completed<CallId>>,
}

impl<T: RedisCall<CallId>, S: SharedData + Clone> Engine<T, S> {
    /// `hasher` hashes secrets and has the same key on all Envoys; `random` is seeded by the shell.
    pub fn new(
        policy: Rc<Policy>,
        hasher: Hasher,
        transport: T,
        shared: S,
        mut random: fastrand::Rng,
    ) -> Engine<T, S> {
        let seed = [random.u64(..), random.u64(..)];
        let names = policy.limits.iter().map(|limit| limit.name.as_str());
        Engine {
            planner: Planner::new(&policy, hasher),
            transport,
            local: Local::new(&policy, shared.clone(), seed),
            shared,
            requests: PendingRequests::default(),
            verdicts: VerdictCache::new(&policy.verdict_cache),
            leases: LeaseBook::new(&policy),
            next_lease: 0,
            retries: VecDeque::new(),
            stall: Stall::default(),
            asked: None,
            clock_due: None,
            failures: FailureLog::default(),
            denials: Denials::new(&policy.instance, policy.log.denials_per_second, names),
            events: Events::new(policy.metrics.enabled),
            random,
            completed: Vec::new(),
            policy,
        }
    }

    /// Handles the headers of a request. `caller` is the number that the shell uses for the request;
    /// [`Engine::poll_ready`] returns it. Quota headers that the caller sent are always removed, because only the
    /// filter may set them.
    pub fn on_request(&mut self, now: Now, caller: u64, request: &mut dyn Exchange) -> RequestStatus {
        let identity = self.planner.identify(request);
        self.on_identified(now, caller, &identity, request)
    }

    /// Like [`Engine::on_request`], for a client that is identified already. The replay of an access log uses it,
    /// because the log has only the hashes of clients.
    pub fn on_identified(
        &mut self,
        now: Now,
        caller: u64,
        identity: &Identity,
        request: &mut dyn Exchange,
    ) -> RequestStatus {
        let earlier = filter_state::decided_earlier(request);
        if !earlier {
            remove_own(request);
        }
        let protocol = Protocol::of(request);
        let planned = plan(&self.policy, &self.planner, request, identity);
        if planned.broken_costs > 0 {
            self.events.note(Event::BrokenCosts(planned.broken_costs));
        }
        let caller = Caller {
            number: caller,
            protocol,
            earlier,
            client: identity.client().map(ToString::to_string),
        };
        match planned.next {
            Ok(groups) => self.count(now, caller, groups, request),
            Err(decision) => {
                let decided = Decided {
                    caller,
                    groups: Vec::new(),
                    decision,
                    redis_us: None,
                };
                RequestStatus::Decided(self.answer(now, decided, request))
            }
        }
    }

    /// Handles an event of the transport. `event` is a closure that passes the event to the transport; the transport
    /// appends the calls that have ended to the list.
    pub fn on_transport(
        &mut self,
        now: Now,
        event: impl FnOnce(&mut T, Instant, &mut Vec<Completed<CallId>>),
    ) {
        event(&mut self.transport, now.monotonic, &mut self.completed);
        self.settle(now);
        self.take_notices();
    }

    /// Call it when the time of [`Engine::poll_timeout`] has come. Calling it too early is harmless.
    pub fn on_timeout(&mut self, now: Now) {
        let at = now.monotonic;
        self.stall.ticked(self.asked.take(), at);
        self.transport.on_tick(at, &mut self.completed);
        self.settle(now);
        self.send_due(now);
        if let Some(cutoff) = self.stall.cutoff(at, self.policy.redis.timeout) {
            self.time_out(now, cutoff);
        }
        self.sweep_leases(at);
        self.take_notices();
    }

    /// When to call [`Engine::on_timeout`]; `None`: not before the next event. It may change with each event.
    pub fn poll_timeout(&mut self, now: Now) -> Option<Instant> {
        let now = now.monotonic;
        let deadline = self.requests.next_deadline();
        let next = [
            self.requests.has_ready().then_some(now),
            deadline.map(|deadline| self.stall.look_at(now, deadline)),
            self.transport.wakeup(),
            self.leases.due(),
            self.next_retry(),
        ];
        let Some(at) = earliest(&next) else {
            return self.asked;
        };
        // The time of an overdue timer is not changed: otherwise a stall would not be detected if another event came
        // before the tick.
        if self.asked.is_none_or(|asked| at < asked && now < asked) {
            self.asked = Some(at.max(now + SHORTEST_TIMEOUT));
        }
        self.asked
    }

    /// The next request whose decision is to be applied, in the order of the decisions.
    pub fn poll_ready(&mut self) -> Option<Ready> {
        let (id, caller) = self.requests.next_ready()?;
        Some(Ready { id, caller })
    }

    /// The next event for operators.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.take()
    }

    /// The caller has left while its request was pending, or before its decision was applied.
    pub fn on_left(&mut self, id: RequestId) {
        if self.requests.leave(id) {
            self.events.note(Event::Abandoned);
        }
    }

    /// The gauges of the transport: open streams, calls in flight and open circuit breakers.
    pub fn gauges(&self) -> Gauges {
        self.transport.gauges()
    }

    /// The number of pending requests.
    pub fn pending_requests(&self) -> usize {
        self.requests.len()
    }

    /// The number of calls in flight, including those whose callers have left.
    pub fn calls_in_flight(&self) -> usize {
        self.transport.in_flight()
    }

    /// The transport to Redis.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// The transport to Redis, for its gauges and for tests.
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    fn take_notices(&mut self) {
        while let Some(notice) = self.transport.poll_notice() {
            let text = format!("headgate: {}", notice_text(&notice));
            match notice.is_once() {
                true => self.events.line_once(notice.level(), text),
                false => self.events.line(notice.level(), text),
            }
        }
    }
}

/// Removes quota headers from the request, because only the filter may set them. Only the first instance in the chain
/// removes them: later instances read the headers that it has set.
fn remove_own(request: &mut dyn Exchange) {
    let mut names = Vec::new();
    request.each_header(&mut |name, _| {
        if Family::of(name).is_some() {
            names.extend(std::str::from_utf8(name).map(str::to_owned));
        }
    });
    for name in &names {
        request.remove_header(name);
    }
}
