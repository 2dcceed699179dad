//! One shard: the stream for its calls, and its health, which decides whether calls are sent.

use super::slot_map::{ShardName, SlotMap};
use super::stream::Stream;
use super::{Link, STUCK};
use crate::health::Health;
use crate::pending::{self, Finished, Purpose};
use crate::{Call, CallError, Completed, HashSlot, Notice};
use fastrand::Rng;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many keys are tried at most to find one that belongs to the shard.
const PROBE_TRIES: u32 = 100_000;

pub(super) struct Shard<Id> {
    pub name: ShardName,
    pub stream: Stream<Id>,
    health: Health,
    /// When the shard was created. Calls that were made earlier belonged to another shard.
    created: Instant,
    /// It is no longer in the slot map; its stream ends after its last reply.
    pub retired: bool,
}

impl<Id> Shard<Id> {
    pub fn new(now: Instant, name: ShardName, rng: &mut Rng, stream_life: Duration) -> Self {
        Shard {
            name,
            stream: Stream::new(rng.fork(), stream_life),
            health: Health::new(rng.fork()),
            created: now,
            retired: false,
        }
    }

    pub fn is_open(&self) -> bool {
        self.health.is_open()
    }

    pub fn call(
        &mut self,
        now: Instant,
        deadline: Instant,
        id: Id,
        call: Call,
        link: &mut Link,
    ) -> Result<(), CallError> {
        if self.health.is_open() {
            return Err(CallError::BreakerOpen);
        }
        self.stream.call(now, deadline, Purpose::Call(id), call, link)
    }

    /// A call sent at `since` got no reply within its timeout.
    pub fn timed_out(&mut self, now: Instant, since: Instant) {
        if since >= self.created {
            self.health.timed_out(now, since, &self.name.shown);
        }
    }

    /// Like [`Shard::timed_out`], for a call that was in flight while the worker itself was blocked.
    pub fn timed_out_in_stall(&mut self, now: Instant, since: Instant, timeout: Duration) {
        if since >= self.created {
            self.health
                .timed_out_in_stall(now, since, timeout, &self.name.shown);
        }
    }

    /// Sends a probe if one is due, on a key that belongs to this shard.
    pub fn probe(
        &mut self,
        now: Instant,
        timeout: Duration,
        index: usize,
        slot_map: &SlotMap,
        prefix: &str,
        link: &mut Link,
    ) {
        if !self.health.probe(now, timeout) {
            return;
        }
        let key = (0..PROBE_TRIES)
            .map(|n| format!("{prefix}:probe:{n}"))
            .find(|key| slot_map.shard(HashSlot::of(key.as_bytes())) == index);
        let sent = key.is_some_and(|key| {
            let call = pending::probe(&key);
            self.stream
                .call(now, now + timeout, Purpose::Probe, call, link)
                .is_ok()
        });
        if !sent {
            self.health.no_probe(now);
        }
    }

    /// Whether slots or masters may have changed since the last call of this function.
    pub fn take_hint(&mut self) -> bool {
        self.health.take_hint()
    }

    /// Notices that have not been taken yet, oldest first.
    pub fn notices(&mut self) -> &mut VecDeque<Notice> {
        self.health.notices()
    }

    /// When the next tick is needed. A retired shard needs a tick at once after its last reply: this tick ends its
    /// stream.
    pub fn wakeup(&self, timeout: Duration) -> Option<Instant> {
        let stream = self.stream.wakeup(timeout + STUCK);
        match self.retired {
            true => stream.or(Some(self.created)),
            false => [stream, self.health.wakeup(timeout)].into_iter().flatten().min(),
        }
    }

    /// Calls and probes on the stream have ended.
    pub fn ended(&mut self, now: Instant, finished: &mut Finished<Id>, completed: &mut Vec<Completed<Id>>) {
        self.health.ended(now, finished, &self.name.shown, completed);
    }
}
