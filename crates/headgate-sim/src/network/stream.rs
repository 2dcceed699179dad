//! One gRPC stream of a worker, as the listener of the Redis call sees it: the guard, then `redis_proxy`, which answers
//! in the order of the commands.

use super::cluster::Command;
use crate::script::tag_of;
use redis_call::guard::{frame_header, Inbound, Rules, Violation};
use redis_call::resp::{Decoder, Value};
use std::collections::VecDeque;
use std::rc::Rc;

pub struct Stream {
    /// The index of the worker thread.
    pub worker: usize,
    /// The index of the engine that opened it.
    pub owner: usize,
    /// The worker has cancelled it or has received its end.
    pub closed: bool,
    /// The listener neither reads from it nor writes to it any more.
    pub broken: bool,
    /// Messages that are sent on it are lost.
    pub mute: bool,
    guard: Inbound,
    commands: Decoder,
    /// Messages on their way to the guard.
    pub to_guard: VecDeque<Vec<u8>>,
    /// The arrival time of the newest of them, and of the newest message to the worker.
    pub last_in: u64,
    pub last_out: u64,
    /// A place for the reply to each command, until it is sent. Replies are sent in the order of the commands.
    places: VecDeque<ReplyPlace>,
    pub opened: u64,
    /// The newest reply on it is an array: the owners of the slots.
    pub has_slot_owners: bool,
    /// The version of the cluster at the last `CLUSTER SLOTS`.
    pub version: u32,
    /// The shard of its calls, once its engine knows the owners of the slots.
    pub shard: Option<usize>,
    /// The number of the first place.
    first: u64,
}

#[derive(Default)]
struct ReplyPlace {
    reply: Option<Vec<u8>>,
    with_body: bool,
    /// The time of sending, if the command is a probe.
    probe: Option<u64>,
}

/// Identifies the place of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyPlaceId {
    pub stream: u32,
    pub number: u64,
}

impl Stream {
    pub fn new(now: u64, worker: usize, owner: usize, rules: Rc<Rules>) -> Stream {
        Stream {
            worker,
            owner,
            closed: false,
            broken: false,
            mute: false,
            guard: Inbound::new(rules),
            commands: Decoder::new(),
            to_guard: VecDeque::new(),
            last_in: 0,
            last_out: 0,
            places: VecDeque::new(),
            opened: now,
            has_slot_owners: false,
            version: 0,
            shard: None,
            first: 0,
        }
    }

    /// Replaces the guard for all further commands.
    pub fn set_rules(&mut self, rules: Rc<Rules>) {
        self.guard = Inbound::new(rules);
    }

    /// Passes the next message through the guard. Returns the commands that the guard lets through, and the number of
    /// the call in the message.
    pub fn receive(&mut self) -> Result<(Vec<Command>, Option<u64>), Violation> {
        let Some(message) = self.to_guard.pop_front() else {
            return Ok((Vec::new(), None));
        };
        let header = frame_header(message.len() as u32);
        let mut out = Vec::new();
        self.guard.receive(&header, &mut out)?;
        self.guard.receive(&message, &mut out)?;
        self.commands.push(&out);
        let mut commands = Vec::new();
        while let Ok(Some(Value::Array(Some(items)))) = self.commands.next() {
            let bytes = items.into_iter().map(|item| match item {
                Value::Bulk(Some(bytes)) => bytes,
                _ => Vec::new(),
            });
            commands.push(Command::read(bytes.collect()));
        }
        Ok((commands, tag_of(&message)))
    }

    /// Adds a place for the reply to one more command.
    pub fn place(&mut self, with_body: bool, probe: Option<u64>) -> u64 {
        self.places.push_back(ReplyPlace {
            reply: None,
            with_body,
            probe,
        });
        self.first + self.places.len() as u64 - 1
    }

    /// The number of calls with a body that have no reply yet.
    pub fn bodies(&self) -> usize {
        let is_body = |place: &&ReplyPlace| place.with_body && place.reply.is_none();
        self.places.iter().filter(is_body).count()
    }

    /// When the probe was sent whose reply has this place; `None` if the command is not a probe.
    pub fn probe(&self, number: u64) -> Option<u64> {
        let at = number.checked_sub(self.first)?;
        self.places.get(at as usize)?.probe
    }

    pub fn fill(&mut self, number: u64, reply: Vec<u8>) {
        let at = number.checked_sub(self.first);
        if let Some(place) = at.and_then(|at| self.places.get_mut(at as usize)) {
            place.reply = Some(reply);
        }
    }

    /// Removes and returns the replies that are next in order.
    pub fn ready(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(reply) = self.places.front_mut().and_then(|place| place.reply.take()) {
            bytes.extend(reply);
            self.places.pop_front();
            self.first += 1;
        }
        bytes
    }
}
