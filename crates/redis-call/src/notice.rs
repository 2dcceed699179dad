//! What operators should know of a transport: the shell writes it into its log.

use crate::Refusal;
use std::fmt;

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Info,
    Warn,
}

/// Something worth a log line. Its text is by `Display`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// No calls are sent to `shard` until it answers again.
    BreakerOpened {
        shard: String,
        /// Since the last reply in time.
        failures: u32,
        /// The last of the failures.
        reason: String,
    },
    /// Calls are sent to `shard` again.
    BreakerClosed { shard: String },
    /// The guard refuses the filter's calls until their deadline; at most once a minute.
    GuardRefuses,
    /// Higress: the gateway's client did not take a call, or its credentials.
    Refused(Refusal),
    /// Higress: Redis answers MOVED. It is a cluster, and the gateway's client follows no redirection.
    Redirected,
    /// Higress: Redis wants a password, and none was given.
    PasswordMissing,
    /// Higress: a script call was not one command, and was not sent.
    NotOneCommand,
}

impl Notice {
    pub fn level(&self) -> Level {
        match self {
            Notice::BreakerClosed { .. } => Level::Info,
            _ => Level::Warn,
        }
    }

    /// Whether it says the same on each worker, and one line for all of them is enough.
    pub fn is_once(&self) -> bool {
        !matches!(
            self,
            Notice::BreakerOpened { .. } | Notice::BreakerClosed { .. } | Notice::GuardRefuses
        )
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::BreakerOpened {
                shard,
                failures,
                reason,
            } => write!(
                f,
                "circuit breaker opened for {shard} after {failures} failure(s), the last: {reason}"
            ),
            Notice::BreakerClosed { shard } => write!(f, "circuit breaker closed for {shard}"),
            Notice::GuardRefuses => {
                f.write_str("the guard in front of redis_proxy refuses this filter's calls")
            }
            Notice::Refused(refusal) => refusal.fmt(f),
            Notice::Redirected => {
                f.write_str("Redis answers MOVED, which the gateway's client does not follow")
            }
            Notice::PasswordMissing => f.write_str("Redis wants a password"),
            Notice::NotOneCommand => f.write_str("a call that was not one command has not been sent"),
        }
    }
}
