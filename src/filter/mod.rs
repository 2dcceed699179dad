//! The HTTP role: the shell around the core, on proxy-wasm.
//!
//! [`worker`] holds what all requests of one worker share and wakes those that wait; [`deciding`] makes decisions of
//! their counts and [`release`] carries them out; [`leasing`] takes permits in advance; [`request`] is one request on
//! its way; [`local`], [`attributes`] and [`host`] are the proxy as the core sees it. [`road`] leads to
//! Redis, in each artifact another one: `grpc` by streams, `native` by the functions of Higress.

mod attributes;
mod deciding;
#[cfg(not(feature = "higress"))]
mod grpc;
pub mod last_words;
mod leasing;
mod local;
#[cfg(feature = "higress")]
mod native;
mod notices;
mod outcome;
mod release;
mod request;
mod response;
mod seen;
mod worker;

use crate::abi::host;
#[cfg(not(feature = "higress"))]
use grpc as road;
#[cfg(feature = "higress")]
use native as road;

pub use request::Request;
pub use worker::Worker;
