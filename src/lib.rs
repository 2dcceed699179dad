//! Headgate: distributed rate limiting inside Envoy.
//!
//! This package is the module that Envoy loads: the HTTP filter that limits, and the network filter that unwraps its
//! Redis calls in front of `redis_proxy`. What decides is in `headgate-core`, what talks to Redis in `redis-call`;
//! here is what moves data between them and the proxy.
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
#[cfg(target_family = "wasm")]
mod drill;
#[cfg(target_family = "wasm")]
mod entry;
#[cfg(target_family = "wasm")]
mod filter;

// So that the modules here name them by `crate::`.
#[cfg(any(target_family = "wasm", test))]
use headgate_core::by_number;
#[cfg(target_family = "wasm")]
use headgate_core::{config, earliest, engine, headers, identify, local, model, reply, telemetry};
#[cfg(target_family = "wasm")]
use redis_call as redis;
