//! Headgate: distributed rate limiting inside Envoy.
//!
//! The core (everything but [`filter`] and [`redis_call`]) is plain Rust without a host call and is tested
//! natively. The two shells are what Envoy loads: the HTTP filter that limits, and the network filter that
//! unwraps its Redis calls in front of `redis_proxy`.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

#[cfg(any(target_family = "wasm", test))]
mod abi;
mod by_number;
#[cfg(all(feature = "cli", not(target_family = "wasm")))]
pub mod cli;
pub mod config;
pub mod decision;
#[cfg(feature = "drill")]
pub mod drill;
mod earliest;
#[cfg(target_family = "wasm")]
mod entry;
#[cfg(target_family = "wasm")]
mod filter;
pub mod filter_state;
mod fingerprint;
#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
pub mod fixtures;
pub mod headers;
pub mod identify;
pub mod instances;
pub mod json;
pub mod lease;
pub mod limit;
pub mod local;
pub mod protocol;
pub mod redis;
pub mod redis_call;
pub mod reply;
pub mod retry;
pub mod script;
pub mod stall;
pub mod telemetry;
pub mod verdict_cache;
pub mod waiting;
