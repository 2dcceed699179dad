//! The calls of a request. They are sent at the same time, retried if Redis asks for it, and end with a reply or a
//! timeout.

use super::answer::Answer;
use super::event::Event;
use super::pending::{Caller, Decided, WaitingRequest};
use super::{CallId, Engine, Exchange, Fallback, Now, RequestId, RequestStatus};
use crate::decision::{Decision, Outcome};
use crate::limit::Group;
use crate::local::SharedData;
use crate::model::Store;
use crate::redis::resp::Value;
use crate::redis::{Call, CallError, Completed, RedisCall};
use crate::results::{group_result, GroupError, GroupResult};
use crate::script::{self, Mode};
use crate::stall::Blame;
use crate::telemetry::failures::answer_label;
use std::time::{Duration, Instant};

/// The delay of a retry. A call is retried if Envoy has not discovered the Redis nodes yet, or if the call's slot is
/// being moved to another node.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// How often Redis's clock is compared with Envoy's.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// A request's call that will be sent again.
pub(super) struct RetryCall {
    at: Instant,
    id: RequestId,
    part: u16,
    call: Call,
}

impl<T: RedisCall<CallId>, S: SharedData + Clone> Engine<T, S> {
    /// Decides at once from leases and cached denials if possible; otherwise sends the calls of a request.
    pub(super) fn count(
        &mut self,
        now: Now,
        caller: Caller,
        groups: Vec<Group>,
        request: &mut dyn Exchange,
    ) -> RequestStatus {
        let at = now.monotonic;
        if self.policy.store == Store::Local {
            let decision = self.decide_locally(now, &groups);
            return self.decided_at_once(now, caller, groups, decision, request);
        }
        let known = self
            .leased(at, &groups)
            .or_else(|| self.known_denial(at, &groups));
        if let Some(decision) = known {
            return self.decided_at_once(now, caller, groups, decision, request);
        }
        self.note_for_leases(at, &groups);
        let id = self.requests.new_id();
        let mut results: Vec<Option<GroupResult>> = Vec::with_capacity(groups.len());
        for (part, group) in groups.iter().enumerate() {
            let part = part as u16;
            let sent = self.send(at, CallId::Request { id, part }, group, Mode::Count);
            results.push(sent.err().map(|error| Err(GroupError::Call(error))));
        }
        if results.iter().all(Option::is_some) {
            self.note_calls(&results);
            let decision = self.decide(now, &groups, &results);
            return self.decided_at_once(now, caller, groups, decision, request);
        }
        let fallback = Fallback::new(&self.policy, caller.protocol, &groups);
        let waiting = WaitingRequest {
            caller,
            groups,
            results,
            postponed: Vec::new(),
            since: at,
            deadline: at + self.policy.redis.timeout,
        };
        self.requests.insert(id, waiting);
        RequestStatus::Pending(id, fallback)
    }

    fn decided_at_once(
        &mut self,
        now: Now,
        caller: Caller,
        groups: Vec<Group>,
        decision: Decision,
        request: &mut dyn Exchange,
    ) -> RequestStatus {
        let decided = Decided {
            caller,
            groups,
            decision,
            redis_us: None,
        };
        RequestStatus::Decided(self.answer(now, decided, request))
    }

    /// Sends a call for a group.
    pub(super) fn send(
        &mut self,
        now: Instant,
        id: CallId,
        group: &Group,
        mode: Mode<'_>,
    ) -> Result<(), CallError> {
        let deadline = now + self.policy.redis.timeout;
        self.transport.call(now, deadline, id, script::call(group, mode))
    }

    /// Processes the calls that have ended.
    pub(super) fn settle(&mut self, now: Now) {
        let mut completed = std::mem::take(&mut self.completed);
        for done in completed.drain(..) {
            self.settle_one(now, done);
        }
        self.completed = completed;
    }

    fn settle_one(&mut self, now: Now, done: Completed<CallId>) {
        let Completed { id, call, reply } = done;
        let (id, part) = match id {
            CallId::Request { id, part } => (id, part),
            CallId::Lease(lease) => return self.settle_lease(now.monotonic, lease, reply),
            CallId::Unawaited => return,
        };
        if let Err(error @ CallError::TooEarly) = reply {
            self.requests.postpone(id, part, GroupError::Call(error));
            return self.send_later(now.monotonic, id, part, call);
        }
        let between = matches!(&reply, Ok(Value::Error(text)) if text.starts_with(b"TRYAGAIN"));
        if between && self.try_again(now, id, part, call) {
            return;
        }
        let result = self
            .requests
            .group(id, part)
            .map(|group| group_result(group, reply));
        if let Some(result) = result {
            self.answered(now, id, part, result);
        }
    }

    fn answered(&mut self, now: Now, id: RequestId, part: u16, result: GroupResult) {
        if let Some(waiting) = self.requests.answer(id, part, result) {
            self.finish(now, id, waiting);
        }
    }

    fn send_later(&mut self, now: Instant, id: RequestId, part: u16, call: Call) {
        self.retries.push_back(RetryCall {
            at: now + TRY_AGAIN,
            id,
            part,
            call,
        });
    }

