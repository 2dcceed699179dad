//! The HTTP role on proxy-wasm: a shell that moves data between Envoy and the engine, which decides.
//!
//! [`worker`] feeds the engine of one worker and carries out what it returns; [`request`] is one request on its way;
//! [`exchange`] is a request and a response as the engine sees them; [`panic_hook`] answers those who wait where the VM
//! dies. The transport to Redis differs by artifact: `grpc` by streams, `native` by the functions of Higress.

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
use grpc as transport;
#[cfg(feature = "higress")]
use native as transport;

pub use request::Request;
pub use worker::Worker;
