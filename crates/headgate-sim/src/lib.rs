//! A simulated world for Headgate: Envoys with their workers, Redis, the network between them, callers, one clock, and
//! faults. One seed determines a whole run. Tests, a fuzz target and `headgate simulate` use it.
//!
//! The code under test is Headgate's own: the engine, the streams to Redis and the guard. Simulated are `redis_proxy`, the
//! Redis nodes, the counting script (its model is compared with the script on a real Redis), the host of the filter, and
//! the callers. Simulated time runs as fast as the events can be handled.
//!
//! A [`world::Scenario`] is the input. It is written by hand, as here, or drawn at random:
//!
//! ```
//! use headgate_sim::fault::{Fault, PlannedFault, Target};
//! use headgate_sim::network::{NetworkSettings, OP_TIMEOUT};
//! use headgate_sim::request::Request;
//! use headgate_sim::time::{MS, SECOND};
//! use headgate_sim::world::{Arrival, Scenario};
//! use headgate_sim::{history, policies};
//! use std::rc::Rc;
//!
//! // One client sends 8 requests, 10 ms apart. The policy allows 6 in a second.
//! let mut request = Request::new("GET", "/a", "api.example.com");
//! request.push("x-api-key", "partner-7");
//! let request = Rc::new(request);
//! let arrivals = (1..=8).map(|n| Arrival {
//!     at: n * 10 * MS,
//!     envoy: 0,
//!     worker: 0,
//!     request: Rc::clone(&request),
//!     identity: None,
//!     answered_after: Some(5 * MS),
//!     response: [(":status".to_owned(), "200".to_owned())].into(),
//!     leaves_after: None,
//! });
//! let scenario = Scenario {
//!     seed: 7,
//!     unix_us: 1_700_000_000 * SECOND,
//!     network: NetworkSettings {
//!         envoys: 1,
//!         workers: 1,
//!         shards: 3,
//!         discovery: true,
//!         hop: 20,
//!         latency: (100, 500),
//!         stream_life: 240 * SECOND,
//!         op_timeout: OP_TIMEOUT,
//!         prefix: "ratelimit".to_owned(),
//!     },
//!     policies: vec![policies::policy(0)],
//!     faults: Vec::new(),
//!     arrivals: arrivals.collect(),
//! };
//! let outcome = history::run(scenario.clone(), false);
//! assert!(outcome.broken.is_empty(), "{}", history::outline(&outcome));
//! assert_eq!(outcome.outcomes["allowed redis"], 6);
//! assert_eq!(outcome.outcomes["denied redis"] + outcome.outcomes["denied cache"], 2);
//!
//! // With all nodes frozen, Redis counts nothing in time. Envoy counts locally.
//! let frozen = Fault::Frozen { shard: Target::All };
//! let faults = vec![PlannedFault { from: 0, until: SECOND, fault: frozen }];
//! let outcome = history::run(Scenario { faults, ..scenario }, false);
//! assert!(outcome.broken.is_empty(), "{}", history::outline(&outcome));
//! assert_eq!(outcome.outcomes["allowed local"], 6);
//! assert_eq!(outcome.outcomes["denied local"], 2);
//! ```
//!
//! In each history a [`ledger`] records requests and calls, and checks rules, among them:
//!
//! - Each request is decided once, in time, and according to the replies to its own calls. If no fault affected it,
//!   Redis has counted it.
//! - No call is executed twice. The charges of a refused request are refunded once, and the costs of a response are
//!   charged once.
//! - The admitted costs are within the bound of each limit's algorithm, by the clock of the store that counted.
//! - At the end no request waits, no call is in flight, no timer runs, and all circuit breakers are closed.
//!
//! # Layout
//! - [`history`]: runs a scenario, checks the rules and reports violations. Start here.
//! - [`draw`]: random scenarios, from [`choices`] (a seed or the bytes of a fuzzer) and [`policies`].
//! - [`world`]: Envoys, workers and callers. [`network`]: streams, `redis_proxy` and Redis nodes. [`fault`]: the faults.
//! - [`script`]: the counting script of the simulated Redis. [`model`]: what it counts.
//! - [`ledger`]: the records and the rules.
//! - [`request`]: a request in memory. [`time`]: the clock and the queue of events.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod choices;
pub mod draw;
pub mod fault;
pub mod history;
pub mod ledger;
pub mod model;
pub mod network;
pub mod policies;
pub mod request;
pub mod script;
pub mod time;
pub mod world;
