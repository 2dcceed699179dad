//! What all requests of one worker share: the policy, the road to Redis, and those that wait for their counts.

use super::host;
use super::local::Local;
use super::release::Ready;
use super::request::Caller;
use super::road::{road, Road};
use super::seen::Seen;
use crate::config::{Policy, Store};
use crate::decision::{CountedBy, Decision};
use crate::drill;
use crate::earliest::earliest;
use crate::identify::Hasher;
use crate::lease::LeaseBook;
use crate::limit::{Group, Planner};
use crate::redis::resp::Value;
use crate::redis::{Call, CallError, Completed, Level, RedisCall, Script};
use crate::script;
use crate::stall::{Blame, Stall};
use crate::telemetry::meter::{Kind, Meter as _};
use crate::telemetry::{notice_line, FailureLog};
use crate::verdict_cache::VerdictCache;
use crate::waiting::{group_result, CallToken, GroupError, GroupResult, Waiting, WaitingRoom};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// No tick is asked for sooner than this.
pub(super) const SHORTEST_TICK: Duration = Duration::from_millis(1);

/// How soon a call is sent again that came before Envoy knows Redis, or between two nodes while its slot moves.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Costs that were no number, or missing in a response; they count as 1.
const BROKEN_COSTS: &str = "headgate_broken_costs_total";

/// Calls that were cut into one a key, because a slot was moving: what they count is right, but not all or nothing.
const SPLIT_CALLS: &str = "headgate_split_calls_total";

/// The shared state of one worker under one configuration.
pub struct Worker {
    pub policy: Policy,
    pub planner: Planner,
    pub(super) redis: RefCell<Road>,
    pub(super) room: RefCell<WaitingRoom<Rc<Caller>>>,
    /// Decisions that are to be carried out, in the order in which they were made.
    pub(super) ready: RefCell<VecDeque<Ready>>,
    pub(super) local: Local,
    pub(super) verdicts: RefCell<VerdictCache>,
    pub(super) leases: RefCell<LeaseBook>,
    /// Calls to be sent again, by when.
    again: RefCell<VecDeque<(Instant, CallToken, Call)>>,
    /// When the host was asked to tick.
    tick: Cell<Option<Instant>>,
    stall: Cell<Stall>,
    pub(super) failures: FailureLog,
    /// The metric of costs that could not be read.
    broken_costs: Option<u32>,
    pub seen: Seen,
    /// The metric of calls that were split.
    split_calls: Option<u32>,
}

/// What became of a request's calls.
pub enum Counting {
    /// The request waits under this number.
    UnderWay { number: u64 },
    /// Not one of them could be sent.
    Decided {
        decision: Box<Decision>,
        groups: Vec<Group>,
    },
}

impl Worker {
    pub fn new(policy: Policy, hasher: Hasher, version: u64) -> Worker {
        let script = drill::ACCEPTED.first().copied().unwrap_or(Script::NONE);
        let road = road(&policy, script);
        Worker {
            seen: Seen::new(&policy, &hasher, version),
            planner: Planner::new(&policy, hasher),
            redis: RefCell::new(road),
            room: RefCell::default(),
            ready: RefCell::default(),
            local: Local::new(&policy),
            verdicts: RefCell::new(VerdictCache::new(&policy.verdict_cache)),
            leases: RefCell::new(LeaseBook::new(&policy)),
            again: RefCell::default(),
            tick: Cell::new(None),
            stall: Cell::default(),
            failures: FailureLog::default(),
            broken_costs: counter(&policy, BROKEN_COSTS),
            split_calls: counter(&policy, SPLIT_CALLS),
            policy,
        }
    }

    /// Sends the calls of a request, all at once.
    pub fn count(&self, caller: Rc<Caller>, groups: Vec<Group>) -> Counting {
        let now = Instant::now();
        if self.policy.store == Store::Local {
            let decision = Box::new(self.decide_locally(now, &groups));
            return Counting::Decided { decision, groups };
        }
        let answered = self.leased(now, &groups);
        if let Some(decision) = answered.or_else(|| self.known_denial(now, &groups)) {
            let decision = Box::new(decision);
            return Counting::Decided { decision, groups };
        }
        self.note_for_leases(now, &groups);
        let deadline = now + self.policy.redis.timeout;
        let request = self.room.borrow_mut().number();
        let mut results: Vec<Option<GroupResult>> = Vec::with_capacity(groups.len());
        for (part, group) in groups.iter().enumerate() {
            let token = CallToken {
                request,
                part: part as u16,
            };
            let call = script::call(group, script::Mode::Count);
            let sent = self.redis.borrow_mut().call(now, deadline, token, call);
            results.push(sent.err().map(|error| Err(GroupError::Call(error))));
        }
        if results.iter().all(Option::is_some) {
            self.seen.unsent(&results);
            let decision = Box::new(self.decide(now, &groups, &results));
            self.wake(now);
            return Counting::Decided { decision, groups };
        }
        self.room.borrow_mut().enter(
            request,
            Waiting {
                caller,
                groups,
                results,
                postponed: Vec::new(),
                since: now,
                deadline,
            },
        );
        self.wake(now);
        Counting::UnderWay { number: request }
    }

