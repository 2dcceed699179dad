//! Talking to Redis: the protocol, hash slots and the seam for the transport.

mod call;
pub mod resp;
mod slot;
mod streams;

pub use call::{CallError, CallToken, Completed, RedisCall, ScriptCall};
pub use slot::HashSlot;
pub use streams::{Script, StreamHost, StreamId, Streams};
