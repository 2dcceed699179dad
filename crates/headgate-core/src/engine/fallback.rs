//! The answer to a pending request if the engine itself can no longer be used, for example after a panic. The shell
//! stores it with the request, outside of the engine.

use super::Now;
use crate::decision::{Decision, Outcome};
use crate::limit::{Group, OnError};
use crate::model::Policy;
use crate::protocol::Protocol;
use crate::reply::Reply;

/// How a pending request is answered without the engine. Nothing can be counted then, so with `on_error: local` the
/// request passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    protocol: Protocol,
    refuses: bool,
}

impl Fallback {
    /// Uses the strictest `on_error` of the limits that are enforced for the request.
    pub(super) fn new(policy: &Policy, protocol: Protocol, groups: &[Group]) -> Fallback {
        let charges = groups.iter().flat_map(|group| &group.charges);
        let refuses = charges.filter(|charge| charge.enforced).any(|charge| {
            let limit = policy.limits.get(charge.limit);
            limit.is_some_and(|limit| limit.on_error == OnError::Deny)
        });
        Fallback { protocol, refuses }
    }

    /// The outcome, and the reply if the request is refused.
    pub fn decide(&self, policy: &Policy, now: Now) -> (Outcome, Option<Reply>) {
        let outcome = match self.refuses {
            true => Outcome::FailedClosed,
            false => Outcome::FailedOpen,
        };
        let decision = Decision::uncounted(outcome);
        (
            outcome,
            Reply::new(policy, &decision, self.protocol, now.unix_ms(), || 0.0),
        )
    }
}
