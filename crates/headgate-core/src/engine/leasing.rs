//! Leases: answers requests from permits that were taken in advance, and takes the next ones in the background.

use super::deciding::note_counted;
use super::event::Event;
use super::{CallId, Engine};
use crate::decision::{CountedBy, CounterResult, Decision};
use crate::limit::Group;
use crate::local::SharedData;
use crate::redis::resp::Value;
use crate::redis::{CallError, RedisCall};
use crate::results::GroupError;
use crate::script::Mode;
use std::time::Instant;

impl<T: RedisCall<CallId>, S: SharedData + Clone> Engine<T, S> {
    /// Admits a request with permits that are left. They were counted when they were taken.
    pub(super) fn leased(&mut self, now: Instant, groups: &[Group]) -> Option<Decision> {
        let verdicts = self.leases.spend(now, groups)?;
        let charges = groups.iter().flat_map(|group| &group.charges);
        let counted = charges.zip(&verdicts).map(|(charge, verdict)| CounterResult {
            charge,
            verdict: Some(*verdict),
            by: CountedBy::Lease,
        });
        note_counted(&mut self.events, counted.clone());
        let decision = Decision::from_counted(&self.policy.limits, counted);
        self.take_leases(now, groups);
        Some(decision)
    }

    /// Records a request whose call is about to be sent to Redis, to find counters that are busy.
    pub(super) fn note_for_leases(&mut self, now: Instant, groups: &[Group]) {
        self.leases.note(now, groups);
        self.take_leases(now, groups);
    }

    /// Sends the lease requests for the counters of this request. No request waits for them.
    fn take_leases(&mut self, now: Instant, groups: &[Group]) {
        for lease in self.leases.lease_requests(now, groups) {
            self.next_lease += 1;
            let id = self.next_lease;
            match self.send(now, CallId::Lease(id), &lease.group, Mode::Lease) {
                Ok(()) => self.leases.sent(now, id, lease),
                Err(error) => {
                    self.leases.unsent(now, &lease);
                    self.note_call(&Err(GroupError::Call(error)));
                }
            }
        }
    }

    pub(super) fn settle_lease(&mut self, now: Instant, id: u64, reply: Result<Value, CallError>) {
        if let Some(result) = self.leases.settle(now, id, reply) {
            self.note_call(&result);
        }
        self.note_leases();
    }

    /// Drops leases that are no longer in use.
    pub(super) fn sweep_leases(&mut self, now: Instant) {
        self.leases.sweep(now);
        self.note_leases();
    }

    fn note_leases(&mut self) {
        for event in self.leases.events() {
            self.events.note(Event::Lease(event));
        }
    }
}
