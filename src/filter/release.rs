//! Lets requests go on whose counts are there, or answers them: so many in one call of the VM, the others in the next.
//!
//! The host acts after a call of the VM has returned. A reply then passes the filter's own callbacks, and at the end of
//! those the host already takes up the next action: each stands on the stack of the one before. 306 replies at once (273
//! of a route's own, which answers as soon as a request goes on) found no stack left in Envoy 1.40, and the VM had to go.

use super::host;
use super::outcome;
use super::request::Caller;
use super::worker::{Worker, SHORTEST_TICK};
use crate::decision::{Decision, Outcome};
use crate::limit::Group;
use crate::waiting::Waiting;
use std::rc::Rc;
use std::time::Instant;

/// Actions in one call of the VM. A fifth of the stack; the next call comes within a millisecond.
const AT_ONCE: usize = 64;

/// A decision that is to be carried out.
pub struct Ready {
    caller: Rc<Caller>,
    groups: Vec<Group>,
    decision: Decision,
    /// How long Redis took; `None`: it is not known.
    redis_us: Option<u64>,
}

impl Worker {
    /// Decides on a request whose results are all there.
    pub(super) fn finish(&self, now: Instant, waiting: Waiting<Rc<Caller>>) {
        let redis_us = now.duration_since(waiting.since).as_micros() as u64;
        let Waiting {
            caller,
            groups,
            results,
            since,
            ..
        } = waiting;
        self.seen.waited(redis_us, &results);
        let decision = self.decide(now, &groups, &results);
        if decision.outcome == Outcome::Denied {
            self.remember(since, &groups, &results);
        }
        if decision.refuses() && groups.len() > 1 {
            self.give_back(now, &groups, &results);
        }
        self.ready.borrow_mut().push_back(Ready {
            caller,
            groups,
            decision,
            redis_us: Some(redis_us),
        });
    }

    /// Carries out what was decided, as much of it as may be in one call of the VM.
    pub(super) fn release(&self) {
        let mut actions = 0;
        while actions < AT_ONCE {
            let next = self.ready.borrow_mut().pop_front();
            let Some(ready) = next else { return };
            actions += usize::from(self.carry_out(ready));
        }
    }

    /// `false`: the caller has gone away.
    fn carry_out(&self, ready: Ready) -> bool {
        let caller = &ready.caller;
        if !host::speak_for(caller.context) {
            self.seen.abandoned();
            return false;
        }
        let facts = caller.facts(&self.seen, ready.redis_us);
        let afterwards = outcome::carry_out(&self.policy, &ready.decision, &facts, ready.groups);
        *caller.afterwards.borrow_mut() = afterwards;
        if !ready.decision.refuses() {
            host::resume_request();
        }
        true
    }

    /// Answers everybody who waits, by the failure policy. For a VM that dies: it gets no calls any more, and so there
    /// is no bound to how many.
    pub fn give_up_all(&self) {
        while let Some(ready) = self
            .ready
            .try_borrow_mut()
            .ok()
            .and_then(|mut all| all.pop_front())
        {
            self.carry_out(ready);
        }
        let now = Instant::now();
        let end = now + self.policy.redis.timeout + SHORTEST_TICK;
        while let Some(waiting) = self
            .room
            .try_borrow_mut()
            .ok()
            .and_then(|mut room| room.overdue(end))
        {
            let decision = self.decide(now, &waiting.groups, &waiting.results);
            self.carry_out(Ready {
                caller: waiting.caller,
                groups: waiting.groups,
                decision,
                redis_us: None,
            });
        }
    }
}
