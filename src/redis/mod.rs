//! Talking to Redis: the protocol, hash slots and the seam for the transport.

pub mod resp;
mod slot;

pub use slot::HashSlot;
