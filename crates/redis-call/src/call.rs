//! The interface between a filter and its transport to Redis: one trait, with one implementation per transport.
//!
//! A call is one command. It is accepted or refused at once. Its reply is returned later, with the call's id, by the
//! method that handles the transport's event. Nothing here blocks, and the caller enforces the deadlines.

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
    /// A call of the transport's script, without the command's name and the script itself.
    Script {
        /// How many RESP bulk strings `tail` holds.
        parts: usize,
        tail: Vec<u8>,
    },
    /// A complete command in RESP.
    Command(Vec<u8>),
}

impl Call {
    /// A call of the transport's script ([`Settings::script`](crate::Settings::script)): `EVALSHA`, or `EVAL` where a
    /// node does not know the script. `tail` holds the number of keys, the keys and the arguments as `parts` RESP bulk
    /// strings ([`resp::bulk`]); `slot` is the hash slot of the keys.
    pub fn script(slot: HashSlot, parts: usize, tail: Vec<u8>) -> Call {
        Call {
            slot,
            form: Form::Script { parts, tail },
        }
    }

    /// A plain command: `args` are its name and its arguments, `key` is the key that selects the shard.
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

    /// The hash slot that selects the shard.
    pub fn slot(&self) -> HashSlot {
        self.slot
    }

    /// The same script call with one more argument at the end; a plain command is unchanged. A script ignores arguments
    /// that it does not read, so tests use one to identify a call.
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

    /// Whether the call encodes to exactly one command.
    #[cfg(feature = "higress")]
    pub(crate) fn is_one_command(&self) -> bool {
        match &self.form {
            Form::Script { parts, tail } => resp::one::bulks(tail) == Some(*parts),
            Form::Command(_) => true,
        }
    }

    /// Appends the command to `out`. For a script call, `name` is `EVAL` or `EVALSHA`, and `script` is the body or its
    /// SHA-1.
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

/// The text for a timeout in log lines.
pub const NO_REPLY: &str = "timeout: no reply within redis.timeout";

/// Why a call has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallError {
    /// More calls are in flight than `redis.max_in_flight` allows. Nothing was sent.
    TooManyInFlight,
    /// No connection is open, and none could be opened before the deadline. Nothing was sent.
    Unavailable,
    /// Like [`CallError::Unavailable`]; the host refuses to open a stream because it does not know the cluster.
    NoCluster,
    /// Envoy does not know the Redis nodes yet, which can happen in the first seconds after its start. Nothing was sent,
    /// and the call may be sent again.
    TooEarly,
    /// The circuit breaker of the shard is open. Nothing was sent; nothing will be sent until the shard answers a probe.
    BreakerOpen,
    /// The connection broke while the call was in flight. Redis may have executed it.
    Lost,
    /// Like [`CallError::Lost`], with the gRPC status that the host reports.
    Closed(u32),
    /// The bytes that came back are not a reply to this call.
    Unintelligible,
}

impl CallError {
    /// The value of the metric label.
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
            CallError::TooManyInFlight => "more calls are in flight than redis.max_in_flight allows",
            CallError::Unavailable => "no stream to the cluster of the Redis call",
            CallError::NoCluster => "Envoy opens no stream to the cluster of the Redis call",
            CallError::TooEarly => "redis_proxy has answered \"no upstream host\" since Envoy started",
            CallError::BreakerOpen => "circuit breaker open",
            CallError::Lost => "the stream to the cluster of the Redis call broke",
            CallError::Closed(status) => {
                return write!(
                    f,
                    "the stream to the cluster of the Redis call was closed with gRPC status {status}"
                )
            }
            CallError::Unintelligible => "invalid reply: it does not belong to this call",
        };
        f.write_str(words)
    }
}

impl std::error::Error for CallError {}

/// A call that has ended.
#[derive(Debug, PartialEq)]
pub struct Completed<Id> {
    /// The id that was passed with the call.
    pub id: Id,
    /// The call itself, so that it can be sent again.
    pub call: Call,
    /// The reply of Redis, including error replies.
    pub reply: Result<Value, CallError>,
}

/// The current state of a transport, for gauge metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Open connections for calls.
    pub streams_open: usize,
    /// Calls that have not ended, including those whose callers no longer wait.
    pub calls_in_flight: usize,
    /// Shards whose circuit breaker is open.
    pub breakers_open: usize,
}

/// A transport to Redis. `Id` identifies a call and is returned when the call ends. Do not use an id twice: a late reply
/// must not reach another caller.
pub trait RedisCall<Id> {
    /// Sends `call`, or queues it until `deadline` while a connection is being opened.
    ///
    /// # Errors
    /// The call has ended: it was not sent and will not be.
    fn call(&mut self, now: Instant, deadline: Instant, id: Id, call: Call) -> Result<(), CallError>;

    /// The caller no longer waits for the reply to a call to `slot` that was made at `since`.
    fn timed_out(&mut self, now: Instant, since: Instant, slot: HashSlot);

    /// Like [`RedisCall::timed_out`], for a call that was in flight while the worker itself was blocked.
    fn timed_out_in_stall(&mut self, _now: Instant, _since: Instant, _slot: HashSlot) {}

    /// When the transport needs the next [`RedisCall::on_tick`]; `None`: not before another event.
    fn wakeup(&self) -> Option<Instant>;

    /// Opens and replaces connections. Appends the calls that have ended to `completed`.
    fn on_tick(&mut self, now: Instant, completed: &mut Vec<Completed<Id>>);

    /// Calls that have not ended, including those whose callers no longer wait.
    fn in_flight(&self) -> usize;

    /// The current state, for metrics.
    fn gauges(&self) -> Gauges;

    /// The oldest notice that has not been returned yet. Call it after each event until it returns `None`.
    fn poll_notice(&mut self) -> Option<Notice>;
}
