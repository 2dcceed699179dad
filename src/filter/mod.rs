//! The HTTP role on proxy-wasm: a shell that moves data between Envoy and the engine. The engine decides.
//!
//! [`worker`] passes events to the engine of one worker and carries out what it returns. [`request`] is the context of
//! one request. [`exchange`] gives the engine access to a request and a response. [`panic_hook`] answers the waiting
//! requests if the VM panics. Each artifact has its own transport to Redis: `grpc` uses streams, `native` the functions
//! of Higress.

mod exchange;
#[cfg(not(feature = "higress"))]
mod grpc;
#[cfg(feature = "higress")]
mod native;
pub mod panic_hook;
mod request;
mod worker;

use crate::abi::host;
#[cfg(not(feature = "higress"))]
use grpc::{self as transport, StreamTransport as HostTransport};
#[cfg(feature = "higress")]
use native::{self as transport, NativeTransport as HostTransport};

pub use request::Request;
pub use worker::Worker;
