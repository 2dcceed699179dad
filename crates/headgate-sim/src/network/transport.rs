//! The real streams of `redis-call` on a simulated network. Each call is numbered, so that its reply can be checked.

use super::stream::Stream;
use super::{Network, NetworkEvent, StreamEvent};
use crate::fault::Fault;
use crate::script::{tag_of, TAG};
use fastrand::Rng;
use headgate_core::model::RedisSettings;
use headgate_core::script::ACCEPTED;
use redis_call::resp::Value;
use redis_call::{
    Call, CallError, Completed, Gauges, HashSlot, Notice, RedisCall, Settings, StreamHost, StreamId, Streams,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The host functions for streams, as one worker sees them.
#[derive(Clone)]
pub struct Host {
    /// The network that carries the streams.
    pub network: Rc<RefCell<Network>>,
    /// The index of the worker thread.
    pub worker: usize,
    /// The index of the engine, which owns the streams that it opens.
    pub owner: usize,
}

impl StreamHost for Host {
    fn open(&self) -> Option<StreamId> {
        let id = self.network.borrow_mut().open(self.worker, self.owner);
        id.map(StreamId)
    }

    fn send(&self, stream: StreamId, message: &[u8]) -> bool {
        self.network.borrow_mut().send(stream.0, message)
    }

    fn cancel(&self, stream: StreamId) {
        self.network.borrow_mut().cancel(stream.0);
    }
}

impl Network {
    fn open(&mut self, worker: usize, owner: usize) -> Option<u32> {
        let refuses = |fault: &Fault| match fault {
            Fault::NoStreams { envoy } => Some(*envoy),
            _ => None,
        };
        let kills = |fault: &Fault| match fault {
            Fault::StreamsDie { envoy } => Some(*envoy),
            _ => None,
        };
        let old_guard = |fault: &Fault| match fault {
            Fault::GuardRefuses { envoy } => Some(*envoy),
            _ => None,
        };
        if self.has_fault(worker, refuses) {
            return None;
        }
        let rules = match self.has_fault(worker, old_guard) {
            true => Rc::clone(&self.other_rules),
            false => Rc::clone(&self.rules),
        };
        self.streams.push(Stream::new(self.now, worker, owner, rules));
        let id = self.streams.len() as u32;
        if self.has_fault(worker, kills) {
            self.end(id, 14);
        }
        Some(id)
    }

    fn send(&mut self, id: u32, message: &[u8]) -> bool {
        let gone = |fault: &Fault| match fault {
            Fault::SendFails { envoy } => Some(*envoy),
            _ => None,
        };
        let late = tag_of(message).and_then(|tag| self.journal.deadlines.get(&tag).copied());
        if late.is_some_and(|deadline| deadline <= self.now) {
            let what = format!("a call is sent on stream {id} after its deadline");
            self.journal.broken("sent-late", what);
        }
        let worker = self.stream(id).worker;
        let gone = self.has_fault(worker, gone);
        let (now, hop) = (self.now, self.hop());
        let stream = self.stream(id);
        if stream.closed {
            self.journal.broken(
                "sent-on-closed",
                format!("something is sent on stream {id}, which is no more"),
            );
            return false;
        }
        if gone {
            stream.closed = true;
            stream.broken = true;
            return false;
        }
        stream.to_guard.push_back(message.to_vec());
        stream.last_in = stream.last_in.max(now + hop);
        let at = stream.last_in;
        self.plan(at, NetworkEvent::AtGuard { stream: id });
        true
    }

    fn cancel(&mut self, id: u32) {
        let lost = self.rng.bool();
        let stream = self.stream(id);
        stream.closed = true;
        if lost {
            // Messages on their way may or may not reach the guard.
            stream.to_guard.clear();
        }
    }
}

/// What happened to a call.
#[derive(Debug, Clone)]
pub enum CallEvent<Id> {
    /// It was accepted under the number `tag`.
    Made {
        /// The number of the call.
        tag: u64,
        /// The engine's id of the call.
        id: Id,
    },
    /// It was refused immediately.
    Refused {
        /// The engine's id of the call.
        id: Id,
        /// The reason.
        error: CallError,
    },
    /// It has ended.
    Ended {
        /// The number of the call.
        tag: u64,
        /// The engine's id of the call.
        id: Id,
        /// Whether Redis replied without an error.
        counted: bool,
        /// Whether the engine retries it: Envoy has no node yet, or a slot moves.
        again: bool,
    },
}

/// The streams of a worker. Adds a number to the arguments of each call. The script ignores it. It shows which execution
/// a reply belongs to.
pub struct CheckedStreams<Id> {
    /// The real streams.
    pub streams: Streams<Host, (u64, Id)>,
    host: Host,
    max_in_flight: usize,
    /// Calls in flight, by number.
    in_flight: BTreeMap<u64, (Id, Call)>,
    /// The events since they were last taken.
    pub call_events: Vec<CallEvent<Id>>,
    ended: Vec<Completed<(u64, Id)>>,
}

impl<Id: Copy + PartialEq + Debug> CheckedStreams<Id> {
    /// Streams on the network of `host`, with the timeout and the bound of calls in flight of `policy`.
    pub fn new(now: Instant, rng: Rng, host: Host, policy: &RedisSettings) -> CheckedStreams<Id> {
        let mut settings = Settings::new(&policy.key_prefix);
        settings.script = ACCEPTED[0];
        settings.max_in_flight = policy.max_in_flight;
        settings.timeout = policy.timeout;
        let life = host.network.borrow().settings.stream_life;
        settings.stream_life = Duration::from_micros(life);
        CheckedStreams {
            streams: Streams::new(now, rng, host.clone(), settings),
            host,
            max_in_flight: policy.max_in_flight,
            in_flight: BTreeMap::new(),
            call_events: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Handles an event of a stream.
    pub fn deliver(
        &mut self,
        now: Instant,
        stream: u32,
        what: StreamEvent,
        completed: &mut Vec<Completed<Id>>,
    ) {
        let mut ended = std::mem::take(&mut self.ended);
        match what {
            StreamEvent::Message(message) => {
                self.streams
                    .on_message(now, StreamId(stream), &message, &mut ended)
            }
            StreamEvent::Closed(status) => self.streams.on_close(now, StreamId(stream), status, &mut ended),
        }
        self.check(ended, completed);
    }

    /// The number of calls in flight, as counted here.
    pub fn waiting(&self) -> usize {
        self.in_flight.len()
    }

    /// Checks calls that have ended, and passes them on with the id that the engine gave them.
    fn check(&mut self, mut ended: Vec<Completed<(u64, Id)>>, completed: &mut Vec<Completed<Id>>) {
        let mut network = self.host.network.borrow_mut();
        let journal = &mut network.journal;
        for Completed {
            id: (tag, id), reply, ..
        } in ended.drain(..)
        {
            let Some((made, call)) = self.in_flight.remove(&tag) else {
                journal.broken("ends-once", format!("{id:?} has ended twice, or was never made"));
                continue;
            };
            if made != id {
                journal.broken("own-reply", format!("{id:?} got the end of {made:?}"));
            }
            if let Ok(value) = &reply {
                if !journal.is_answer(tag, value) {
                    journal.broken(
                        "own-reply",
                        format!("{id:?} got the reply to another call: {value:?}"),
                    );
                }
            }
            journal.ended(tag);
            let counted = matches!(&reply, Ok(Value::Bulk(Some(_))));
            let again = match &reply {
                Ok(Value::Error(text)) => text.starts_with(b"TRYAGAIN"),
                reply => *reply == Err(CallError::TooEarly),
            };
            self.call_events.push(CallEvent::Ended {
                tag,
                id,
                counted,
                again,
            });
            completed.push(Completed { id, call, reply });
        }
        if self.in_flight.len() != self.streams.in_flight() {
            journal.broken(
                "in-flight",
                format!(
                    "the streams report {} calls in flight, and {} are",
                    self.streams.in_flight(),
                    self.in_flight.len()
                ),
            );
        }
        self.ended = ended;
    }
}

impl<Id: Copy + PartialEq + Debug> RedisCall<Id> for CheckedStreams<Id> {
    fn call(&mut self, now: Instant, deadline: Instant, id: Id, call: Call) -> Result<(), CallError> {
        let tag = {
            let mut network = self.host.network.borrow_mut();
            network.tags += 1;
            let tag = network.tags;
            let deadline = network.clock.micros(deadline);
            network.journal.deadlines.insert(tag, deadline);
            tag
        };
        let tagged = call
            .clone()
            .and_argument(format!("{}{tag}", TAG as char).as_bytes());
        match self.streams.call(now, deadline, (tag, id), tagged) {
            Ok(()) => {
                self.call_events.push(CallEvent::Made { tag, id });
                self.in_flight.insert(tag, (id, call));
                if self.in_flight.len() > self.max_in_flight {
                    let what = format!("{} calls are in flight", self.in_flight.len());
                    let mut network = self.host.network.borrow_mut();
                    network.journal.broken("max-in-flight", what);
                }
                Ok(())
            }
            Err(error) => {
                self.call_events.push(CallEvent::Refused { id, error });
                Err(error)
            }
        }
    }

    fn timed_out(&mut self, now: Instant, since: Instant, slot: HashSlot) {
        self.streams.timed_out(now, since, slot);
    }

    fn timed_out_in_stall(&mut self, now: Instant, since: Instant, slot: HashSlot) {
        self.streams.timed_out_in_stall(now, since, slot);
    }

    fn wakeup(&self) -> Option<Instant> {
        self.streams.wakeup()
    }

    fn on_tick(&mut self, now: Instant, completed: &mut Vec<Completed<Id>>) {
        let mut ended = std::mem::take(&mut self.ended);
        self.streams.on_tick(now, &mut ended);
        self.check(ended, completed);
    }

    fn in_flight(&self) -> usize {
        self.streams.in_flight()
    }

    fn gauges(&self) -> Gauges {
        self.streams.gauges()
    }

    fn poll_notice(&mut self) -> Option<Notice> {
        self.streams.poll_notice()
    }
}
