//! RESP2, the protocol of Redis: encodes commands and decodes replies. It does not interpret replies.
//!
//! Why not a crate: `redis-protocol` and `resp-rs` parse an incomplete reply from its beginning with every chunk, do not
//! limit its size, and depend on `nom` or `bytes`.

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
    /// An integer.
    Int(i64),
    /// A simple string, such as `OK`.
    Simple(Vec<u8>),
    /// An error: the text after `-`. By convention its first word is the kind, such as `NOSCRIPT`.
    Error(Vec<u8>),
    /// A bulk string. `None`: the null bulk string.
    Bulk(Option<Vec<u8>>),
    /// An array. `None`: the null array.
    Array(Option<Vec<Value>>),
}
