//! Redis from a proxy-wasm filter, through Envoy's own `redis_proxy`.
//!
//! A filter has no sockets and no host functions for Redis. It can open gRPC streams. An internal listener of the same
//! Envoy removes the gRPC framing and passes the commands to `redis_proxy`, which manages connections, slots,
//! redirections, AUTH and TLS. This crate contains both ends of the stream: a client for the filter, and a [guard] for
//! the listener. The README shows the complete setup with an example filter.
//!
//! The crate does no I/O, reads no clock and has no global random generator. The time is an argument, the generator is
//! passed to the constructor, and the host is a trait ([`StreamHost`]). So a filter's Redis traffic can be tested natively:
//!
//! ```
//! use redis_call::{resp::Value, Call, Client, Rng, Settings, StreamHost, StreamId};
//! use std::{cell::RefCell, time::Instant};
//!
//! /// A proxy that records what is sent on each stream.
//! #[derive(Default)]
//! struct Proxy(RefCell<Vec<Vec<u8>>>);
//!
//! impl StreamHost for &Proxy {
//!     fn open(&self) -> Option<StreamId> {
//!         self.0.borrow_mut().push(Vec::new());
//!         Some(StreamId(self.0.borrow().len() as u32 - 1))
//!     }
//!     fn send(&self, stream: StreamId, message: &[u8]) -> bool {
//!         self.0.borrow_mut()[stream.0 as usize].extend_from_slice(message);
//!         true
//!     }
//!     fn cancel(&self, _stream: StreamId) {}
//! }
//!
//! let (proxy, now) = (Proxy::default(), Instant::now());
//! let mut client = Client::new(now, Rng::with_seed(7), &proxy, Settings::new("visits"));
//! client.call(now, "the caller", Call::command(b"visits:a", &[b"INCR", b"visits:a"]))?;
//! client.on_tick(now); // opens the stream and sends
//! assert!(proxy.0.borrow()[0].starts_with(b"*2\r\n$4\r\nINCR\r\n"));
//!
//! let ended = client.on_message(now, StreamId(0), b":41\r\n");
//! assert_eq!((ended[0].id, &ended[0].reply), ("the caller", &Ok(Value::Int(41))));
//! # Ok::<(), redis_call::CallError>(())
//! ```
//!
//! # Layout
//! - [`Client`]: calls with deadlines, over [`Streams`]. Most filters need only this type.
//! - [`RedisCall`]: the trait of a transport. [`Streams`] implements it for stock Envoy, `Native` for Higress (feature
//!   `higress`). Use this trait directly if your filter has its own rules for deadlines.
//! - [`guard`]: decides which commands may reach Redis, and handles gRPC framing.
//! - `sdk`: the client and the guard for filters that use the Rust SDK (feature `proxy-wasm`).
//! - [`resp`], [`HashSlot`]: the Redis protocol, and the hash slot of a key.
//! - [`Notice`]: an event for operators, which the filter writes to its log.
//! - [`Gauges`]: open streams, calls in flight and open circuit breakers, for metrics.
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

mod backoff;
mod breaker;
mod call;
mod client;
mod grpc;
pub mod guard;
mod health;
#[cfg(feature = "higress")]
mod native;
mod notice;
mod pending;
mod refusal;
pub mod resp;
#[cfg(feature = "proxy-wasm")]
pub mod sdk;
mod settings;
mod slot;
mod startup;
mod streams;

pub use call::{Call, CallError, Completed, Gauges, RedisCall, NO_REPLY};
pub use client::{Client, Ended, Failure};
pub use fastrand::Rng;
pub use grpc::grpc_service;
#[cfg(feature = "higress")]
pub use native::{Native, NativeHost, STALL as NATIVE_STALL};
pub use notice::{Level, Notice};
pub use pending::UNKNOWN_SHA1;
pub use refusal::Refusal;
pub use settings::{Script, Settings};
pub use slot::HashSlot;
pub use streams::{StreamHost, StreamId, Streams};
