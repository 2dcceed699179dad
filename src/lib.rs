//! Headgate: distributed rate limiting inside Envoy.
//!
//! This package is the module that Envoy loads. It contains the HTTP filter that limits requests, and the network filter
//! that passes its Redis calls to `redis_proxy`. `headgate-core` decides, and `redis-call` talks to Redis; the code here
//! moves data between them and the proxy.
//!
//! # Layout
//! - `entry`: the functions that the host calls, the role of a configuration, and the network filter.
//! - `filter`: the HTTP filter: one worker, one request, and the transport to Redis.
//! - `abi`: the host functions of proxy-wasm 0.2.1.
//! - `fault_injection`: what differs in builds for tests.
//!
//! # Example
//! The module is configured by the same text that `headgate-core` parses natively:
//!
//! ```
//! use headgate_core::config::{parse_for, Plugin, Transport};
//!
//! let config = br#"{"limits": [{"name": "per-client", "rate": "100/minute"}]}"#;
//! match parse_for(Transport::Streams, config) {
//!     Ok(Plugin::Filter(policy)) => assert_eq!(policy.redis.key_prefix, "ratelimit"),
//!     Ok(_) => panic!("the other role"),
//!     Err(errors) => panic!("{errors}"),
//! }
//! ```
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
mod entry;
#[cfg(target_family = "wasm")]
mod fault_injection;
#[cfg(target_family = "wasm")]
mod filter;

// Lets the modules of this package use `crate::` paths.
#[cfg(any(target_family = "wasm", test))]
use headgate_core::by_number;
#[cfg(target_family = "wasm")]
use headgate_core::{config, earliest, engine, headers, identify, local, model, reply, telemetry};
#[cfg(target_family = "wasm")]
use redis_call as redis;
