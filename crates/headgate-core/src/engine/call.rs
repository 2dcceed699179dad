//! Time as an argument of the engine, and the ids of requests and calls.

use std::time::{Duration, Instant};

/// The time of an event, on both clocks. The engine reads no clock itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For waits, caches and timeouts.
    pub monotonic: Instant,
    /// The wall clock, as the time since the Unix epoch. For local windows and for headers.
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

/// A request that waits for its counts or for its decision to be applied. Ids are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(super) u64);

/// The purpose of a call to Redis. A reply is ignored if no request waits for it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallId {
    /// One of the calls of a request: there is one for each hash tag.
    Request {
        /// The request.
        id: RequestId,
        /// The index of its group. Calls that a split adds have higher numbers.
        part: u16,
    },
    /// A lease request: takes permits in advance.
    Lease(u64),
    /// A charge on the response, or a refund: its reply is ignored.
    Unawaited,
}