    /// Retries a call after TRYAGAIN, which means that its slot is being moved and its keys are not all on one node. In
    /// the second half of the timeout, sends one call for each key instead. `false`: there is no retry, and the reply
    /// is the result.
    fn try_again(&mut self, now: Now, id: RequestId, part: u16, call: Call) -> bool {
        let at = now.monotonic;
        let Some(waiting) = self.requests.get(id) else {
            return true;
        };
        let late = at.duration_since(waiting.since) + TRY_AGAIN > self.policy.redis.timeout / 2;
        if !late {
            self.send_later(at, id, part, call);
            return true;
        }
        let parts = self.requests.split(id, part);
        if parts.is_empty() {
            return false;
        }
        self.events.note(Event::SplitCall);
        for part in parts {
            let group = self.requests.group(id, part);
            if let Some(call) = group.map(|group| script::call(group, Mode::Count)) {
                self.send_again(now, id, part, call);
            }
        }
        true
    }

    /// Sends the retries that are due.
    pub(super) fn send_due(&mut self, now: Now) {
        while self
            .retries
            .front()
            .is_some_and(|retry| retry.at <= now.monotonic)
        {
            if let Some(RetryCall { id, part, call, .. }) = self.retries.pop_front() {
                self.send_again(now, id, part, call);
            }
        }
    }

    /// When the next retry is due.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.retries.front().map(|retry| retry.at)
    }

    /// Sends a call of a pending request again, if its deadline has not passed.
    fn send_again(&mut self, now: Now, id: RequestId, part: u16, call: Call) {
        let Some(deadline) = self.requests.get(id).map(|waiting| waiting.deadline) else {
            return;
        };
        // A reply would come too late, and the call might be charged.
        if deadline <= now.monotonic {
            return;
        }
        let sent = self
            .transport
            .call(now.monotonic, deadline, CallId::Request { id, part }, call);
        if let Err(error) = sent {
            self.answered(now, id, part, Err(GroupError::Call(error)));
        }
    }

    /// Times out the requests whose deadline is at `cutoff` or before.
    pub(super) fn time_out(&mut self, now: Now, cutoff: Instant) {
        while let Some((id, waiting)) = self.requests.overdue(cutoff) {
            self.blame(now.monotonic, &waiting);
            self.finish(now, id, waiting);
        }
    }

    /// Reports to the transport the shards that did not reply before the deadline.
    fn blame(&mut self, now: Instant, waiting: &WaitingRequest) {
        let (since, timeout) = (waiting.since, self.policy.redis.timeout);
        for (group, result) in waiting.groups.iter().zip(&waiting.results) {
            if !matches!(result, Some(Err(GroupError::TimedOut))) {
                continue;
            }
            match self.stall.blame(now, since, timeout) {
                Blame::Shard => self.transport.timed_out(now, since, group.slot()),
                Blame::ShardIfSilent => self.transport.timed_out_in_stall(now, since, group.slot()),
                Blame::Worker => {}
            }
        }
    }

    /// Decides on a request whose results are complete.
    fn finish(&mut self, now: Now, id: RequestId, waiting: WaitingRequest) {
        let WaitingRequest {
            caller,
            groups,
            results,
            since,
            ..
        } = waiting;
        let micros = now.monotonic.duration_since(since).as_micros() as u64;
        self.events.note(Event::Waited { micros });
        self.note_calls(&results);
        self.note_clock(now, micros, &groups, &results);
        let decision = self.decide(now, &groups, &results);
        if decision.outcome == Outcome::Denied {
            self.remember(since, &groups, &results);
        }
        if decision.refuses() && groups.len() > 1 {
            self.give_back(now.monotonic, &groups, &results);
        }
        let decided = Decided {
            caller,
            groups,
            decision,
            redis_us: Some(micros),
        };
        self.requests.decide(id, decided);
    }

    /// Refunds a refused request in the groups that admitted and charged it, with one call for each group. No request
    /// waits for these calls. If one is lost, too much is counted, never too little.
    fn give_back(&mut self, now: Instant, groups: &[Group], results: &[Option<GroupResult>]) {
        for (group, result) in groups.iter().zip(results) {
            match result {
                Some(Ok(reply)) if reply.took_something(group) => {
                    let _not_repeated = self.send(now, CallId::Unawaited, group, Mode::GiveBack(reply));
                }
                _ => {}
            }
        }
    }

    /// Notes Redis's clock for metrics, now and then. `waited_us`: how long the call took.
    fn note_clock(&mut self, now: Now, waited_us: u64, groups: &[Group], results: &[Option<GroupResult>]) {
        if !self.events.metrics || self.clock_due.is_some_and(|due| now.monotonic < due) {
            return;
        }
        let ours = now.unix_ms().saturating_sub(waited_us / 2_000);
        let clock = groups.iter().zip(results).find_map(|(group, result)| {
            let reply = result.as_ref()?.as_ref().ok()?;
            reply.clock_ms(group, ours)
        });
        if let Some(clock) = clock {
            self.clock_due = Some(now.monotonic + CLOCK_EVERY);
            self.events.note(Event::Clock {
                ahead_ms: clock as i64 - ours as i64,
            });
        }
    }

    /// Notes the outcomes of calls for metrics.
    pub(super) fn note_calls(&mut self, results: &[Option<GroupResult>]) {
        for result in results.iter().flatten() {
            self.note_call(result);
        }
    }

    pub(super) fn note_call(&mut self, result: &GroupResult) {
        let (outcome, answer) = match result {
            Ok(_) => ("ok", None),
            Err(error) => (error.as_str(), answer_label(error)),
        };
        self.events.note(Event::Called { outcome, answer });
    }

    /// Applies the decision to a request that has waited. `None`: the request has no decision (any more).
    pub fn carry_out(&mut self, now: Now, id: RequestId, request: &mut dyn Exchange) -> Option<Answer> {
        let decided = self.requests.take_decided(id)?;
        Some(self.answer(now, decided, request))
    }
}
