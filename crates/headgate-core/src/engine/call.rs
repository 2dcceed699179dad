//! Time as the engine is given it, and the names by which requests and calls are known.

use std::time::{Duration, Instant};

/// The moment at which something happens, on both clocks. The engine reads no clock itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For waits, caches and timeouts.
    pub monotonic: Instant,
    /// The wall clock, since the Unix epoch: for local windows and for what callers are told.
    pub unix: Duration,
}

impl Now {
    /// The wall clock in ms.
    pub fn unix_ms(self) -> u64 {
        self.unix.as_millis() as u64
    }

    /// The wall clock in µs.
    pub fn unix_us(self) -> u64 {
        self.unix.as_micros() as u64
    }
}

/// A request that waits for its counts or for its decision to be carried out. Never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(super) u64);

/// What a call to Redis is for. The reply to a call that nobody waits for any more changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallId {
    /// One of the calls of a request: there is one for each hash tag.
    Request { id: RequestId, part: u16 },
    /// Permits are taken in advance.
    Lease(u64),
    /// A charge after the response, or one that is given back: its reply is not looked at.
    Unawaited,
}
