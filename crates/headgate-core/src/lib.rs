//! What Headgate decides: who is calling, which limits hold, what is asked of Redis, what the caller is answered.
//!
//! Plain Rust without a host call, tested natively.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod by_number;
pub mod config;
pub mod decision;
pub mod earliest;
pub mod engine;
mod fingerprint;
#[doc(hidden)]
pub mod fixtures;
pub mod headers;
pub mod identify;
pub mod instances;
pub mod lease;
pub mod limit;
pub mod local;
pub mod model;
pub mod protocol;
pub mod reply;
pub mod results;
pub mod retry;
pub mod script;
pub mod stall;
pub mod store;
pub mod telemetry;
pub mod verdict_cache;
mod wire;

pub use redis_call as redis;
