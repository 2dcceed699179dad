//! The sizes of an engine's tables, for tests. All must be bounded, and most must be 0 when there are no requests.

use super::{CallId, Engine};
use crate::local::SharedData;
use crate::redis::RedisCall;

/// The number of entries that an engine keeps in memory. All except `denials` are 0 a few seconds after the last
/// request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Pending requests.
    pub requests: usize,
    /// Calls that are to be retried.
    pub retries: usize,
    /// Cached denials: at most `verdict_cache.entries`.
    pub denials: usize,
    /// Counters that are watched for leases.
    pub leases: usize,
    /// Lease requests in flight.
    pub lease_calls: usize,
    /// Events that the shell has not taken.
    pub events: usize,
}

impl<T: RedisCall<CallId>, S: SharedData + Clone> Engine<T, S> {
    /// The current sizes.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            requests: self.requests.len(),
            retries: self.retries.len(),
            denials: self.verdicts.len(),
            leases: self.leases.len(),
            lease_calls: self.leases.calls(),
            events: self.events.len(),
        }
    }
}
