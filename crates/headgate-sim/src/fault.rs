//! What can go wrong in a world, and when.

use crate::time::Micros;
use std::fmt;

/// A fault and the time in which it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedFault {
    pub from: Micros,
    /// For a fault that is a moment, as `from`.
    pub until: Micros,
    pub fault: Fault,
}

/// Which shards a fault is about, or which Envoys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    All,
    /// By index, from 0.
    One(usize),
}

impl Target {
    pub fn has(self, index: usize) -> bool {
        match self {
            Target::All => true,
            Target::One(one) => one == index,
        }
    }
}

/// One kind of fault. Shards and Envoys are named by index; an index that does not exist is no fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The node is not running. It comes back without its scripts and, where `loses`, without its memory.
    Down { shard: Target, loses: bool },
    /// The node does nothing, as after SIGSTOP. It then executes what was sent to it.
    Frozen { shard: Target },
    /// As `Down`, and a replica takes over: another node, whose memory is `lag` old and whose clock differs by
    /// `clock_us`.
    Failover {
        shard: usize,
        lag: Micros,
        clock_us: i64,
    },
    /// Each way takes so much longer.
    Latency { shard: Target, extra: Micros },
    /// So many in 100 commands get no reply: they are lost on their way (`before`), or the reply is.
    Loss {
        shard: Target,
        percent: u64,
        before: bool,
    },
    /// The node answers with this error; where `writes`, only to what would write.
    Error {
        shard: Target,
        text: &'static str,
        writes: bool,
    },
    /// A moment: the node forgets its scripts.
    ScriptFlush { shard: Target },
    /// These slots move to this shard, and are its own in the end. Meanwhile, calls with several keys are answered with
    /// TRYAGAIN.
    Moving { first: u16, last: u16, to: usize },
    /// A moment: the node's clock is set by so much.
    ClockStep { shard: Target, by_us: i64 },
    /// A moment: the streams of the Envoy end with this gRPC status.
    BreakStreams { envoy: Target, status: u32 },
    /// A moment: something that is no reply comes on each stream of the Envoy.
    Garbage { envoy: Target },
    /// The host opens no stream.
    NoStreams { envoy: Target },
    /// Streams that are opened end at once, with gRPC status 14.
    StreamsDie { envoy: Target },
    /// What is sent on an open stream is refused: the stream is gone, and no event said so.
    SendFails { envoy: Target },
    /// Streams on which something is sent go dead: what is sent reaches nobody, then and later.
    Mute { envoy: Target },
    /// `redis_proxy` knows no node.
    NoHost { envoy: Target },
    /// `redis_proxy` reaches no node.
    UpstreamFailure { envoy: Target },
    /// The guard is of another release, and refuses the script.
    GuardRefuses { envoy: Target },
    /// A moment: the guard in front of streams that are open is of another release from now on, as those of a listener
    /// that is replaced. New streams meet the right one.
    OldGuard { envoy: Target },
    /// The worker of the Envoy does nothing: its machine stalls, or its loop is full.
    Stall { envoy: Target, worker: Target },
    /// A moment: the Envoy is given a new configuration. The engines of the old one serve their requests to the end, or
    /// are lost at once.
    Reconfigure { envoy: Target, loses: bool },
}

impl Fault {
    /// Whether it happens at one moment, after which nothing has to end.
    pub fn is_moment(&self) -> bool {
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
