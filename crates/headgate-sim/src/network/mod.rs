//! From a worker's streams to Redis and back: the listener of the Redis call, `redis_proxy` and the nodes, in
//! simulated time.
//!
//! Layout: [`proxy`] is the guard and `redis_proxy`, [`stream`] the worker's side of it and [`link`] the nodes' side;
//! [`cluster`] is Redis; [`slot_owners`] is what engines know of it; [`transport`] lets the real streams of the core run on it. This file moves commands and replies between them.
//!
//! What is modelled after Envoy and Redis: replies come in the order of the commands on each stream; each worker has
//! one connection to each node, on which commands are executed and answered in order; a command without a reply in its
//! time ends that connection, and all commands on it fail; a frozen node executes what it was sent once it thaws.

pub mod cluster;
mod display;
mod faults;
pub mod journal;
mod link;
mod proxy;
mod replies;
mod slot_owners;
mod stream;
pub mod transport;

use crate::fault::{Fault, Target};
use crate::model::Model;
use crate::time::{Clock, Micros, MS};
use cluster::{error, Cluster, Command};
use fastrand::Rng;
use headgate_core::script::ACCEPTED;
use journal::Journal;
use link::{Link, LinkId};
use redis_call::guard::Rules;
use redis_call::HashSlot;
use std::collections::BTreeMap;
use std::rc::Rc;
use stream::{ReplyPlaceId, Stream};

/// What holds for a network as long as it lives.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkSettings {
    pub envoys: usize,
    /// For each Envoy.
    pub workers: usize,
    /// 0: one Redis that is no cluster.
    pub shards: usize,
    /// Whether `redis_proxy` passes `CLUSTER SLOTS` on, as from Envoy 1.37.
    pub discovery: bool,
    /// How long a message takes within an Envoy, at most.
    pub hop: Micros,
    /// How long one way between `redis_proxy` and a node takes: least and most.
    pub way: (Micros, Micros),
    /// How long an engine uses a stream, and up to a quarter more.
    pub stream_life: Micros,
    /// `op_timeout` of `redis_proxy`.
    pub op_timeout: Micros,
    /// The prefix of keys, without its colon.
    pub prefix: String,
}

/// Something that happens in the network by itself.
#[derive(Debug)]
pub enum NetworkEvent {
    /// A message reaches the guard.
    AtGuard { stream: u32 },
    /// A command reaches its node.
    AtNode {
        link: LinkId,
        generation: u32,
        number: u64,
        command: Command,
    },
    /// A reply is back at `redis_proxy`.
    Replied {
        link: LinkId,
        generation: u32,
        number: u64,
        reply: Vec<u8>,
    },
    /// The connection to a node has ended.
    Broke { link: LinkId, generation: u32 },
    /// A command has had its time.
    Overdue {
        link: LinkId,
        generation: u32,
        number: u64,
    },
    /// Something reaches a worker.
    ToWorker(Delivery),
}

/// What a worker is to be told.
#[derive(Debug)]
pub struct Delivery {
    pub worker: usize,
    /// Which of the world's engines.
    pub owner: usize,
    pub stream: u32,
    pub what: StreamEvent,
}

#[derive(Debug)]
pub enum StreamEvent {
    Message(Vec<u8>),
    Closed(u32),
}

/// What an engine was told of the slots' owners, or that it was told something.
#[derive(Debug)]
struct KnownSlots {
    since: Micros,
    /// Of the cluster, then.
    version: u32,
    /// Calls with higher numbers were made later.
    tags: u64,
}

pub struct Network {
    clock: Clock,
    /// Set by the world before anything happens.
    pub now: Micros,
    pub settings: NetworkSettings,
    pub cluster: Cluster,
    pub journal: Journal,
    /// What is to happen, for the world to plan.
    pub planned: Vec<(Micros, NetworkEvent)>,
    rng: Rng,
    faults: Vec<Fault>,
    /// By number, from 1.
    streams: Vec<Stream>,
    /// By worker and shard.
    links: Vec<Link>,
    /// What frozen nodes were sent.
    inbox: Vec<(usize, NetworkEvent)>,
    /// What a failing shard's memory will be.
    replicas: Vec<(usize, Model)>,
    /// By engine: since when it knows the slots' owners, in which version of the cluster.
    known_slots: BTreeMap<usize, KnownSlots>,
    /// By engine and shard: when a probe was last answered well, and soon.
    probed: BTreeMap<(usize, usize), Micros>,
    /// The numbers that calls were given so far.
    tags: u64,
    rules: Rc<Rules>,
    other_rules: Rc<Rules>,
}

impl Network {
    pub fn new(settings: NetworkSettings, clock: Clock, rng: Rng) -> Network {
        let cluster = Cluster::new(clock, settings.shards);
        let workers = settings.envoys * settings.workers;
        let prefix = format!("{}:", settings.prefix);
        Network {
            clock,
            now: 0,
            links: (0..workers * cluster.nodes.len())
                .map(|_| Link::default())
                .collect(),
            cluster,
            journal: Journal::default(),
            planned: Vec::new(),
            rng,
            faults: Vec::new(),
            streams: Vec::new(),
            inbox: Vec::new(),
            replicas: Vec::new(),
            known_slots: BTreeMap::new(),
            probed: BTreeMap::new(),
            tags: 0,
            rules: Rc::new(Rules::new(&prefix, ACCEPTED)),
            other_rules: Rc::new(Rules::new(&prefix, &ACCEPTED[1..])),
            settings,
        }
    }

