//! The results of one group of counters from Redis, or the error.

use crate::limit::Group;
use crate::redis::resp::Value;
use crate::redis::{CallError, NO_REPLY};
use crate::script::ScriptReply;
use std::fmt;

/// The result of one group of counters.
pub type GroupResult = Result<ScriptReply, GroupError>;

/// Why a group has no verdicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupError {
    /// The call was refused, or ended without a reply.
    Call(CallError),
    /// Redis answered with this error.
    Redis(String),
    /// The reply did not arrive within `redis.timeout`.
    TimedOut,
}

/// Decodes the result of a call as the verdicts of its group.
pub fn group_result(group: &Group, reply: Result<Value, CallError>) -> GroupResult {
    match reply {
        Err(error) => Err(GroupError::Call(error)),
        Ok(Value::Error(text)) => Err(GroupError::Redis(String::from_utf8_lossy(&text).into_owned())),
        Ok(value) => {
            ScriptReply::decode(group, &value).map_err(|_| GroupError::Call(CallError::Unintelligible))
        }
    }
}

impl GroupError {
    /// Its name in metrics.
    pub fn as_str(&self) -> &'static str {
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
