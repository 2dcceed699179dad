//! What Redis said of one group of counters, or why it said nothing.

use crate::limit::Group;
use crate::redis::resp::Value;
use crate::redis::{CallError, NO_REPLY};
use crate::script::Reply;
use std::fmt;

/// What Redis said of one group of counters.
pub type GroupResult = Result<Reply, GroupError>;

/// Why a group has no verdicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupError {
    Call(CallError),
    /// Redis answered with this error.
    Redis(String),
    TimedOut,
}

/// Reads what became of a call as the counts of its group.
pub fn group_result(group: &Group, reply: Result<Value, CallError>) -> GroupResult {
    match reply {
        Err(error) => Err(GroupError::Call(error)),
        Ok(Value::Error(text)) => Err(GroupError::Redis(String::from_utf8_lossy(&text).into_owned())),
        Ok(value) => Reply::decode(group, &value).map_err(|_| GroupError::Call(CallError::Unintelligible)),
    }
}

impl GroupError {
    /// Its name in metrics.
    pub fn word(&self) -> &'static str {
        match self {
            GroupError::Call(error) => error.as_str(),
            GroupError::Redis(_) => "error",
            GroupError::TimedOut => "timed_out",
        }
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupError::Call(error) => error.fmt(f),
            GroupError::Redis(text) if text.contains("upstream ") => {
                write!(f, "redis_proxy answers \"{text}\"")
            }
            GroupError::Redis(text) => write!(f, "Redis answers \"{text}\""),
            GroupError::TimedOut => f.write_str(NO_REPLY),
        }
    }
}
