//! What a world remembers of its network for the invariants: what was executed, what was answered, what broke a rule.

use crate::script::{Call, CallResult};
use crate::time::Micros;
use redis_call::resp::Value;
use std::collections::BTreeMap;

/// One run of the script.
#[derive(Debug, Clone)]
pub struct Execution {
    pub at: Micros,
    pub shard: usize,
    /// Of the shard's memory: what was counted in an earlier one may be lost.
    pub epoch: u32,
    /// The node's clock, in unix µs.
    pub clock_us: u64,
    pub call: Call,
    pub result: CallResult,
}

#[derive(Debug, Default)]
pub struct Journal {
    pub executions: Vec<Execution>,
    /// Executions are not kept: nobody asks for them.
    pub skips_executions: bool,
    /// By a call's number: what was answered to it last, in RESP.
    answers: BTreeMap<u64, Vec<u8>>,
    /// By a call's number: until when it may be sent.
    pub deadlines: BTreeMap<u64, Micros>,
    /// Rules that were broken: their names, and what happened.
    pub broken: Vec<(&'static str, String)>,
}

impl Journal {
    pub fn broken(&mut self, rule: &'static str, what: String) {
        self.broken.push((rule, what));
    }

    /// The call has come to an end.
    pub fn ended(&mut self, tag: u64) {
        self.answers.remove(&tag);
        self.deadlines.remove(&tag);
    }

    pub fn answered(&mut self, tag: u64, reply: &[u8]) {
        self.answers.insert(tag, reply.to_vec());
    }

    /// Whether this is what was answered last to the call of that number.
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
