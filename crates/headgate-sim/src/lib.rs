//! A simulated world for Headgate: Redis, Envoys with their workers, callers, one clock, and what goes wrong, all from
//! one seed. For tests, for a fuzzer and for `headgate simulate`.
//!
//! What runs in it is Headgate's own: the engine, the streams to Redis, the guard in front of it. Simulated are
//! `redis_proxy`, the nodes and the network between them ([`network`]), the counting script ([`script`], by a [`model`]
//! that tests compare with the script on a real Redis), the shell around an engine ([`world`]) and the callers. A
//! [`world::Scenario`] says all that is given; it is written by hand, by the command, or drawn ([`draw`]) from
//! [`choices`].
//!
//! In random histories ([`history`]) a [`ledger`] keeps the books and checks that rules hold, among them:
//!
//! - each request is decided once, in its time, and as Redis's replies to its own calls say; where no fault touched it,
//!   it is counted;
//! - no call is executed twice, and what a refused request took is given back once; costs of responses are charged once;
//! - what passes is no more than each limit's law allows, by the clock of the store that counted;
//! - once all is quiet nothing waits, nothing is in flight, nothing ticks, and breakers are closed.
//!
//! ```
//! use headgate_sim::history;
//!
//! let outcome = history::of_seed(7, false);
//! assert!(outcome.broken.is_empty(), "{}", history::report(7));
//! ```
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
