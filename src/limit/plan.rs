//! Which counters a request meets, and where they live: the policy applied to one request.

use crate::limit::{Algorithm, Rate};
use crate::redis::HashSlot;
use std::rc::Rc;

/// What the policy says of one request before anything is counted.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Matched by `exempt`: neither limited nor counted.
    Exempt,
    /// What to count; no group means that no limit holds.
    Count {
        groups: Vec<Group>,
        /// A limit that keys by client, and is not in shadow, matched, and no source named one.
        no_client: bool,
    },
}

/// Counters that share a hash tag: one script call, checked and charged together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    pub slot: HashSlot,
    /// Distinct; the client's hash first where one is needed.
    pub keys: Vec<Vec<u8>>,
    /// In the policy's order; never empty.
    pub charges: Vec<Charge>,
}

/// One counter, and what this request takes from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    /// Index into the policy's limits.
    pub limit: usize,
    /// Index into [`Group::keys`].
    pub key: usize,
    /// The hash field that holds the counter; unused by a log, which is a key of its own.
    pub field: Rc<str>,
    pub algorithm: Algorithm,
    /// After overrides.
    pub rate: Rate,
    /// 0 to N, or above N for what can never pass.
    pub cost: u64,
    /// The cost comes with the response: the call needs 1 left to pass, and takes nothing yet (`cost` is not used).
    pub later: bool,
    /// `false`: in shadow for this client.
    pub enforced: bool,
    /// Shift of a fixed window aligned by client, in ms, below the period; else 0.
    pub phase_ms: u64,
    pub live: Option<LiveOverride>,
}

/// Where a live override of this counter's N stands.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveOverride {
    /// Index into [`Group::keys`]: the client's hash.
    pub key: usize,
    pub field: Rc<str>,
    /// Where none stands, this client is not limited, and of [`Charge::rate`] only the period means anything.
    pub unlimited: bool,
}
