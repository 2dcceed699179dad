//! The road on stock Envoy: gRPC streams to an internal listener in front of `redis_proxy`.
//!
//! Hash slots are cut into ranges with a stream each, so that a stuck shard delays only the calls of its own
//! ranges. This file decides which stream a call takes and when streams are opened; [`stream`] keeps one stream's
//! order. The host is a trait, so that all of it is tested natively.

mod backoff;
mod stream;

use crate::redis::{resp, CallError, CallToken, Completed, RedisCall, ScriptCall};
use std::time::{Duration, Instant};
use stream::Stream;

/// Streams for each worker. Each has a connection of its own at `redis_proxy`, which answers in order on each; 16,384
/// slots over 128 leave one range in 43 astride the border of two of three shards.
const STREAMS: usize = 128;

/// A stream whose oldest call has waited this much longer than any caller would is broken.
const STUCK: Duration = Duration::from_secs(2);

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

/// The script as it is called, and as it is sent to a node that does not know it.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    pub body: &'static str,
    pub sha1_hex: &'static str,
}

/// All streams of one worker.
pub struct Streams<H> {
    host: H,
    script: Script,
    streams: Vec<Stream>,
    max_in_flight: usize,
    in_flight: usize,
    stuck_after: Duration,
    wakeup: Option<Instant>,
    scratch: Vec<u8>,
}

impl<H: StreamHost> Streams<H> {
    /// `timeout`: the longest that a caller waits, as configured.
    pub fn new(host: H, script: Script, max_in_flight: usize, timeout: Duration) -> Self {
        Streams {
            host,
            script,
            streams: (0..STREAMS).map(|_| Stream::default()).collect(),
            max_in_flight,
            in_flight: 0,
            stuck_after: timeout + STUCK,
            wakeup: None,
            scratch: Vec::new(),
        }
    }

    /// A message from Redis on `id`: one or more replies, or a part of one.
    pub fn on_message(&mut self, now: Instant, id: StreamId, message: &[u8], completed: &mut Vec<Completed>) {
        let before = completed.len();
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id() == Some(id)) {
            let mut link = Link {
                host: &self.host,
                script: &self.script,
                scratch: &mut self.scratch,
            };
            stream.on_message(now, message, &mut link, completed);
            let wakeup = stream.wakeup(self.stuck_after);
            self.wake_at(wakeup);
        }
        self.settle(before, completed);
    }

    /// The host says that `id` has ended. What was under way on it is lost.
    pub fn on_close(&mut self, now: Instant, id: StreamId, completed: &mut Vec<Completed>) {
        let before = completed.len();
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id() == Some(id)) {
            stream.on_close(now, completed);
            let wakeup = stream.wakeup(self.stuck_after);
            self.wake_at(wakeup);
        }
        self.settle(before, completed);
    }

    /// How many streams are open.
    pub fn open(&self) -> usize {
        self.streams.iter().filter(|stream| stream.id().is_some()).count()
    }

    fn settle(&mut self, before: usize, completed: &[Completed]) {
        self.in_flight = self
            .in_flight
            .saturating_sub(completed.len().saturating_sub(before));
    }

    fn wake_at(&mut self, at: Option<Instant>) {
        self.wakeup = match (self.wakeup, at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
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
        let index = usize::from(call.slot.get()) * STREAMS / usize::from(crate::redis::HashSlot::COUNT);
        let stream = self.streams.get_mut(index).ok_or(CallError::Unavailable)?;
        let mut link = Link {
            host: &self.host,
            script: &self.script,
            scratch: &mut self.scratch,
        };
        stream.call(now, deadline, token, call, &mut link)?;
        self.in_flight += 1;
        let wakeup = stream.wakeup(self.stuck_after);
        self.wake_at(wakeup);
        Ok(())
    }

    fn wakeup(&self) -> Option<Instant> {
        self.wakeup
    }

    fn on_tick(&mut self, now: Instant, completed: &mut Vec<Completed>) {
        if self.wakeup.is_none_or(|at| at > now) {
            return;
        }
        let before = completed.len();
        let mut link = Link {
            host: &self.host,
            script: &self.script,
            scratch: &mut self.scratch,
        };
        self.wakeup = None;
        for stream in &mut self.streams {
            stream.on_tick(now, self.stuck_after, &mut link, completed);
        }
        self.wakeup = self
            .streams
            .iter()
            .filter_map(|stream| stream.wakeup(self.stuck_after))
            .min();
        self.settle(before, completed);
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
    fn send(&mut self, stream: StreamId, call: &ScriptCall, with_body: bool) -> bool {
        self.scratch.clear();
        let (name, script) = match with_body {
            true => ("EVAL", self.script.body),
            false => ("EVALSHA", self.script.sha1_hex),
        };
        resp::array(self.scratch, call.parts + 2);
        resp::bulk(self.scratch, name.as_bytes());
        resp::bulk(self.scratch, script.as_bytes());
        self.scratch.extend_from_slice(&call.tail);
        self.host.send(stream, self.scratch)
    }
}

#[cfg(test)]
mod tests;
