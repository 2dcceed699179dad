//! The decisions of Headgate, a rate limiter for Envoy: which client sends a request, which limits apply, what Redis must
//! count, and what the caller gets.
//!
//! The crate does no I/O, reads no clock and calls no host function. Requests, replies and the time are arguments, so all
//! of it is tested natively and in simulated time. Three shells use it: the filter for Envoy, the native command
//! `headgate`, and the simulated world `headgate-sim`.
//!
//! The steps of one request, without the state machine that connects them ([`engine::Engine`]):
//!
//! ```
//! use headgate_core::config::{self, Plugin};
//! use headgate_core::decision::{CountedBy, CounterResult, Decision, Outcome};
//! use headgate_core::engine;
//! use headgate_core::identify::{Attributes, Hasher, Headers, TlsField};
//! use headgate_core::limit::algorithm::{State, Terms};
//! use headgate_core::limit::Planner;
//!
//! /// A GET request with an API key.
//! struct Request(&'static str);
//!
//! impl Headers for Request {
//!     fn each_value<'a>(&'a self, name: &str, take: &mut dyn FnMut(&'a [u8])) {
//!         self.each_header(&mut |known, value| if known == name.as_bytes() { take(value) });
//!     }
//!     fn each_header<'a>(&'a self, take: &mut dyn FnMut(&'a [u8], &'a [u8])) {
//!         for (name, value) in [(":method", "GET"), (":path", "/search"), ("x-api-key", self.0)] {
//!             take(name.as_bytes(), value.as_bytes());
//!         }
//!     }
//! }
//!
//! impl Attributes for Request {
//!     fn address(&self) -> Option<std::net::IpAddr> { None }
//!     fn metadata(&self, _path: &[String]) -> Option<Vec<u8>> { None }
//!     fn tls(&self, _field: TlsField) -> Option<Vec<u8>> { None }
//!     fn route(&self) -> Option<Vec<u8>> { None }
//! }
//!
//! // 1. The configuration.
//! let Plugin::Filter(policy) = config::parse(br#"{"limits": [{"rate": "2/minute"}]}"#)? else { panic!() };
//! let planner = Planner::new(&policy, Hasher::new(None));
//!
//! // 2. The client, and what must be counted for it.
//! let request = Request("partner-7");
//! let client = planner.identify(&request);
//! let groups = engine::plan(&policy, &planner, &request, &client).next.unwrap();
//! let charge = &groups[0].charges[0];
//!
//! // 3. The counter. The script in Redis does the same.
//! let (mut state, clock_us) = (State::new(charge.algorithm.form()), 1_700_000_000_000_000);
//! let terms = Terms::of(charge);
//! for expected in [Outcome::Allowed, Outcome::Allowed, Outcome::Denied] {
//!     let verdict = state.check(clock_us, &terms, charge.cost);
//!     if verdict.allowed {
//!         state.charge(clock_us, &terms, charge.cost);
//!     }
//!     // 4. The decision.
//!     let counted = CounterResult { charge, verdict: Some(verdict), by: CountedBy::Redis };
//!     assert_eq!(Decision::from_counted(&policy.limits, [counted]).outcome, expected);
//! }
//! # Ok::<(), config::ConfigErrors>(())
//! ```
//!
//! # Layout
//! - [`model`]: the types of a policy. [`config`] reads a configuration into them.
//! - [`engine`]: the state machine of one worker, from request headers to the last charge. A shell needs little else.
//! - [`identify`]: the client of a request. [`limit`]: the limits that apply, their keys and costs.
//! - [`store`]: names and packing of counters in Redis. [`script`]: the counting script, its arguments and its reply;
//!   [`results`]: the result of a call.
//! - [`local`]: counters in Envoy's memory. [`lease`]: permits taken in advance. [`verdict_cache`]: known denials.
//! - [`decision`]: one decision from all counters. [`reply`], [`headers`], [`retry`] and [`protocol`]: what the caller
//!   gets. [`instances`]: several filters in one chain.
//! - [`telemetry`]: metrics and log lines. [`stall`]: separates stalls of the worker from failures of Redis.
//! - [`by_number`], [`earliest`]: helpers.
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
