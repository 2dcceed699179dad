//! The road on stock Envoy: gRPC streams to an internal listener in front of `redis_proxy`.
//!
//! Each shard of the cluster has a stream and a breaker of its own, so that a stuck one delays and fails only the
//! calls of its own slots. This file decides which shard a call belongs to, when streams are opened and when they
//! end; [`stream`] keeps one stream's order, [`borders`] knows whose a slot is, and [`discovery`] asks. The host is
//! a trait, so that all of it is tested natively.

mod borders;
mod discovery;
mod shard;
mod stream;

use super::pending::{is_refusal, Ends, Pending};
use crate::earliest::earliest;
use crate::redis::starting::Starting;
use crate::redis::{CallError, CallToken, Completed, HashSlot, RedisCall, Script, ScriptCall};
use crate::telemetry::metrics::Levels;
use borders::{Borders, NoBorders};
use discovery::Discovery;
use shard::Shard;
use std::time::{Duration, Instant};

/// Ranges of slots while the borders are not known yet: the first calls need not wait for them.
const WIDE: u16 = 8;

/// Ranges where nobody tells the borders (Envoy 1.36): 16,384 slots over 128 leave one range in 43 astride the border
/// of two of three shards.
const NARROW: u16 = 128;

/// A stream whose oldest call has waited this much longer than any caller would is broken.
const STUCK: Duration = Duration::from_secs(2);

/// The least time between two warnings that the guard refuses calls.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// What the streams need of the proxy.
pub trait StreamHost {
    /// Opens a stream; `None` where it cannot be opened now.
    fn open(&self) -> Option<StreamId>;
    /// Sends one message; `false`: the stream is gone.
    fn send(&self, stream: StreamId, message: &[u8]) -> bool;
    /// Ends a stream; no event comes for it afterwards.
    fn cancel(&self, stream: StreamId);
}

/// The host's name for an open stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub u32);

/// All streams of one worker.
pub struct Streams<H> {
    host: H,
    script: Script,
    key_prefix: String,
    borders: Borders,
    /// In the order of `borders.shards`.
    shards: Vec<Shard>,
    /// Shards that are no more; their streams end after their last reply.
    retired: Vec<Shard>,
    discovery: Discovery,
    starting: Starting,
    max_in_flight: usize,
    in_flight: usize,
    timeout: Duration,
    wakeup: Option<Instant>,
    scratch: Vec<u8>,
    ends: Ends,
    /// When it was last logged that the guard refuses calls.
    warned: Option<Instant>,
}

impl<H: StreamHost> Streams<H> {
    /// `timeout`: the longest that a caller waits, as configured; `key_prefix`: without its colon.
    pub fn new(host: H, script: Script, key_prefix: &str, max_in_flight: usize, timeout: Duration) -> Self {
        let mut streams = Streams {
            host,
            script,
            key_prefix: key_prefix.to_owned(),
            borders: Borders::fixed(WIDE),
            shards: Vec::new(),
            retired: Vec::new(),
            discovery: Discovery::default(),
            starting: Starting::default(),
            max_in_flight,
            in_flight: 0,
            timeout,
            wakeup: None,
            scratch: Vec::new(),
            ends: Ends::new(),
            warned: None,
        };
        streams.cut(Instant::now());
        streams
    }

    /// A message from Redis on `id`: one or more replies, or a part of one.
    pub fn on_message(&mut self, now: Instant, id: StreamId, message: &[u8], completed: &mut Vec<Completed>) {
        if self.discovery.stream() == Some(id) {
            let answer = self.discovery.on_message(now, message, &self.host);
            self.learn(now, answer);
            return self.plan_ticks();
        }
        self.on_shard(now, id, completed, |shard, link, ends| {
            shard.stream.on_message(now, message, link, ends);
        });
    }

    /// The host says that `id` has ended, with this gRPC status. What was under way on it is lost.
    pub fn on_close(&mut self, now: Instant, id: StreamId, status: u32, completed: &mut Vec<Completed>) {
        if self.discovery.stream() == Some(id) {
            self.discovery.on_close(now);
            return self.plan_ticks();
        }
        self.on_shard(now, id, completed, |shard, _, ends| {
            shard.stream.on_close(now, status, ends)
        });
    }

    /// Something happened on a stream, of a shard of today or of yesterday.
    fn on_shard(
        &mut self,
        now: Instant,
        id: StreamId,
        completed: &mut Vec<Completed>,
        event: impl FnOnce(&mut Shard, &mut Link, &mut Ends),
    ) {
        let mut all = self.shards.iter_mut().chain(&mut self.retired);
        let Some(shard) = all.find(|shard| shard.stream.id() == Some(id)) else {
            return;
        };
        let mut link = Link {
            host: &self.host,
            script: &self.script,
            scratch: &mut self.scratch,
        };
        let before = completed.len();
        event(shard, &mut link, &mut self.ends);
        for (_, reply) in &mut self.ends {
            if reply
                .as_ref()
                .is_ok_and(|reply| self.starting.is_early(now, reply))
            {
                *reply = Err(CallError::TooEarly);
            }
        }
        shard.ended(now, &mut self.ends, completed);
        self.in_flight = self.in_flight.saturating_sub(completed.len() - before);
        let (hint, wakeup) = (shard.take_hint(), shard.wakeup(self.timeout));
        self.wake(now, hint, wakeup);
        self.warn_of_refusals(now, completed.get(before..).unwrap_or_default());
    }

