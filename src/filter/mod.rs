//! The HTTP role: the shell around the core, on proxy-wasm.
//!
//! [`worker`] holds what all requests of one worker share and wakes those that wait; [`deciding`] makes decisions of
//! their counts and [`release`] carries them out; [`leasing`] takes permits in advance; [`request`] is one request on
//! its way; [`local`], [`attributes`] and [`host`] are the proxy as the core sees it.

mod attributes;
mod deciding;
mod grpc;
mod host;
pub mod last_words;
mod leasing;
mod local;
mod outcome;
mod release;
mod request;
mod response;
mod seen;
mod worker;

pub use request::Request;
pub use worker::Worker;
