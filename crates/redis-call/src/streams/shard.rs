//! One shard: the stream on which its calls go, and its health, which says whether they are worth sending.

use super::slot_map::{ShardName, SlotMap};
use super::stream::Stream;
use super::{Link, STUCK};
use crate::health::Health;
use crate::pending::{self, Finished, Purpose};
use crate::{Call, CallError, Completed, HashSlot, Notice};
use fastrand::Rng;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many keys are tried at most to find one of the shard's.
const PROBE_TRIES: u32 = 100_000;

pub(super) struct Shard<Id> {
    pub name: ShardName,
    pub stream: Stream<Id>,
    health: Health,
    /// Calls from before are none of its own.
    born: Instant,
    /// It is no more; its stream finished after its last reply.
    pub retired: bool,
}

impl<Id> Shard<Id> {
    pub fn new(now: Instant, name: ShardName, rng: &mut Rng, stream_life: Duration) -> Self {
        Shard {
            name,
            stream: Stream::new(rng.fork(), stream_life),
            health: Health::new(rng.fork()),
            born: now,
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

    /// A call sent at `since` got no reply in its time.
    pub fn timed_out(&mut self, now: Instant, since: Instant) {
        if since >= self.born {
            self.health.timed_out(now, since, &self.name.shown);
        }
    }

    /// The same for one that was under way while the worker itself stood still.
    pub fn timed_out_in_stall(&mut self, now: Instant, since: Instant, timeout: Duration) {
        if since >= self.born {
            self.health
                .timed_out_in_stall(now, since, timeout, &self.name.shown);
        }
    }

    /// Sends a probe where one is due, on a key of this shard's own.
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

    /// Whether something hinted at slots or masters that have changed, since this was last asked.
    pub fn take_hint(&mut self) -> bool {
        self.health.take_hint()
    }

    /// What operators should know, oldest first.
    pub fn notices(&mut self) -> &mut VecDeque<Notice> {
        self.health.notices()
    }

    /// When a tick is wanted. A retired shard asks for one at once when its last reply has come, so as to end.
    pub fn wakeup(&self, timeout: Duration) -> Option<Instant> {
        let stream = self.stream.wakeup(timeout + STUCK);
        match self.retired {
            true => stream.or(Some(self.born)),
            false => [stream, self.health.wakeup(timeout)].into_iter().flatten().min(),
        }
    }

    /// What was under way on the stream has come to an end.
    pub fn ended(&mut self, now: Instant, finished: &mut Finished<Id>, completed: &mut Vec<Completed<Id>>) {
        self.health.ended(now, finished, &self.name.shown, completed);
    }
}