    /// Calls that the guard refused until their time was over.
    fn warn_of_refusals(&mut self, now: Instant, completed: &[Completed]) {
        let is_refused = |done: &Completed| done.reply.as_ref().is_ok_and(is_refusal);
        let is_due = self.warned.is_none_or(|at| at + BETWEEN_WARNINGS <= now);
        if is_due && completed.iter().any(is_refused) {
            self.warned = Some(now);
            log::warn!(
                "headgate: the redis_call guard refuses this filter's calls, and on_error decides for every caller: the \
                 guard is of another release, or has another redis.key_prefix; update the listener redis_call first"
            );
        }
    }

    /// After an event at one shard.
    fn wake(&mut self, now: Instant, hint: bool, wakeup: Option<Instant>) {
        if hint {
            self.discovery.hint(now);
        }
        self.wakeup = earliest(&[wakeup, self.discovery.wakeup(), self.wakeup]);
    }

    /// How many shards are told apart, or ranges where their borders are not known.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// How many of them are left alone, because they do not answer.
    pub fn breakers_open(&self) -> usize {
        self.shards.iter().filter(|shard| shard.is_open()).count()
    }

    /// How many streams are open for calls, those included that end after their last reply.
    pub fn open(&self) -> usize {
        let all = self.shards.iter().chain(&self.retired);
        all.filter(|shard| shard.stream.id().is_some()).count()
    }

    /// What stands still between two events.
    pub fn levels(&self) -> Levels {
        Levels {
            streams_open: self.open(),
            calls_in_flight: self.in_flight,
            breakers_open: self.breakers_open(),
        }
    }

    fn learn(&mut self, now: Instant, answer: Option<Result<Borders, NoBorders>>) {
        let borders = match answer {
            Some(Ok(borders)) => borders,
            Some(Err(NoBorders::Unsupported)) => Borders::fixed(NARROW),
            Some(Err(NoBorders::NotNow)) | None => return,
        };
        if borders != self.borders {
            self.borders = borders;
            self.cut(now);
        }
    }

    /// Gives each shard its stream: those that are known keep theirs, the others get new ones.
    fn cut(&mut self, now: Instant) {
        let mut old = std::mem::take(&mut self.shards);
        for name in &self.borders.shards {
            let known = old.iter().position(|shard| shard.name == *name);
            self.shards.push(match known {
                Some(at) => old.swap_remove(at),
                None => Shard::new(now, name.clone()),
            });
        }
        for shard in &mut old {
            shard.retired = true;
        }
        self.retired.append(&mut old);
    }

    /// After an event at all of them.
    fn plan_ticks(&mut self) {
        let all = self.shards.iter().chain(&self.retired);
        let shards = all.filter_map(|shard| shard.wakeup(self.timeout));
        self.wakeup = shards.chain(self.discovery.wakeup()).min();
    }
}

impl<H: StreamHost> RedisCall for Streams<H> {
    fn call(
        &mut self,
        now: Instant,
        deadline: Instant,
        token: CallToken,
        call: ScriptCall,
    ) -> Result<(), CallError> {
        if self.in_flight >= self.max_in_flight {
            return Err(CallError::TooManyInFlight);
        }
        self.discovery.in_use(now);
        let at = self.borders.shard(call.slot);
        let shard = self.shards.get_mut(at).ok_or(CallError::Unavailable)?;
        let mut link = Link {
            host: &self.host,
            script: &self.script,
            scratch: &mut self.scratch,
        };
        shard.call(now, deadline, token, call, &mut link)?;
        self.in_flight += 1;
        let wakeup = shard.wakeup(self.timeout);
        self.wake(now, false, wakeup);
        Ok(())
    }

    fn timed_out(&mut self, now: Instant, since: Instant, slot: HashSlot) {
        if let Some(shard) = self.shards.get_mut(self.borders.shard(slot)) {
            shard.timed_out(now, since);
            let (hint, wakeup) = (shard.take_hint(), shard.wakeup(self.timeout));
            self.wake(now, hint, wakeup);
        }
    }

    fn timed_out_in_stall(&mut self, now: Instant, since: Instant, slot: HashSlot) {
        let timeout = self.timeout;
        if let Some(shard) = self.shards.get_mut(self.borders.shard(slot)) {
            shard.timed_out_in_stall(now, since, timeout);
            let (hint, wakeup) = (shard.take_hint(), shard.wakeup(self.timeout));
            self.wake(now, hint, wakeup);
        }
    }

    fn wakeup(&self) -> Option<Instant> {
        self.wakeup
    }

    fn on_tick(&mut self, now: Instant, completed: &mut Vec<Completed>) {
        if self.wakeup.is_none_or(|at| at > now) {
            return;
        }
        let before = completed.len();
        let stuck_after = self.timeout + STUCK;
        let mut link = Link {
            host: &self.host,
            script: &self.script,
            scratch: &mut self.scratch,
        };
        for (index, shard) in self.shards.iter_mut().enumerate() {
            shard.probe(
                now,
                self.timeout,
                index,
                &self.borders,
                &self.key_prefix,
                &mut link,
            );
            shard.stream.on_tick(now, stuck_after, &mut link, &mut self.ends);
            shard.ended(now, &mut self.ends, completed);
        }
        self.retired.retain_mut(|shard| {
            shard.stream.on_tick(now, stuck_after, &mut link, &mut self.ends);
            shard.ended(now, &mut self.ends, completed);
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
}

/// What one stream needs to send.
struct Link<'a> {
    host: &'a dyn StreamHost,
    script: &'a Script,
    scratch: &'a mut Vec<u8>,
}

impl Link<'_> {
    /// Sends one call as one message; `false`: the stream is gone.
    fn send(&mut self, stream: StreamId, pending: &Pending) -> bool {
        self.scratch.clear();
        pending.encode(self.script, self.scratch);
        self.host.send(stream, self.scratch)
    }
}

#[cfg(test)]
mod tests;