    /// The caller has gone away; before its request was decided, if it still waits.
    pub fn leave(&self, request: u64) {
        let waited = self.room.borrow_mut().leave(request);
        if waited {
            self.seen.abandoned();
            self.wake_for_metrics();
        }
    }

    pub fn on_tick(&self) {
        let now = Instant::now();
        let mut stall = self.stall.get();
        stall.ticked(self.tick.take(), now);
        self.stall.set(stall);
        let mut completed = Vec::new();
        self.redis.borrow_mut().on_tick(now, &mut completed);
        self.log_notices();
        self.settle(now, completed);
        self.send_again(now);
        if let Some(cutoff) = stall.cutoff(now, self.policy.redis.timeout) {
            self.time_out(now, cutoff);
            self.log_notices();
        }
        self.release();
        self.sweep_leases(now);
        let redis = &self.redis;
        self.seen.hand_on(now, &self.policy, || redis.borrow().levels());
        self.wake(now);
        if self.tick.get().is_none() {
            host::set_tick_period(0);
        }
    }

    /// Ends the waiting of those whose time ended at `cutoff` or before.
    fn time_out(&self, now: Instant, cutoff: Instant) {
        loop {
            let overdue = self.room.borrow_mut().overdue(cutoff);
            let Some(waiting) = overdue else { return };
            self.note_time_outs(now, &waiting);
            self.finish(now, waiting);
        }
    }

    /// Tells the road to Redis which shards kept a caller waiting for all of its time.
    fn note_time_outs(&self, now: Instant, waiting: &Waiting<Rc<Caller>>) {
        let mut redis = self.redis.borrow_mut();
        for (group, result) in waiting.groups.iter().zip(&waiting.results) {
            if matches!(result, Some(Err(GroupError::TimedOut))) {
                let since = waiting.since;
                match self.stall.get().blame(now, since, self.policy.redis.timeout) {
                    Blame::Shard => redis.timed_out(now, since, group.slot()),
                    Blame::ShardIfSilent => redis.timed_out_in_stall(now, since, group.slot()),
                    Blame::Worker => {}
                }
            }
        }
    }

    /// Something came back on the road to Redis.
    pub(super) fn on_road(&self, event: impl FnOnce(&mut Road, Instant, &mut Vec<Completed<CallToken>>)) {
        let now = Instant::now();
        let mut completed = Vec::new();
        event(&mut self.redis.borrow_mut(), now, &mut completed);
        self.log_notices();
        self.settle(now, completed);
        self.release();
        self.wake(now);
    }

    /// Logs what the transport has noticed.
    fn log_notices(&self) {
        loop {
            let notice = self.redis.borrow_mut().poll_notice();
            let Some(notice) = notice else { return };
            let level = match notice.level() {
                Level::Info => log::Level::Info,
                Level::Warn => log::Level::Warn,
            };
            log::log!(level, "{}", notice_line(&notice));
        }
    }

    fn settle(&self, now: Instant, completed: Vec<Completed<CallToken>>) {
        for Completed { id: token, call, reply } in completed {
            if self.leases.borrow().awaits(token.request) {
                self.settle_lease(now, token, reply);
                continue;
            }
            if let Err(error @ CallError::TooEarly) = reply {
                self.room.borrow_mut().postpone(token, GroupError::Call(error));
                self.again.borrow_mut().push_back((now + TRY_AGAIN, token, call));
                continue;
            }
            let between = matches!(&reply, Ok(Value::Error(text)) if text.starts_with(b"TRYAGAIN"));
            if !(between && self.try_again(now, token, call)) {
                let result = self
                    .room
                    .borrow()
                    .group(token)
                    .map(|group| group_result(group, reply));
                if let Some(result) = result {
                    self.answer(now, token, result);
                }
            }
        }
    }

    fn answer(&self, now: Instant, token: CallToken, result: GroupResult) {
        let finished = self.room.borrow_mut().answer(token, result);
        if let Some(waiting) = finished {
            self.finish(now, waiting);
        }
    }

