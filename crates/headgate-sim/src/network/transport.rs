//! The core's own streams on a simulated network, and a tap on them by which each call is known again.

use super::{Network, Told};
use crate::fault::Fault;
use crate::script::{tag_of, TAG};
use headgate::redis::resp::bulk;
use headgate::redis::{
    CallError, CallToken, Completed, HashSlot, RedisCall, Script, ScriptCall, StreamHost, StreamId, Streams,
};
use headgate::script;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// One worker's way into the network.
#[derive(Clone)]
pub struct Host {
    pub network: Rc<RefCell<Network>>,
    /// Of the network's workers.
    pub worker: usize,
}

impl StreamHost for Host {
    fn open(&self) -> Option<StreamId> {
        self.network.borrow_mut().open(self.worker).map(StreamId)
    }

    fn send(&self, stream: StreamId, message: &[u8]) -> bool {
        self.network.borrow_mut().send(stream.0, message)
    }

    fn cancel(&self, stream: StreamId) {
        self.network.borrow_mut().cancel(stream.0);
    }
}

impl Network {
    fn open(&mut self, worker: usize) -> Option<u32> {
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
        if self.suffers(worker, refuses) {
            return None;
        }
        let rules = match self.suffers(worker, old_guard) {
            true => Rc::clone(&self.other_rules),
            false => Rc::clone(&self.rules),
        };
        self.streams.push(super::stream::Stream::new(worker, rules));
        let id = self.streams.len() as u32;
        if self.suffers(worker, kills) {
            self.end(id, 14);
        }
        Some(id)
    }

    fn send(&mut self, id: u32, message: &[u8]) -> bool {
        let gone = |fault: &Fault| match fault {
            Fault::SendFails { envoy } => Some(*envoy),
            _ => None,
        };
        let worker = self.stream(id).worker;
        let gone = self.suffers(worker, gone);
        let (now, hop) = (self.now, self.hop());
        let stream = self.stream(id);
        if stream.closed {
            self.journal
                .broken(format!("something is sent on stream {id}, which is no more"));
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
        self.plan(at, super::Event::AtGuard { stream: id });
        true
    }

    fn cancel(&mut self, id: u32) {
        let lost = self.rng.bool();
        let stream = self.stream(id);
        stream.closed = true;
        if lost {
            // What was on its way may get to the guard, or not.
            stream.to_guard.clear();
        }
    }
}

/// What a tap notes of a call.
#[derive(Debug, Clone)]
pub struct Tapped {
    pub token: CallToken,
    pub call: ScriptCall,
    pub sent: Instant,
    pub deadline: Instant,
}

/// The streams of a worker. Each call gets a number, which the script does not read and the world does: so it is known
/// which execution a reply belongs to.
pub struct Tap {
    pub streams: Streams<Host>,
    host: Host,
    /// Calls that have not come to an end, by number.
    under_way: BTreeMap<u64, Tapped>,
    /// All calls that were accepted since this was last asked: number and token.
    pub accepted: Vec<(u64, CallToken)>,
}

impl Tap {
    pub fn new(host: Host, key_prefix: &str, max_in_flight: usize, timeout: Duration) -> Tap {
        let script = Script {
            body: script::body(),
            sha1_hex: script::sha1_hex(),
        };
        Tap {
            streams: Streams::new(host.clone(), script, key_prefix, max_in_flight, timeout),
            host,
            under_way: BTreeMap::new(),
            accepted: Vec::new(),
        }
    }

    /// Something came for this worker.
    pub fn deliver(&mut self, now: Instant, stream: u32, what: Told, completed: &mut Vec<Completed>) {
        let from = completed.len();
        match what {
            Told::Message(message) => self
                .streams
                .on_message(now, StreamId(stream), &message, completed),
            Told::Closed(status) => self.streams.on_close(now, StreamId(stream), status, completed),
        }
        self.check(completed, from);
    }

    /// Calls that the tap knows to be under way.
    pub fn waiting(&self) -> usize {
        self.under_way.len()
    }

    /// Looks at calls that have ended, and gives them back as they were made.
    fn check(&mut self, completed: &mut [Completed], from: usize) {
        let mut network = self.host.network.borrow_mut();
        let journal = &mut network.journal;
        for done in &mut completed[from..] {
            let tag = tag_of(&done.call.tail);
            let Some((tag, tapped)) = tag.and_then(|tag| Some((tag, self.under_way.remove(&tag)?))) else {
                journal.broken(format!("{:?} has ended twice, or was never made", done.token));
                continue;
            };
            if tapped.token != done.token {
                journal.broken(format!("{:?} got the end of {:?}", done.token, tapped.token));
            }
            if let Ok(value) = &done.reply {
                if !journal.is_answer(tag, value) {
                    journal.broken(format!("{:?} got a reply to another call: {value:?}", done.token));
                }
            }
            done.call = tapped.call;
        }
        if self.under_way.len() != self.streams.in_flight() {
            journal.broken(format!(
                "{} calls are said to be in flight, and {} are",
                self.streams.in_flight(),
                self.under_way.len()
            ));
        }
    }
}

impl RedisCall for Tap {
    fn call(
        &mut self,
        now: Instant,
        deadline: Instant,
        token: CallToken,
        call: ScriptCall,
    ) -> Result<(), CallError> {
        let tag = {
            let mut network = self.host.network.borrow_mut();
            network.tags += 1;
            network.tags
        };
        let mut tagged = call.clone();
        tagged.parts += 1;
        bulk(&mut tagged.tail, format!("{}{tag}", TAG as char).as_bytes());
        self.streams.call(now, deadline, token, tagged)?;
        self.accepted.push((tag, token));
        let sent = now;
        self.under_way.insert(
            tag,
            Tapped {
                token,
                call,
                sent,
                deadline,
            },
        );
        Ok(())
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

    fn on_tick(&mut self, now: Instant, completed: &mut Vec<Completed>) {
        let from = completed.len();
        self.streams.on_tick(now, completed);
        self.check(completed, from);
    }

    fn in_flight(&self) -> usize {
        self.streams.in_flight()
    }
}
