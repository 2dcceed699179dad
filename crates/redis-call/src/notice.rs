//! Events of a transport that operators should know about. The filter writes them to its log.

use crate::Refusal;
use std::fmt;

/// The log level of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For information.
    Info,
    /// Something that operators should look at.
    Warn,
}

/// An event for the log. `Display` writes its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The circuit breaker of `shard` opened: no calls are sent to it until it answers a probe.
    BreakerOpened {
        /// Address of the master, or a range of hash slots.
        shard: String,
        /// Consecutive failures.
        failures: u32,
        /// Text of the last failure.
        reason: String,
    },
    /// The circuit breaker of `shard` closed: calls are sent to it again.
    BreakerClosed {
        /// Address of the master, or a range of hash slots.
        shard: String,
    },
    /// The guard refused a call until the call's deadline. Reported at most once a minute.
    GuardRefuses,
    /// Higress: the gateway's Redis client refused a call or the credentials.
    Refused(Refusal),
    /// Higress: Redis answered MOVED. It is a Redis Cluster, and the gateway's client follows no redirections.
    Redirected,
    /// Higress: Redis answered NOAUTH, and no password is configured.
    PasswordMissing,
    /// Higress: a script call was not exactly one command and was not sent.
    NotOneCommand,
}

impl Notice {
    /// `Info` for a breaker that closed, else `Warn`.
    pub fn level(&self) -> Level {
        match self {
            Notice::BreakerClosed { .. } => Level::Info,
            _ => Level::Warn,
        }
    }

    /// Whether the notice is the same on every worker, so that one log line for all workers is enough.
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
                "circuit breaker opened for {shard} after {failures} failure{} (last: {reason})",
                if *failures == 1 { "" } else { "s" }
            ),
            Notice::BreakerClosed { shard } => write!(f, "circuit breaker closed for {shard}"),
            Notice::GuardRefuses => {
                f.write_str("the guard in front of redis_proxy refuses this filter's calls")
            }
            Notice::Refused(refusal) => refusal.fmt(f),
            Notice::Redirected => {
                f.write_str("Redis answers MOVED, which the gateway's client does not follow")
            }
            Notice::PasswordMissing => {
                f.write_str("Redis answers NOAUTH: it requires a password, and none is configured")
            }
            Notice::NotOneCommand => f.write_str("a call was not sent: it was not exactly one command"),
        }
    }
}
