//! The faults of a world, and their times.

use crate::time::Micros;
use std::fmt;

/// A fault and the time span in which it is active.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedFault {
    /// The start, in µs since the start of the world.
    pub from: Micros,
    /// The end, in µs since the start. Equal to `from` for an instantaneous fault.
    pub until: Micros,
    /// The fault.
    pub fault: Fault,
}

/// The shards, Envoys or workers that a fault affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// All of them.
    All,
    /// By index, from 0.
    One(usize),
}

impl Target {
    /// Whether the index belongs to the target.
    pub fn has(self, index: usize) -> bool {
        match self {
            Target::All => true,
            Target::One(one) => one == index,
        }
    }
}

/// A fault. Shards, Envoys and workers are identified by index from 0. An index that does not exist has no effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The node is not running. It restarts without its scripts and, if `loses`, without its memory.
    Down {
        /// The affected shards.
        shard: Target,
        /// Whether the node restarts without its memory.
        loses: bool,
    },
    /// The node does nothing, as after SIGSTOP. At the end it executes the commands that it received meanwhile.
    Frozen {
        /// The affected shards.
        shard: Target,
    },
    /// As `Down`, and a replica takes over at the end: another node with the memory of `lag` before the fault, and with
    /// a clock that differs by `clock_us`.
    Failover {
        /// The affected shard.
        shard: usize,
        /// How old the replica's memory is at the start of the fault, in µs.
        lag: Micros,
        /// The difference between the clocks of the replica and the master, in µs.
        clock_us: i64,
    },
    /// Each direction takes this much longer.
    Latency {
        /// The affected shards.
        shard: Target,
        /// The additional delay of each direction, in µs.
        extra: Micros,
    },
    /// A percentage of the commands gets no reply: the command is lost (`before`), or its reply is.
    Loss {
        /// The affected shards.
        shard: Target,
        /// The percentage of lost commands or replies, 0 to 100.
        percent: u64,
        /// Whether commands are lost, and not replies.
        before: bool,
    },
    /// The node returns this error; if `writes`, only to commands that write.
    Error {
        /// The affected shards.
        shard: Target,
        /// The error, without `-` and line end.
        text: &'static str,
        /// Whether only commands that write get the error.
        writes: bool,
    },
    /// Instantaneous: the node drops its cached scripts, as after `SCRIPT FLUSH`.
    ScriptFlush {
        /// The affected shards.
        shard: Target,
    },
    /// These slots move to this shard, which owns them at the end. Meanwhile calls with several keys get the error
    /// TRYAGAIN.
    Moving {
        /// The first slot.
        first: u16,
        /// The last slot.
        last: u16,
        /// The new owner.
        to: usize,
    },
    /// Instantaneous: the node's clock jumps by this much.
    ClockStep {
        /// The affected shards.
        shard: Target,
        /// The difference between the new and the old time, in µs.
        by_us: i64,
    },
    /// Instantaneous: the open streams of the Envoy end with this gRPC status.
    BreakStreams {
        /// The affected Envoys.
        envoy: Target,
        /// The gRPC status.
        status: u32,
    },
    /// Instantaneous: bytes that are not RESP arrive on each open stream of the Envoy.
    Garbage {
        /// The affected Envoys.
        envoy: Target,
    },
    /// The host refuses to open streams.
    NoStreams {
        /// The affected Envoys.
        envoy: Target,
    },
    /// New streams end immediately, with gRPC status 14.
    StreamsDie {
        /// The affected Envoys.
        envoy: Target,
    },
    /// The host refuses messages on open streams: the stream has ended without an event.
    SendFails {
        /// The affected Envoys.
        envoy: Target,
    },
    /// Streams on which a message is sent lose it and all further messages, without an error.
    Mute {
        /// The affected Envoys.
        envoy: Target,
    },
    /// `redis_proxy` has no node yet and answers `no upstream host`.
    NoHost {
        /// The affected Envoys.
        envoy: Target,
    },
    /// `redis_proxy` cannot connect to any node and answers `upstream failure`.
    UpstreamFailure {
        /// The affected Envoys.
        envoy: Target,
    },
    /// The guard is of another release and refuses the current script.
    GuardRefuses {
        /// The affected Envoys.
        envoy: Target,
    },
    /// Instantaneous: the guard of the open streams is of another release from now on, as with the draining connections
    /// of a listener that is replaced. New streams get the right guard.
    OldGuard {
        /// The affected Envoys.
        envoy: Target,
    },
    /// The worker thread of the Envoy does nothing: the machine stalls, or the event loop is busy.
    Stall {
        /// The affected Envoys.
        envoy: Target,
        /// The affected workers of these Envoys.
        worker: Target,
    },
    /// Instantaneous: the Envoy gets a new configuration. The engines of the old configuration finish their requests
    /// or, if `loses`, are lost at once.
    Reconfigure {
        /// The affected Envoys.
        envoy: Target,
        /// Whether the old engines are lost at once.
        loses: bool,
    },
}

impl Fault {
    /// Whether the fault is instantaneous, so that it has no end.
    pub fn is_instantaneous(&self) -> bool {
        matches!(
            self,
            Fault::ScriptFlush { .. }
                | Fault::ClockStep { .. }
                | Fault::BreakStreams { .. }
                | Fault::Garbage { .. }
                | Fault::OldGuard { .. }
                | Fault::Reconfigure { .. }
        )
    }
}

impl fmt::Display for PlannedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |at: Micros| at as f64 / 1e6;
        write!(f, "{:?} at {:.3} s", self.fault, seconds(self.from))?;
        match self.until > self.from {
            true => write!(f, " to {:.3} s", seconds(self.until)),
            false => Ok(()),
        }
    }
}