    pub fn handle(&mut self, event: NetworkEvent) -> Option<Delivery> {
        match event {
            NetworkEvent::AtGuard { stream } => self.at_guard(stream),
            NetworkEvent::AtNode { .. } => self.at_node(event),
            NetworkEvent::Replied {
                link,
                generation,
                number,
                reply,
            } => self.replied(link, generation, number, reply),
            NetworkEvent::Broke { link, generation } => self.broke(link, generation),
            NetworkEvent::Overdue {
                link,
                generation,
                number,
            } => {
                if self.link(link).waits_for(generation, number) {
                    self.broke(link, generation);
                }
            }
            NetworkEvent::ToWorker(delivery) => return Some(delivery),
        }
        None
    }

    /// Which worker thread an event happens in; `None`: in Redis.
    pub fn worker_of(&self, event: &NetworkEvent) -> Option<usize> {
        match event {
            NetworkEvent::AtGuard { stream } => Some(self.streams[*stream as usize - 1].worker),
            NetworkEvent::AtNode { .. } => None,
            NetworkEvent::Replied { link, .. }
            | NetworkEvent::Broke { link, .. }
            | NetworkEvent::Overdue { link, .. } => Some(link.worker),
            NetworkEvent::ToWorker(delivery) => Some(delivery.worker),
        }
    }

    /// Whether the worker is still to be told; if it is told of an end, nothing more comes on that stream.
    pub fn accept(&mut self, delivery: &Delivery) -> bool {
        let stream = self.stream(delivery.stream);
        let (open, version) = (!stream.closed, stream.version);
        if let StreamEvent::Message(message) = &delivery.what {
            stream.has_slot_owners = match message.first() {
                Some(b'*') => true,
                // An error, or the garbage of [`Fault::Garbage`].
                Some(b'-' | b'H') => false,
                _ => stream.has_slot_owners,
            };
        }
        let learns = open && stream.has_slot_owners;
        stream.closed |= matches!(delivery.what, StreamEvent::Closed(_));
        if learns {
            let known = KnownSlots {
                since: self.now,
                version,
                tags: self.tags,
            };
            self.known_slots.insert(delivery.owner, known);
        }
        open
    }

    fn stream(&mut self, id: u32) -> &mut Stream {
        &mut self.streams[id as usize - 1]
    }

    fn link(&mut self, id: LinkId) -> &mut Link {
        let shards = self.cluster.nodes.len();
        &mut self.links[id.worker * shards + id.shard]
    }

    fn envoy_of(&self, worker: usize) -> usize {
        worker / self.settings.workers
    }

    /// Whether such a fault holds for the worker's Envoy.
    fn has_fault(&self, worker: usize, is: impl Fn(&Fault) -> Option<Target>) -> bool {
        let envoy = self.envoy_of(worker);
        self.faults.iter().filter_map(is).any(|which| which.has(envoy))
    }

    fn is_down(&self, shard: usize) -> bool {
        self.faults.iter().any(|fault| match fault {
            Fault::Down { shard: which, .. } => which.has(shard),
            Fault::Failover { shard: one, .. } => *one == shard,
            _ => false,
        })
    }

    fn is_frozen(&self, shard: usize) -> bool {
        let freezes = |fault: &Fault| matches!(fault, Fault::Frozen { shard: which } if which.has(shard));
        self.faults.iter().any(freezes)
    }

    fn hop(&mut self) -> Micros {
        self.rng.u64(..=self.settings.hop)
    }

    /// One way between `redis_proxy` and a node.
    fn way(&mut self, shard: usize) -> Micros {
        let (least, most) = self.settings.way;
        let extra = self.faults.iter().map(|fault| match fault {
            Fault::Latency { shard: which, extra } if which.has(shard) => *extra,
            _ => 0,
        });
        least + extra.sum::<Micros>() + self.rng.u64(..=most - least)
    }

    /// Whether a command is lost on its way to the shard (`before`) or its reply is.
    fn loses(&mut self, shard: usize, before: bool) -> bool {
        let percent = |fault: &Fault| match fault {
            Fault::Loss {
                shard: which,
                percent,
                before: is,
            } if which.has(shard) && *is == before => Some(*percent),
            _ => None,
        };
        let percent = self.faults.iter().find_map(percent).unwrap_or(0);
        percent > 0 && self.rng.u64(..100) < percent
    }

    fn at_node(&mut self, event: NetworkEvent) {
        let NetworkEvent::AtNode {
            link,
            generation,
            number,
            ref command,
        } = event
        else {
            return;
        };
        let shard = link.shard;
        if self.is_down(shard) {
            return;
        }
        if self.is_frozen(shard) {
            return self.inbox.push((shard, event));
        }
        // The connection is no more. What was under way on it may be executed, or not.
        if self.link(link).is_over(generation) && self.rng.bool() {
            return;
        }
        if self.link(link).silent || self.loses(shard, true) {
            return self.link(link).falls_silent(generation);
        }
        if let (Command::ClusterSlots, Some(place)) = (command, self.link(link).place_of(number)) {
            let version = self.cluster.version;
            self.stream(place.stream).version = version;
        }
        let reply = self
            .cluster
            .execute(self.now, shard, command, &self.faults, &mut self.journal);
        if self.loses(shard, false) {
            return self.link(link).falls_silent(generation);
        }
        let at = self.now + self.way(shard);
        let at = self.link(link).returns(at);
        self.plan(
            at,
            NetworkEvent::Replied {
                link,
                generation,
                number,
                reply,
            },
        );
    }
}

/// `op_timeout` as the shipped configurations have it.
pub const OP_TIMEOUT: Micros = 200 * MS;

/// All slots, for faults that are about some.
pub const LAST_SLOT: u16 = HashSlot::COUNT - 1;
