//! Leases on the road to Redis: answers requests from permits in hand, and takes the next ones in the background.

use super::worker::Worker;
use crate::decision::{Counted, CountedBy, Decision};
use crate::limit::Group;
use crate::redis::resp::Value;
use crate::redis::CallError;
use crate::waiting::CallToken;
use crate::script::Mode;
use crate::waiting::GroupError;
use std::time::Instant;

impl Worker {
    /// A pass from permits in hand: they were counted when they were taken.
    pub(super) fn leased(&self, now: Instant, groups: &[Group]) -> Option<Decision> {
        let verdicts = self.leases.borrow_mut().spend(now, groups)?;
        let charges = groups.iter().flat_map(|group| &group.charges);
        let counted = charges.zip(&verdicts).map(|(charge, verdict)| Counted {
            charge,
            verdict: Some(*verdict),
            by: CountedBy::Lease,
        });
        self.seen.counted(&self.policy.limits, counted.clone());
        let decision = Decision::from_counted(&self.policy.limits, counted);
        self.take_leases(now, groups);
        Some(decision)
    }

    /// A request is about to ask Redis: its counters may be busy.
    pub(super) fn note_for_leases(&self, now: Instant, groups: &[Group]) {
        self.leases.borrow_mut().note(now, groups);
        self.take_leases(now, groups);
    }

    /// Sends what is to be taken for the counters of this request; nobody waits for it.
    fn take_leases(&self, now: Instant, groups: &[Group]) {
        let takings = self.leases.borrow_mut().takings(now, groups);
        if takings.is_empty() {
            return;
        }
        for taking in takings {
            let (token, sent) = self.send_unawaited(now, &taking.group, Mode::Lease);
            let mut leases = self.leases.borrow_mut();
            match sent {
                Ok(()) => leases.sent(now, token.request, taking),
                Err(error) => {
                    leases.unsent(now, &taking);
                    self.seen.unsent(&[Some(Err(GroupError::Call(error)))]);
                }
            }
        }
        self.wake(now);
    }

    pub(super) fn settle_lease(&self, now: Instant, token: CallToken, reply: Result<Value, CallError>) {
        let mut leases = self.leases.borrow_mut();
        if let Some(result) = leases.settle(now, token.request, reply) {
            self.seen.unsent(&[Some(result)]);
        }
        self.seen.leased(now, leases.events());
    }

    pub(super) fn sweep_leases(&self, now: Instant) {
        let mut leases = self.leases.borrow_mut();
        leases.sweep(now);
        self.seen.leased(now, leases.events());
    }
}
