//! One call in flight, for any transport: its purpose, how often it was sent, and its encoding.

use super::backoff;
use super::{resp, Call, CallError, HashSlot};
use crate::guard;
use crate::resp::Value;
use crate::settings::Script;
use std::time::Instant;

/// How often a call is sent at most if each node answers that it does not know the script.
const MAX_SENDS: u8 = 4;

/// The SHA-1 that probes use: no node knows a script with this name, so nothing is executed.
pub const UNKNOWN_SHA1: &str = "0000000000000000000000000000000000000000";

/// Calls and probes that have ended, in the order of their replies.
pub(super) type Finished<Id> = Vec<(Pending<Id>, Result<Value, CallError>)>;

/// Why a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose<Id> {
    /// A call of the filter; its end is reported with this id.
    Call(Id),
    /// A check whether the shard answers: a call of a script that no node knows.
    Probe,
}

pub(super) struct Pending<Id> {
    /// When it was queued or sent.
    pub since: Instant,
    pub deadline: Instant,
    pub purpose: Purpose<Id>,
    pub call: Call,
    pub with_body: bool,
    pub sends: u8,
}

impl<Id> Pending<Id> {
    pub fn new(now: Instant, deadline: Instant, purpose: Purpose<Id>, call: Call) -> Self {
        Pending {
            since: now,
            deadline,
            purpose,
            call,
            with_body: false,
            sends: 0,
        }
    }

    /// Whether to send the call again: the node does not know the script, and the deadline has not passed.
    pub fn is_to_be_repeated(&self, now: Instant, reply: &Value) -> bool {
        let call = matches!(self.purpose, Purpose::Call(_)) && self.call.is_script();
        call && is_noscript(reply) && self.deadline > now && self.sends < MAX_SENDS
    }

    /// Whether to send the call on another stream: the guard refused it, nothing was counted, and there is time left. This
    /// happens while Envoy is upgraded and the guard is of another release.
    pub fn is_to_be_sent_elsewhere(&self, now: Instant, reply: &Value) -> bool {
        let call = matches!(self.purpose, Purpose::Call(_));
        call && self.deadline > now + backoff::FIRST && is_refusal(reply)
    }

    /// The same call, as if it had not been sent yet.
    pub fn unsent(self, now: Instant) -> Self {
        Pending::new(now, self.deadline, self.purpose, self.call)
    }

    /// Appends the command.
    pub fn encode(&self, script: &Script, out: &mut Vec<u8>) {
        let (name, script) = match (&self.purpose, self.with_body) {
            (Purpose::Probe, _) => ("EVALSHA", UNKNOWN_SHA1),
            (Purpose::Call(_), true) => ("EVAL", script.body),
            (Purpose::Call(_), false) => ("EVALSHA", script.sha1_hex),
        };
        self.call.encode(name, script, out);
    }
}

/// The call of a probe on a key. It executes and stores nothing; the reply NOSCRIPT shows that the node answers.
pub(super) fn probe(key: &str) -> Call {
    let mut tail = Vec::new();
    resp::bulk(&mut tail, b"1");
    resp::bulk(&mut tail, key.as_bytes());
    Call::script(HashSlot::of(key.as_bytes()), 2, tail)
}

pub(super) fn is_noscript(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text.starts_with(b"NOSCRIPT"))
}

/// Whether the reply is the guard's error for a command that may not reach Redis.
pub(super) fn is_refusal(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if guard::is_refusal(text))
}
