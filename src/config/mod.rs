//! Plugin configuration: bytes from Envoy in, a validated [`Policy`] or errors with their paths out.

mod policy;

pub use policy::*;