    /// A slot is moving, and the keys of one call are not all on one node: once more in a moment, and in the second
    /// half of the time one call a key. `false`: it is to be answered as it is.
    fn try_again(&self, now: Instant, token: CallToken, call: Call) -> bool {
        let late = self
            .room
            .borrow()
            .get(token)
            .map(|waiting| now.duration_since(waiting.since) + TRY_AGAIN > self.policy.redis.timeout / 2);
        match late {
            None => true,
            Some(false) => {
                self.again.borrow_mut().push_back((now + TRY_AGAIN, token, call));
                true
            }
            Some(true) => {
                let tokens = self.room.borrow_mut().split(token);
                if let (Some(metric), false) = (self.split_calls, tokens.is_empty()) {
                    host::Metrics.add(metric, 1);
                }
                for token in &tokens {
                    let group = self.room.borrow().group(*token).cloned();
                    if let Some(group) = group {
                        self.send(now, *token, script::call(&group, script::Mode::Count));
                    }
                }
                !tokens.is_empty()
            }
        }
    }

    fn send_again(&self, now: Instant) {
        let due = |(at, ..): &(Instant, CallToken, Call)| *at <= now;
        while self.again.borrow().front().is_some_and(due) {
            let first = self.again.borrow_mut().pop_front();
            if let Some((_, token, call)) = first {
                self.send(now, token, call);
            }
        }
    }

    /// Sends a call of a request that waits already.
    fn send(&self, now: Instant, token: CallToken, call: Call) {
        let Some(deadline) = self.room.borrow().get(token).map(|waiting| waiting.deadline) else {
            return;
        };
        let sent = self.redis.borrow_mut().call(now, deadline, token, call);
        if let Err(error) = sent {
            self.answer(now, token, Err(GroupError::Call(error)));
        }
    }

    /// Sends a call that no request waits for.
    pub(super) fn send_unawaited(
        &self,
        now: Instant,
        group: &Group,
        mode: script::Mode,
    ) -> (CallToken, Result<(), CallError>) {
        let token = CallToken {
            request: self.room.borrow_mut().number(),
            part: 0,
        };
        let call = script::call(group, mode);
        let deadline = now + self.policy.redis.timeout;
        (token, self.redis.borrow_mut().call(now, deadline, token, call))
    }

    /// Returns what a refused request was charged for by groups that had room, by one call each that nobody waits
    /// for: a lost one over-counts and never under-counts.
    pub(super) fn give_back(&self, now: Instant, groups: &[Group], results: &[Option<GroupResult>]) {
        for (group, result) in groups.iter().zip(results) {
            let Some(Ok(reply)) = result else { continue };
            if !reply.admitted {
                continue;
            }
            let _not_repeated = self.send_unawaited(now, group, script::Mode::GiveBack(reply));
        }
    }

    /// Charges what responses said to have cost, by one call a group that nobody waits for and that is not repeated;
    /// `by`: who counted the request.
    pub fn charge(&self, groups: Vec<Group>, by: Option<CountedBy>) {
        let now = Instant::now();
        if by == Some(CountedBy::Local) {
            for group in &groups {
                self.local.charge(&self.policy.limits, group);
            }
        }
        if self.policy.store == Store::Local {
            return;
        }
        for group in &groups {
            let _not_repeated = self.send_unawaited(now, group, script::Mode::Charge);
        }
        if !groups.is_empty() {
            self.wake(now);
        }
    }

    pub fn note_broken_costs(&self, costs: u32) {
        if let (Some(metric), true) = (self.broken_costs, costs > 0) {
            host::Metrics.add(metric, i64::from(costs));
        }
    }

    /// A request that waited for nothing has been counted, and the tick that hands that on may be none yet.
    pub fn wake_for_metrics(&self) {
        let sooner = |due| self.tick.get().is_none_or(|tick| due < tick);
        if self.seen.due().is_some_and(sooner) {
            self.wake(Instant::now());
        }
    }

    /// Asks the host for a tick at the next deadline, or when the streams want one.
    pub(super) fn wake(&self, now: Instant) {
        let again = self.again.borrow().front().map(|(at, ..)| *at);
        let deadline = self.room.borrow().next_deadline();
        let ready = (!self.ready.borrow().is_empty()).then_some(now);
        let next = [
            ready,
            deadline.map(|deadline| self.stall.get().look_at(now, deadline)),
            self.redis.borrow().wakeup(),
            self.seen.due(),
            self.leases.borrow().due(),
            again,
        ];
        let Some(at) = earliest(&next) else {
            return;
        };
        if self.tick.get().is_some_and(|tick| tick <= at) {
            return;
        }
        let wait = at.saturating_duration_since(now).max(SHORTEST_TICK);
        self.tick.set(Some(now + wait));
        // Up to the next whole millisecond: a tick before its deadline would find nothing to do.
        host::set_tick_period(wait.as_micros().div_ceil(1_000) as u32);
    }
}

/// A counter of the worker's own; `None`: metrics are turned off.
fn counter(policy: &Policy, name: &str) -> Option<u32> {
    let on = policy.metrics.enabled;
    on.then(|| host::Metrics.define(Kind::Counter, name)).flatten()
}
