//! The transport on stock Envoy: gRPC streams to an internal listener in front of `redis_proxy`.
//!
//! Each shard of the cluster has its own stream and its own circuit breaker, so a stuck shard delays and fails only the
//! calls of its own slots. This file selects the shard of a call, and decides when streams are opened and when they end.
//! [`stream`] keeps the order of the calls on one stream, [`slot_map`] maps slots to shards, and [`discovery`] asks Redis
//! for the map. The host is a trait, so that everything is tested natively.

mod discovery;
mod shard;
mod slot_map;
mod stream;

use super::pending::{is_refusal, Finished, Pending};
use crate::startup::Startup;
use crate::{Call, CallError, Completed, Gauges, HashSlot, Notice, RedisCall, Script, Settings};
use discovery::Discovery;
use fastrand::Rng;
use shard::Shard;
use slot_map::{SlotMap, SlotMapError};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The number of ranges of slots that are used until the slot map is known, so that the first calls need not wait for
/// the map.
const RANGES_AT_START: u16 = 8;

/// The number of ranges of slots that are used if `CLUSTER SLOTS` is not answered (Envoy 1.36). With three shards, 2 of
/// 128 ranges contain slots of two shards.
const RANGES_WITHOUT_MAP: u16 = 128;

/// A stream is stuck if its oldest call has had no reply for the timeout and this time.
const STUCK: Duration = Duration::from_secs(2);

/// The shortest time between two warnings that the guard refuses calls.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// The host functions of the proxy that the transport needs.
pub trait StreamHost {
    /// Opens a stream; `None`: it cannot be opened now.
    fn open(&self) -> Option<StreamId>;
    /// Sends one message; `false`: the stream has ended.
    fn send(&self, stream: StreamId, message: &[u8]) -> bool;
    /// Ends a stream. The host must report no more events for it.
    fn cancel(&self, stream: StreamId);
}

/// The host's number of an open stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub u32);

/// All streams of one worker.
pub struct Streams<H, Id> {
    host: H,
    settings: Settings,
    rng: Rng,
    slot_map: SlotMap,
    /// In the order of `slot_map.shards`.
    shards: Vec<Shard<Id>>,
    /// Shards that are no longer in the slot map. Their streams end after the last reply.
    retired: Vec<Shard<Id>>,
    discovery: Discovery,
    startup: Startup,
    in_flight: usize,
    wakeup: Option<Instant>,
    scratch: Vec<u8>,
    finished: Finished<Id>,
    notices: VecDeque<Notice>,
    /// When the last [`Notice::GuardRefuses`] was queued.
    warned: Option<Instant>,
}

impl<H: StreamHost, Id> Streams<H, Id> {
    /// Does not open a stream: the first tick after a call opens one.
    pub fn new(now: Instant, mut rng: Rng, host: H, settings: Settings) -> Self {
        let mut streams = Streams {
            host,
            settings,
            slot_map: SlotMap::fixed(RANGES_AT_START),
            shards: Vec::new(),
            retired: Vec::new(),
            discovery: Discovery::new(rng.fork()),
            rng,
            startup: Startup::default(),
            in_flight: 0,
            wakeup: None,
            scratch: Vec::new(),
            finished: Finished::new(),
            notices: VecDeque::new(),
            warned: None,
        };
        streams.assign_shards(now);
        streams
    }

    /// Handles a message on the stream `id`: one or more replies, or a part of one. Appends the calls that have ended to
    /// `completed`.
    pub fn on_message(
        &mut self,
        now: Instant,
        id: StreamId,
        message: &[u8],
        completed: &mut Vec<Completed<Id>>,
    ) {
        if self.discovery.stream() == Some(id) {
            let answer = self.discovery.on_message(now, message, &self.host);
            self.apply_answer(now, answer);
            return self.plan_ticks();
        }
        self.on_shard(now, id, completed, |shard, link, finished| {
            shard.stream.on_message(now, message, link, finished);
        });
    }

    /// Handles the end of the stream `id`; `status` is the gRPC status that the host reports. Its calls are lost, and are
    /// appended to `completed`.
    pub fn on_close(&mut self, now: Instant, id: StreamId, status: u32, completed: &mut Vec<Completed<Id>>) {
        if self.discovery.stream() == Some(id) {
            self.discovery.on_close(now);
            return self.plan_ticks();
        }
        self.on_shard(now, id, completed, |shard, _, finished| {
            shard.stream.on_close(now, status, finished)
        });
    }

