//! The interface between a filter and its transport to Redis: one trait, an implementation for each transport.
//!
//! A call is one command. It is sent at once or refused at once; its reply comes later, by its id, through whatever
//! event the transport hears. Nothing here waits: deadlines belong to the caller.

use crate::notice::Notice;
use crate::resp::{self, Value};
use crate::HashSlot;
use std::fmt;
use std::time::Instant;

/// One call, and the hash slot that decides to which shard it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    slot: HashSlot,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// A call of the transport's script, whole but for the command's name and the script.
    Script {
        /// How many RESP bulk strings `tail` holds.
        parts: usize,
        tail: Vec<u8>,
    },
    /// A whole command, in RESP.
    Command(Vec<u8>),
}

impl Call {
    /// A call of the transport's script ([`Settings::script`](crate::Settings::script)): `EVALSHA`, or `EVAL` where a
    /// node does not know the script. `tail` holds the number of keys, the keys and the arguments as `parts` RESP bulk
    /// strings ([`resp::bulk`]); `slot` is the keys'.
    pub fn script(slot: HashSlot, parts: usize, tail: Vec<u8>) -> Call {
        Call {
            slot,
            form: Form::Script { parts, tail },
        }
    }

    /// A plain command with its arguments, on a key.
    ///
    /// ```
    /// use redis_call::{Call, HashSlot};
    /// let call = Call::command(b"visits", &[b"INCR", b"visits"]);
    /// assert_eq!(call.slot(), HashSlot::of(b"visits"));
    /// ```
    pub fn command(key: &[u8], args: &[&[u8]]) -> Call {
        let mut command = Vec::new();
        resp::command(&mut command, args);
        Call {
            slot: HashSlot::of(key),
            form: Form::Command(command),
        }
    }

    pub fn slot(&self) -> HashSlot {
        self.slot
    }

    /// The same call of the script with one more argument behind the others. Where the script does not read it, it does
    /// what it did: tests know a call by it again, wherever it goes.
    pub fn and_argument(mut self, argument: &[u8]) -> Call {
        if let Form::Script { parts, tail } = &mut self.form {
            *parts += 1;
            resp::bulk(tail, argument);
        }
        self
    }

    pub(crate) fn is_script(&self) -> bool {
        matches!(self.form, Form::Script { .. })
    }

    /// Whether it is exactly one command.
    #[cfg(feature = "higress")]
    pub(crate) fn is_one_command(&self) -> bool {
        match &self.form {
            Form::Script { parts, tail } => resp::one::bulks(tail) == Some(*parts),
            Form::Command(_) => true,
        }
    }

    /// Appends the command; a script call is made by `name`, of `script` (a body or its SHA-1).
    pub(crate) fn encode(&self, name: &str, script: &str, out: &mut Vec<u8>) {
        match &self.form {
            Form::Script { parts, tail } => {
                resp::array(out, parts + 2);
                resp::bulk(out, name.as_bytes());
                resp::bulk(out, script.as_bytes());
                out.extend_from_slice(tail);
            }
            Form::Command(command) => out.extend_from_slice(command),
        }
    }
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
    pub fn as_str(self) -> &'static str {
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

impl std::error::Error for CallError {}

/// A call that has ended, and the call itself, should it be sent again.
#[derive(Debug, PartialEq)]
pub struct Completed<Id> {
    pub id: Id,
    pub call: Call,
    /// Redis's reply, error replies included.
    pub reply: Result<Value, CallError>,
}

/// Figures of a transport that are read at any time: gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    pub streams_open: usize,
    pub calls_in_flight: usize,
    /// Shards to which no calls are sent.
    pub breakers_open: usize,
}

/// A transport to Redis. `Id` identifies calls: it is given with a call and comes back with its end. It should not be
/// used again, so that the reply to a forgotten call reaches no other caller.
pub trait RedisCall<Id> {
    /// Sends `call`, or keeps it to be sent before `deadline` while a connection is being opened. An `Err` is final:
    /// nothing was or will be sent.
    fn call(&mut self, now: Instant, deadline: Instant, id: Id, call: Call) -> Result<(), CallError>;

    /// The caller of a call to `slot`, made at `since`, waits no longer for its reply.
    fn timed_out(&mut self, now: Instant, since: Instant, slot: HashSlot);

    /// The same for a call that was under way while the worker itself stood still.
    fn timed_out_in_stall(&mut self, _now: Instant, _since: Instant, _slot: HashSlot) {}

    /// When the transport wants [`RedisCall::on_tick`] next; `None`: not until something else happens.
    fn wakeup(&self) -> Option<Instant>;

    /// Opens and mends connections. Calls that ended meanwhile are appended to `completed`.
    fn on_tick(&mut self, now: Instant, completed: &mut Vec<Completed<Id>>);

    /// Calls under way, those included whose callers have gone.
    fn in_flight(&self) -> usize;

    /// Its figures now.
    fn gauges(&self) -> Gauges;

    /// What is worth a log line, oldest first. To be asked after each event until there is none.
    fn poll_notice(&mut self) -> Option<Notice>;
}
