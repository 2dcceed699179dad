//! The record of a network for the invariants: executed scripts, replies, and broken rules.

use crate::script::{Call, CallResult};
use crate::time::Micros;
use redis_call::resp::Value;
use std::collections::BTreeMap;

/// One run of the script.
#[derive(Debug, Clone)]
pub struct Execution {
    /// The time, in µs since the start.
    pub at: Micros,
    /// The shard whose node executed the script.
    pub shard: usize,
    /// The epoch of the shard's memory. Counters of earlier epochs may be lost.
    pub epoch: u32,
    /// The node's clock: unix time in µs.
    pub clock_us: u64,
    /// The call.
    pub call: Call,
    /// Its result.
    pub result: CallResult,
}

#[derive(Debug, Default)]
/// The record of a network.
pub struct Journal {
    /// All executions of the script, in order.
    pub executions: Vec<Execution>,
    /// Does not keep the executions, for runs without a ledger.
    pub skips_executions: bool,
    /// By call number: the last reply, in RESP.
    answers: BTreeMap<u64, Vec<u8>>,
    /// By call number: the deadline for sending it.
    pub deadlines: BTreeMap<u64, Micros>,
    /// The broken rules: name and description.
    pub broken: Vec<(&'static str, String)>,
}

impl Journal {
    /// Records a broken rule.
    pub fn broken(&mut self, rule: &'static str, what: String) {
        self.broken.push((rule, what));
    }

    /// Removes a call that has ended.
    pub fn ended(&mut self, tag: u64) {
        self.answers.remove(&tag);
        self.deadlines.remove(&tag);
    }

    /// Records a reply to the call of that number.
    pub fn answered(&mut self, tag: u64, reply: &[u8]) {
        self.answers.insert(tag, reply.to_vec());
    }

    /// Whether this is the last reply to the call of that number.
    pub fn is_answer(&self, tag: u64, value: &Value) -> bool {
        let Some(reply) = self.answers.get(&tag) else {
            return false;
        };
        match value {
            Value::Bulk(Some(bytes)) => reply.starts_with(b"$") && reply[..reply.len() - 2].ends_with(bytes),
            Value::Error(text) => reply
                .strip_prefix(b"-")
                .is_some_and(|rest| rest.starts_with(text)),
            _ => false,
        }
    }
}