    /// Handles an event on the stream of a current or a retired shard.
    fn on_shard(
        &mut self,
        now: Instant,
        id: StreamId,
        completed: &mut Vec<Completed<Id>>,
        event: impl FnOnce(&mut Shard<Id>, &mut Link, &mut Finished<Id>),
    ) {
        let mut all = self.shards.iter_mut().chain(&mut self.retired);
        let Some(shard) = all.find(|shard| shard.stream.id() == Some(id)) else {
            return;
        };
        let mut link = Link {
            host: &self.host,
            script: &self.settings.script,
            scratch: &mut self.scratch,
        };
        let before = completed.len();
        event(shard, &mut link, &mut self.finished);
        for (_, reply) in &mut self.finished {
            if reply
                .as_ref()
                .is_ok_and(|reply| self.startup.is_early(now, reply))
            {
                *reply = Err(CallError::TooEarly);
            }
        }
        shard.ended(now, &mut self.finished, completed);
        self.in_flight = self.in_flight.saturating_sub(completed.len() - before);
        self.notices.append(shard.notices());
        let (hint, wakeup) = (shard.take_hint(), shard.wakeup(self.settings.timeout));
        self.wake(now, hint, wakeup);
        self.warn_of_refusals(now, completed.get(before..).unwrap_or_default());
    }

    /// Queues a notice if the guard refused a call until the deadline of the call.
    fn warn_of_refusals(&mut self, now: Instant, completed: &[Completed<Id>]) {
        let is_refused = |done: &Completed<Id>| done.reply.as_ref().is_ok_and(is_refusal);
        let is_due = self.warned.is_none_or(|at| at + BETWEEN_WARNINGS <= now);
        if is_due && completed.iter().any(is_refused) {
            self.warned = Some(now);
            self.notices.push_back(Notice::GuardRefuses);
        }
    }

    /// Plans the next tick after an event that concerns one shard.
    fn wake(&mut self, now: Instant, hint: bool, wakeup: Option<Instant>) {
        if hint {
            self.discovery.hint(now);
        }
        let wakeups = [wakeup, self.discovery.wakeup(), self.wakeup];
        self.wakeup = wakeups.into_iter().flatten().min();
    }

    /// Number of shards; of ranges of slots if the shards are not known.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Number of shards whose circuit breaker is open.
    pub fn breakers_open(&self) -> usize {
        self.shards.iter().filter(|shard| shard.is_open()).count()
    }

    /// Number of open streams for calls, including those that end after their last reply.
    pub fn open(&self) -> usize {
        let all = self.shards.iter().chain(&self.retired);
        all.filter(|shard| shard.stream.id().is_some()).count()
    }

    fn apply_answer(&mut self, now: Instant, answer: Option<Result<SlotMap, SlotMapError>>) {
        let slot_map = match answer {
            Some(Ok(slot_map)) => slot_map,
            Some(Err(SlotMapError::Unsupported)) => SlotMap::fixed(RANGES_WITHOUT_MAP),
            Some(Err(SlotMapError::NotNow)) | None => return,
        };
        if slot_map != self.slot_map {
            self.slot_map = slot_map;
            self.assign_shards(now);
        }
    }

    /// Creates the shards of the slot map. Shards that already exist keep their streams. Shards that are no longer in
    /// the map are retired.
    fn assign_shards(&mut self, now: Instant) {
        let mut old = std::mem::take(&mut self.shards);
        for name in &self.slot_map.shards {
            let known = old.iter().position(|shard| shard.name == *name);
            self.shards.push(match known {
                Some(at) => old.swap_remove(at),
                None => Shard::new(now, name.clone(), &mut self.rng, self.settings.stream_life),
            });
        }
        for shard in &mut old {
            shard.retired = true;
        }
        self.retired.append(&mut old);
    }

    /// Plans the next tick after an event that concerns all shards.
    fn plan_ticks(&mut self) {
        let all = self.shards.iter().chain(&self.retired);
        let shards = all.filter_map(|shard| shard.wakeup(self.settings.timeout));
        self.wakeup = shards.chain(self.discovery.wakeup()).min();
    }
}

