//! One gRPC stream of a worker, as the listener of the Redis call sees it: the guard, then `redis_proxy`, which answers
//! in the order of the commands.

use super::cluster::Command;
use crate::script::tag_of;
use redis_call::guard::{frame_header, Inbound, Rules, Violation};
use redis_call::resp::{Decoder, Value};
use std::collections::VecDeque;
use std::rc::Rc;

pub struct Stream {
    /// Of the network's workers.
    pub worker: usize,
    /// Which of the world's engines opened it.
    pub owner: usize,
    /// The worker has cancelled it, or was told that it has ended.
    pub closed: bool,
    /// Nothing is read from it or written to it any more.
    pub broken: bool,
    /// What is sent on it reaches nobody.
    pub mute: bool,
    guard: Inbound,
    commands: Decoder,
    /// Messages on their way to the guard.
    pub to_guard: VecDeque<Vec<u8>>,
    /// When the newest of them arrives, and when the newest message of the other direction does.
    pub last_in: u64,
    pub last_out: u64,
    /// A place for each command that is not answered yet, or behind one that is not; with whether it carries a body.
    places: VecDeque<ReplyPlace>,
    pub opened: u64,
    /// The newest reply on it is a list, of the slots' owners.
    pub has_slot_owners: bool,
    /// Of the cluster, when that was asked for last.
    pub version: u32,
    /// For which shard it carries calls, since its engine knows the slots' owners.
    pub shard: Option<usize>,
    /// The number of the first place.
    first: u64,
}

#[derive(Default)]
struct ReplyPlace {
    reply: Option<Vec<u8>>,
    with_body: bool,
    /// A probe that was sent then.
    probe: Option<u64>,
}

/// Which place of which stream a reply is for.
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

    /// Commands that come from now on meet another guard.
    pub fn set_rules(&mut self, rules: Rc<Rules>) {
        self.guard = Inbound::new(rules);
    }

    /// Takes the next message through the guard; the commands that come out, and the number of the call that the
    /// message was.
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

    /// A place for the reply to one more command.
    pub fn place(&mut self, with_body: bool, probe: Option<u64>) -> u64 {
        self.places.push_back(ReplyPlace {
            reply: None,
            with_body,
            probe,
        });
        self.first + self.places.len() as u64 - 1
    }

    /// How many calls with a body are not answered yet.
    pub fn bodies(&self) -> usize {
        let is_body = |place: &&ReplyPlace| place.with_body && place.reply.is_none();
        self.places.iter().filter(is_body).count()
    }

    /// When the probe was sent whose reply has this place; `None`: it is no probe's.
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

    /// The replies that nothing before them holds up.
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
