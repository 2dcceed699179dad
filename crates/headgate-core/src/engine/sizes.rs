//! How much an engine holds, for tests of what must be bounded and of what must be nothing once all is quiet.

use super::{CallId, Engine};
use crate::local::SharedData;
use crate::redis::RedisCall;

/// What an engine holds in memory. All but the denials are 0 some seconds after the last request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Requests that wait, or whose decision is to be carried out.
    pub requests: usize,
    /// Calls that are to be sent again.
    pub retries: usize,
    /// Denials that are remembered: at most `verdict_cache.entries`.
    pub denials: usize,
    /// Counters that are watched for leases.
    pub leases: usize,
    /// Calls for leases that are under way.
    pub lease_calls: usize,
    /// Events that the shell has not taken.
    pub events: usize,
}

impl<T: RedisCall<CallId>, S: SharedData + Clone> Engine<T, S> {
    /// What is held now.
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
