//! Redis from a proxy-wasm filter: the protocol, hash slots, transports without I/O, and the guard in front of Redis.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod backoff;
mod breaker;
mod call;
pub mod guard;
mod health;
#[cfg(feature = "higress")]
mod native;
mod notice;
mod pending;
pub mod resp;
mod settings;
mod slot;
mod starting;
mod streams;

pub use call::{Call, CallError, Completed, Levels, RedisCall, NO_REPLY};
#[cfg(feature = "higress")]
pub use native::{Native, NativeHost, Refusal, STALL as NATIVE_STALL};
pub use notice::{Level, Notice};
pub use pending::UNKNOWN_SHA1;
pub use settings::{Script, Settings};
pub use slot::HashSlot;
pub use streams::{StreamHost, StreamId, Streams};
