//! RESP2, the protocol of Redis: commands are written, replies are read. What a reply means is decided elsewhere.
//!
//! No crate: `redis-protocol` and `resp-rs` begin an unfinished reply anew with every chunk, set no bound on its
//! size, and bring `nom` or `bytes`.

mod decode;
mod encode;
#[cfg(feature = "higress")]
pub mod one;
#[cfg(test)]
mod tests;

pub use decode::{Decoder, RespError, DEFAULT_MAX_REPLY, MAX_DEPTH};
pub use encode::{array, bulk, bulk_int, command};

/// A reply, as the server sent it (<https://redis.io/docs/latest/develop/reference/protocol-spec/>, RESP2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Int(i64),
    Simple(Vec<u8>),
    /// The text after `-`; by convention its first word is the kind, e.g. `NOSCRIPT`.
    Error(Vec<u8>),
    /// `None`: the null bulk string.
    Bulk(Option<Vec<u8>>),
    /// `None`: the null array.
    Array(Option<Vec<Value>>),
}
