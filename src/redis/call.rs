//! The seam between counting and the road to Redis: one trait, an implementation for each transport.
//!
//! A call is one script call. It is sent at once or refused at once; its reply comes later, by token, through
//! whatever event the transport hears. Nothing here waits: deadlines belong to the one who called.

use crate::redis::resp::Value;
use crate::redis::HashSlot;
use std::fmt;
use std::time::Instant;

/// Tells calls apart. A token is never used again, so that the reply to a forgotten call finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallToken {
    /// The request that waits.
    pub request: u64,
    /// Which of its calls: one for each hash tag.
    pub part: u16,
}

/// One call of the counting script, whole but for the command's name: that is `EVALSHA`, or `EVAL` where a node
/// does not know the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptCall {
    pub slot: HashSlot,
    /// How many RESP bulk strings `tail` holds.
    pub parts: usize,
    /// Number of keys, keys and arguments, in RESP.
    pub tail: Vec<u8>,
}

/// Why a caller has none, in words: the log's and the circuit breaker's.
pub const NO_REPLY: &str = "no reply within redis.timeout";

/// Why a call has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallError {
    /// More calls are under way than `redis.max_in_flight` allows; nothing was sent.
    TooManyInFlight,
    /// There is no connection now, nor could one be had before the deadline; nothing was sent.
    Unavailable,
    /// The same, and the host refuses to open one: it does not know the cluster.
    NoCluster,
    /// Envoy does not know the nodes of Redis yet, as in the first seconds after its start; nothing was sent, and the
    /// call may be sent again.
    TooEarly,
    /// The shard has failed again and again, or has been silent; nothing was sent, and nothing will be until it
    /// answers again.
    BreakerOpen,
    /// The connection broke with the call under way: it may have been charged.
    Lost,
    /// The same, and the host says with which gRPC status.
    Closed(u32),
    /// Redis answered what is no reply to this call.
    Unintelligible,
}

impl CallError {
    /// Its name in metrics.
    pub fn word(self) -> &'static str {
        match self {
            CallError::TooManyInFlight => "too_many_in_flight",
            CallError::Unavailable | CallError::NoCluster => "unavailable",
            CallError::TooEarly => "error",
            CallError::BreakerOpen => "breaker_open",
            CallError::Lost | CallError::Closed(_) => "lost",
            CallError::Unintelligible => "unintelligible",
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            CallError::TooManyInFlight => "more calls are under way than redis.max_in_flight allows",
            CallError::Unavailable => "no stream to the cluster of the Redis call",
            CallError::NoCluster => "Envoy opens no stream to the cluster of the Redis call",
            CallError::TooEarly => "redis_proxy answers \"no upstream host\", since the start",
            CallError::BreakerOpen => "circuit breaker open",
            CallError::Lost => "the stream to the cluster of the Redis call broke",
            CallError::Closed(status) => {
                return write!(
                    f,
                    "the stream to the cluster of the Redis call was closed with gRPC status {status}"
                )
            }
            CallError::Unintelligible => "the reply is none to this call",
        };
        f.write_str(words)
    }
}

/// A call that has ended, and the call itself, should it be sent again.
#[derive(Debug, PartialEq)]
pub struct Completed {
    pub token: CallToken,
    pub call: ScriptCall,
    /// Redis's reply, error replies included.
    pub reply: Result<Value, CallError>,
}

/// A road to Redis.
pub trait RedisCall {
    /// Sends `call`, or keeps it to be sent before `deadline` while a connection is being opened. An `Err` is final:
    /// nothing was or will be sent.
    fn call(
        &mut self,
        now: Instant,
        deadline: Instant,
        token: CallToken,
        call: ScriptCall,
    ) -> Result<(), CallError>;

    /// The caller of a call to `slot`, made at `since`, waits no longer for its reply.
    fn timed_out(&mut self, now: Instant, since: Instant, slot: HashSlot);

    /// The same for a call that was under way while the worker itself stood still.
    fn timed_out_in_stall(&mut self, _now: Instant, _since: Instant, _slot: HashSlot) {}

    /// When the transport wants [`RedisCall::on_tick`] next; `None`: not until something else happens.
    fn wakeup(&self) -> Option<Instant>;

    /// Opens and mends connections. Calls that ended meanwhile are appended to `completed`.
    fn on_tick(&mut self, now: Instant, completed: &mut Vec<Completed>);

    /// Calls under way, those included whose callers have gone.
    fn in_flight(&self) -> usize;
}
