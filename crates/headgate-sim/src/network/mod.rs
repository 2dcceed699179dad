//! The simulated transport between the streams of a worker and Redis: the listener of the Redis call, `redis_proxy` and
//! the nodes.
//!
//! # Layout
//! - [`transport`]: runs the real streams of `redis-call` on this network, and checks each call.
//! - [`proxy`]: the guard and `redis_proxy`. [`stream`] is the side of a worker, [`link`] the side of the nodes.
//! - [`cluster`]: the Redis nodes and their slots.
//! - [`slot_owners`]: which engines know the owners of the slots.
//! - [`faults`], [`replies`], [`journal`], [`display`]: start and end of faults, the way back to the workers, the
//!   record for the invariants, and texts.
//!
//! This file moves commands to the nodes.
//!
//! Modelled after Envoy and Redis: the replies on a stream have the order of its commands. Each worker has one connection
//! to each node, which executes and answers commands in order. A command that has no reply within `op_timeout` ends that
//! connection, and all commands on it fail. A frozen node executes the received commands when it continues.

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

/// The fixed properties of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkSettings {
    /// The number of Envoys.
    pub envoys: usize,
    /// Worker threads of each Envoy.
    pub workers: usize,
    /// Shards of the Redis Cluster. 0: a single Redis without cluster support.
    pub shards: usize,
    /// Whether `redis_proxy` supports `CLUSTER SLOTS`, as Envoy 1.37 and later do.
    pub discovery: bool,
    /// The maximum delay of a message within an Envoy, in µs.
    pub hop: Micros,
    /// The minimum and maximum delay of one direction between `redis_proxy` and a node, in µs.
    pub latency: (Micros, Micros),
    /// How long an engine uses a stream, in µs. Up to a quarter is added at random.
    pub stream_life: Micros,
    /// `op_timeout` of `redis_proxy`, in µs.
    pub op_timeout: Micros,
    /// The key prefix, without its colon.
    pub prefix: String,
}

/// An event that the network plans for itself.
#[derive(Debug)]
pub enum NetworkEvent {
    /// A message arrives at the guard.
    AtGuard {
        /// The number of the stream.
        stream: u32,
    },
    /// A command arrives at its node.
    AtNode {
        /// The connection.
        link: LinkId,
        /// Its generation.
        generation: u32,
        /// The number of the command on this connection.
        number: u64,
        /// The command.
        command: Command,
    },
    /// A reply arrives at `redis_proxy`.
    Replied {
        /// The connection.
        link: LinkId,
        /// Its generation.
        generation: u32,
        /// The number of the command on this connection.
        number: u64,
        /// The reply, in RESP.
        reply: Vec<u8>,
    },
    /// The connection to a node has ended.
    Broke {
        /// The connection.
        link: LinkId,
        /// Its generation.
        generation: u32,
    },
    /// The `op_timeout` of a command has passed.
    Overdue {
        /// The connection.
        link: LinkId,
        /// Its generation.
        generation: u32,
        /// The number of the command on this connection.
        number: u64,
    },
    /// An event of a stream arrives at a worker.
    ToWorker(Delivery),
}

/// An event of a stream on its way to a worker.
#[derive(Debug)]
pub struct Delivery {
    /// The index of the worker thread.
    pub worker: usize,
    /// The index of the engine that opened the stream.
    pub owner: usize,
    /// The number of the stream.
    pub stream: u32,
    /// The event.
    pub what: StreamEvent,
}

#[derive(Debug)]
/// An event of a stream, as the worker gets it.
pub enum StreamEvent {
    /// A message arrives.
    Message(Vec<u8>),
    /// The stream has ended with this gRPC status.
    Closed(u32),
}

/// When an engine learned the owners of the slots.
#[derive(Debug)]
struct KnownSlots {
    since: Micros,
    /// The version of the cluster at that time.
    version: u32,
    /// The last call number before that time.
    tags: u64,
}

/// The network between the workers and the Redis nodes, and the nodes.
pub struct Network {
    clock: Clock,
    /// The current time. The world sets it before each event.
    pub now: Micros,
    /// The fixed properties.
    pub settings: NetworkSettings,
    /// The Redis nodes.
    pub cluster: Cluster,
    /// The record for the invariants.
    pub journal: Journal,
    /// New events, which the world moves into its queue.
    pub planned: Vec<(Micros, NetworkEvent)>,
    rng: Rng,
    faults: Vec<Fault>,
    /// By number, from 1.
    streams: Vec<Stream>,
    /// By worker and shard.
    links: Vec<Link>,
    /// Commands that frozen nodes have received, by shard.
    inbox: Vec<(usize, NetworkEvent)>,
    /// The memory of the replica that takes over, by failing shard.
    replicas: Vec<(usize, Model)>,
    /// By engine.
    known_slots: BTreeMap<usize, KnownSlots>,
    /// By engine and shard: the time of the last probe with a timely reply.
    probed: BTreeMap<(usize, usize), Micros>,
    /// The number of calls so far. Calls are numbered from 1.
    tags: u64,
    rules: Rc<Rules>,
    other_rules: Rc<Rules>,
}

impl Network {
    /// A network with the nodes of its settings, at time 0.
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

    /// Handles an event. Returns the delivery to a worker, if the event is one.
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

    /// The worker thread that handles the event; `None`: Redis does.
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

    /// Whether the worker still gets this event. After the end of a stream, it gets no further event of it.
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

    /// Whether a fault of this kind is active for the worker's Envoy.
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

    /// A random delay of one direction between `redis_proxy` and a node.
    fn latency(&mut self, shard: usize) -> Micros {
        let (least, most) = self.settings.latency;
        let extra = self.faults.iter().map(|fault| match fault {
            Fault::Latency { shard: which, extra } if which.has(shard) => *extra,
            _ => 0,
        });
        least + extra.sum::<Micros>() + self.rng.u64(..=most - least)
    }

    /// Whether the command to the shard (`before`) or its reply is lost.
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
        // The connection has ended. Redis may or may not execute the commands that were on it.
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
        let at = self.now + self.latency(shard);
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

/// `op_timeout` of the shipped configurations, in µs.
pub const OP_TIMEOUT: Micros = 200 * MS;

/// The highest slot of Redis Cluster.
pub const LAST_SLOT: u16 = HashSlot::COUNT - 1;
