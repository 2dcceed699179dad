//! Talking to Redis: the protocol, hash slots and the seam for the transport.

mod slot;

pub use slot::HashSlot;
