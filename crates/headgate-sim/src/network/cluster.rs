//! The Redis nodes: owners of the slots, cached scripts, and replies to commands.

use super::journal::{Execution, Journal};
use crate::fault::Fault;
use crate::model::Model;
use crate::script::{Call, Mode};
use crate::time::{Clock, Micros};
use headgate_core::script::ACCEPTED;
use redis_call::resp::{array, bulk};
use redis_call::HashSlot;

/// The master of one shard.
#[derive(Debug, Clone)]
pub struct Node {
    /// The node's id in the reply to `CLUSTER SLOTS`.
    pub id: String,
    /// The offset of its clock from the world's clock, in µs.
    pub clock_us: i64,
    /// Whether it has cached each of the scripts in [`ACCEPTED`].
    scripts: Vec<bool>,
    /// How often its memory was lost, in part or in full.
    pub epoch: u32,
}

/// All nodes and their slots.
#[derive(Debug)]
pub struct Cluster {
    /// The node of each shard.
    pub nodes: Vec<Node>,
    /// First slot, last slot and shard. Ascending and without gaps.
    ranges: Vec<(u16, u16, usize)>,
    /// A single Redis without cluster support.
    single: bool,
    /// The counters and overrides of all nodes.
    pub model: Model,
    clock: Clock,
    named: u32,
    /// How often the owners of the slots changed.
    pub version: u32,
}

/// A command that has passed the guard.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A call of the script with this SHA-1 or this body.
    Script {
        /// The SHA-1 in hexadecimal, or the body.
        script: Vec<u8>,
        /// Whether `script` is the body (`EVAL`).
        with_body: bool,
        /// The slot of the first key.
        slot: HashSlot,
        /// The arguments after the script: number of keys, keys, arguments.
        args: Vec<Vec<u8>>,
    },
    /// `CLUSTER SLOTS`.
    ClusterSlots,
    /// Any other command, which `redis_proxy` answers itself.
    Other {
        /// The name of the command.
        name: Vec<u8>,
        /// Its arguments.
        args: Vec<Vec<u8>>,
    },
}

impl Command {
    /// Decodes a command. `args` must not be empty.
    pub fn read(mut args: Vec<Vec<u8>>) -> Command {
        let name = args.remove(0);
        match (name.to_ascii_uppercase().as_slice(), args.len()) {
            (b"CLUSTER", 1) => Command::ClusterSlots,
            (b"EVAL" | b"EVALSHA", 3..) => {
                let script = args.remove(0);
                Command::Script {
                    with_body: name.eq_ignore_ascii_case(b"EVAL"),
                    slot: HashSlot::of(&args[1]),
                    script,
                    args,
                }
            }
            _ => Command::Other { name, args },
        }
    }
}

impl Cluster {
    /// `shards` masters with equal shares of the slots. 0: a single Redis without cluster support.
    pub fn new(clock: Clock, shards: usize) -> Cluster {
        let count = shards.max(1);
        let mut cluster = Cluster {
            nodes: Vec::new(),
            ranges: Vec::new(),
            single: shards == 0,
            model: Model::default(),
            clock,
            named: 0,
            version: 0,
        };
        let border = |shard: usize| (usize::from(HashSlot::COUNT) * shard / count) as u16;
        for shard in 0..count {
            cluster.named += 1;
            cluster.nodes.push(Node {
                id: format!("node-{}", cluster.named),
                clock_us: 0,
                scripts: vec![false; ACCEPTED.len()],
                epoch: 0,
            });
            let last = border(shard + 1).wrapping_sub(1);
            cluster.ranges.push((border(shard), last, shard));
        }
        cluster
    }

    /// The shard that owns the slot.
    pub fn owner(&self, slot: HashSlot) -> usize {
        let at = self.ranges.partition_point(|(_, last, _)| *last < slot.get());
        self.ranges[at].2
    }

    /// The shard that owns the slot of the key.
    pub fn owner_of(&self, key: &[u8]) -> usize {
        self.owner(HashSlot::of(key))
    }

    /// Unix time of the node, in µs.
    pub fn clock_us(&self, shard: usize, now: Micros) -> u64 {
        let unix = self.clock.unix_us(now);
        unix.saturating_add_signed(self.nodes[shard].clock_us)
    }

    /// Drops the cached scripts of a node.
    pub fn flush_scripts(&mut self, shard: usize) {
        self.nodes[shard].scripts.fill(false);
    }

    /// Drops the memory of a node.
    pub fn lose_memory(&mut self, shard: usize) {
        self.nodes[shard].epoch += 1;
        let Cluster { model, ranges, .. } = self;
        model.remove_keys(|key| owner_in(ranges, key) == shard);
    }