impl<H: StreamHost, Id> RedisCall<Id> for Streams<H, Id> {
    fn call(&mut self, now: Instant, deadline: Instant, id: Id, call: Call) -> Result<(), CallError> {
        if self.in_flight >= self.settings.max_in_flight {
            return Err(CallError::TooManyInFlight);
        }
        self.discovery.in_use(now);
        let at = self.slot_map.shard(call.slot());
        let shard = self.shards.get_mut(at).ok_or(CallError::Unavailable)?;
        let mut link = Link {
            host: &self.host,
            script: &self.settings.script,
            scratch: &mut self.scratch,
        };
        shard.call(now, deadline, id, call, &mut link)?;
        self.in_flight += 1;
        let wakeup = shard.wakeup(self.settings.timeout);
        self.wake(now, false, wakeup);
        Ok(())
    }

    fn timed_out(&mut self, now: Instant, since: Instant, slot: HashSlot) {
        if let Some(shard) = self.shards.get_mut(self.slot_map.shard(slot)) {
            shard.timed_out(now, since);
            self.notices.append(shard.notices());
            let (hint, wakeup) = (shard.take_hint(), shard.wakeup(self.settings.timeout));
            self.wake(now, hint, wakeup);
        }
    }

    fn timed_out_in_stall(&mut self, now: Instant, since: Instant, slot: HashSlot) {
        let timeout = self.settings.timeout;
        if let Some(shard) = self.shards.get_mut(self.slot_map.shard(slot)) {
            shard.timed_out_in_stall(now, since, timeout);
            self.notices.append(shard.notices());
            let (hint, wakeup) = (shard.take_hint(), shard.wakeup(self.settings.timeout));
            self.wake(now, hint, wakeup);
        }
    }

    fn wakeup(&self) -> Option<Instant> {
        self.wakeup
    }

    fn on_tick(&mut self, now: Instant, completed: &mut Vec<Completed<Id>>) {
        if self.wakeup.is_none_or(|at| at > now) {
            return;
        }
        let before = completed.len();
        let stuck_after = self.settings.timeout + STUCK;
        let mut link = Link {
            host: &self.host,
            script: &self.settings.script,
            scratch: &mut self.scratch,
        };
        for (index, shard) in self.shards.iter_mut().enumerate() {
            shard.probe(
                now,
                self.settings.timeout,
                index,
                &self.slot_map,
                &self.settings.key_prefix,
                &mut link,
            );
            shard
                .stream
                .on_tick(now, stuck_after, &mut link, &mut self.finished);
            shard.ended(now, &mut self.finished, completed);
            self.notices.append(shard.notices());
        }
        self.retired.retain_mut(|shard| {
            shard
                .stream
                .on_tick(now, stuck_after, &mut link, &mut self.finished);
            shard.ended(now, &mut self.finished, completed);
            self.notices.append(shard.notices());
            let idle = shard.stream.is_idle();
            if idle {
                shard.stream.end(&mut link);
            }
            !idle
        });
        self.in_flight = self.in_flight.saturating_sub(completed.len() - before);
        if self
            .shards
            .iter_mut()
            .fold(false, |hint, shard| shard.take_hint() | hint)
        {
            self.discovery.hint(now);
        }
        self.discovery.on_tick(now, &self.host);
        self.plan_ticks();
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn gauges(&self) -> Gauges {
        Gauges {
            streams_open: self.open(),
            calls_in_flight: self.in_flight,
            breakers_open: self.breakers_open(),
        }
    }

    fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }
}

/// The parts of the transport that a stream needs to send.
struct Link<'a> {
    host: &'a dyn StreamHost,
    script: &'a Script,
    scratch: &'a mut Vec<u8>,
}

impl Link<'_> {
    /// Sends one call as one message; `false`: the stream has ended.
    fn send<Id>(&mut self, stream: StreamId, pending: &Pending<Id>) -> bool {
        self.scratch.clear();
        pending.encode(self.script, self.scratch);
        self.host.send(stream, self.scratch)
    }
}

#[cfg(test)]
mod tests;
