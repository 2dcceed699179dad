//! One call under way, whatever its transport: why it is made, how often it was sent, and what is sent.

use super::backoff;
use super::{resp, Call, CallError, HashSlot};
use crate::guard::REFUSED_PREFIX;
use crate::resp::Value;
use crate::settings::Script;
use std::time::Instant;

/// A call that meets so many nodes in a row without the script is given up.
const MAX_SENDS: u8 = 4;

/// The name of a script that no node knows, and by which probes call none.
pub const UNKNOWN_SHA1: &str = "0000000000000000000000000000000000000000";

/// Calls that have come to an end, in the order of their replies.
pub(super) type Finished<Id> = Vec<(Pending<Id>, Result<Value, CallError>)>;

/// Why a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose<Id> {
    /// Its end is reported by this id.
    Call(Id),
    /// To see whether the shard answers; calls a script that no node knows.
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

    /// Whether the reply says no more than that the node does not know the script, and there is time to tell it.
    pub fn is_to_be_repeated(&self, now: Instant, reply: &Value) -> bool {
        let call = matches!(self.purpose, Purpose::Call(_)) && self.call.is_script();
        call && is_noscript(reply) && self.deadline > now && self.sends < MAX_SENDS
    }

    /// Whether the guard refused the call and there is time to try elsewhere: nothing was counted, and the guard is
    /// another release's, as while Envoy is given a new one.
    pub fn is_to_be_sent_elsewhere(&self, now: Instant, reply: &Value) -> bool {
        let call = matches!(self.purpose, Purpose::Call(_));
        call && self.deadline > now + backoff::FIRST && is_refusal(reply)
    }

    /// The same call as if it had not been sent yet.
    pub fn anew(self, now: Instant) -> Self {
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

/// The call of a probe on a key: nothing is run and nothing is stored; the answer NOSCRIPT shows that the node is
/// there.
pub(super) fn probe(key: &str) -> Call {
    let mut tail = Vec::new();
    resp::bulk(&mut tail, b"1");
    resp::bulk(&mut tail, key.as_bytes());
    Call::script(HashSlot::of(key.as_bytes()), 2, tail)
}

pub(super) fn is_noscript(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text.starts_with(b"NOSCRIPT"))
}

/// Whether it is the guard's answer to what may not reach Redis.
pub(super) fn is_refusal(reply: &Value) -> bool {
    let says = |text: &[u8]| {
        text.windows(REFUSED_PREFIX.len())
            .any(|part| part == REFUSED_PREFIX)
    };
    matches!(reply, Value::Error(text) if says(text))
}