    /// Another node takes over the shard, with the memory `then` and a clock that differs by `clock_us`.
    pub fn fail_over(&mut self, shard: usize, then: &Model, clock_us: i64) {
        self.named += 1;
        self.version += 1;
        let node = &mut self.nodes[shard];
        node.id = format!("node-{}", self.named);
        node.clock_us += clock_us;
        node.scripts.fill(false);
        node.epoch += 1;
        let Cluster { model, ranges, .. } = self;
        model.go_back(then, |key| owner_in(ranges, key) == shard);
    }

    /// Moves the slots `first` to `last` to the shard `to`.
    pub fn give_slots(&mut self, first: u16, last: u16, to: usize) {
        if self.single || to >= self.nodes.len() || first > last || last >= HashSlot::COUNT {
            return;
        }
        self.version += 1;
        let mut ranges = Vec::new();
        for (from, until, owner) in self.ranges.drain(..) {
            if from < first {
                ranges.push((from, until.min(first - 1), owner));
            }
            if until > last {
                ranges.push((from.max(last + 1), until, owner));
            }
        }
        ranges.push((first, last, to));
        ranges.sort_unstable();
        self.ranges = ranges;
    }

    /// The reply to `CLUSTER SLOTS`.
    pub fn slots(&self) -> Vec<u8> {
        if self.single {
            return error("ERR This instance has cluster support disabled");
        }
        let int = |out: &mut Vec<u8>, number: usize| out.extend(format!(":{number}\r\n").into_bytes());
        let mut out = Vec::new();
        array(&mut out, self.ranges.len());
        for (first, last, shard) in &self.ranges {
            array(&mut out, 3);
            int(&mut out, usize::from(*first));
            int(&mut out, usize::from(*last));
            array(&mut out, 3);
            bulk(&mut out, b"192.0.2.1");
            int(&mut out, 7_000 + shard);
            bulk(&mut out, self.nodes[*shard].id.as_bytes());
        }
        out
    }

    /// Executes a command on the node of the shard, and records it. `faults` are the active faults.
    pub fn execute(
        &mut self,
        now: Micros,
        shard: usize,
        command: &Command,
        faults: &[Fault],
        journal: &mut Journal,
    ) -> Vec<u8> {
        let failing = |only_writes: bool| {
            faults.iter().find_map(|fault| match fault {
                Fault::Error {
                    shard: which,
                    text,
                    writes,
                } if which.has(shard) && *writes == only_writes => Some(error(text)),
                _ => None,
            })
        };
        if let Some(reply) = failing(false) {
            return reply;
        }
        let Command::Script {
            script,
            with_body,
            args,
            slot,
        } = command
        else {
            return self.slots();
        };
        if !self.knows(shard, script, *with_body) {
            return error("NOSCRIPT No matching script. Please use EVAL.");
        }
        let call = match Call::read(args) {
            Ok(call) => call,
            Err(why) => {
                journal.broken(
                    "well-formed",
                    format!("a malformed call of the script: {}", why.0),
                );
                return error("ERR malformed");
            }
        };
        if let Some(key) = call.group.keys.iter().find(|key| HashSlot::of(key) != *slot) {
            journal.broken(
                "well-formed",
                format!("a key of another slot: {}", key.escape_ascii()),
            );
        }
        let moves = |fault: &Fault| matches!(fault, Fault::Moving { first, last, .. } if (*first..=*last).contains(&slot.get()));
        if call.group.keys.len() > 1 && faults.iter().any(moves) {
            return error("TRYAGAIN Multiple keys request during rehashing of slot");
        }
        let clock_us = self.clock_us(shard, now);
        if let Some(reply) = failing(true).filter(|_| call.writes(&self.model, clock_us)) {
            return reply;
        }
        let result = call.run(&mut self.model, clock_us);
        let mut reply = Vec::new();
        let packed = match call.mode {
            Mode::GiveBack => vec![1],
            _ => result.pack(),
        };
        bulk(&mut reply, &packed);
        if journal.skips_executions {
            return reply;
        }
        journal.executions.push(Execution {
            at: now,
            shard,
            epoch: self.nodes[shard].epoch,
            clock_us,
            call,
            result,
        });
        reply
    }

    /// Whether the node knows the script. It caches a body.
    fn knows(&mut self, shard: usize, script: &[u8], with_body: bool) -> bool {
        let text = |known: &redis_call::Script| match with_body {
            true => known.body,
            false => known.sha1_hex,
        };
        let known = ACCEPTED.iter().position(|known| text(known).as_bytes() == script);
        let Some(place) = known.and_then(|known| self.nodes[shard].scripts.get_mut(known)) else {
            return false;
        };
        *place |= with_body;
        *place
    }
}

fn owner_in(ranges: &[(u16, u16, usize)], key: &[u8]) -> usize {
    let slot = HashSlot::of(key).get();
    ranges[ranges.partition_point(|(_, last, _)| *last < slot)].2
}

/// An error reply.
pub fn error(text: &str) -> Vec<u8> {
    format!("-{text}\r\n").into_bytes()
}
