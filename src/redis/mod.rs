//! Talking to Redis: the protocol, hash slots and the seam for the transport.

mod backoff;
mod breaker;
mod call;
mod health;
#[cfg(feature = "higress")]
mod native;
mod pending;
pub mod resp;
mod slot;
mod starting;
mod streams;

pub use call::{CallError, CallToken, Completed, RedisCall, ScriptCall, NO_REPLY};
#[cfg(feature = "higress")]
pub use native::{Native, NativeHost, Refusal, STALL as NATIVE_STALL};
pub use pending::{Script, UNKNOWN_SHA1};
pub use slot::HashSlot;
pub use streams::{StreamHost, StreamId, Streams};
