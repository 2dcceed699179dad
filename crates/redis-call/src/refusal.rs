//! The status codes of Higress's Redis functions.

use std::fmt;

/// Why the gateway's Redis client sent nothing.
/// source: higress-group/proxy-wasm-cpp-sdk `proxy_wasm_common.h` (WasmResult); higress-group/envoy
/// `source/extensions/common/wasm/context.cc` (redisInit, redisCall); higress-group/proxy-wasm-cpp-host
/// `src/exports.cc`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Status 2: the gateway does not know the cluster, or not yet.
    UnknownCluster,
    /// Status 6: an address outside of the module's memory.
    BadMemory,
    /// Status 10: the cluster has no host. A cluster of type `envoy.clusters.redis` never has one for this function.
    NoHost,
    /// Status 12: the proxy does not implement the Redis functions.
    Unimplemented,
    /// Any other status but 0.
    Other(u32),
}

impl Refusal {
    /// Converts a status.
    ///
    /// # Errors
    /// Any status but 0.
    pub fn check(status: u32) -> Result<(), Refusal> {
        Err(match status {
            0 => return Ok(()),
            2 => Refusal::UnknownCluster,
            6 => Refusal::BadMemory,
            10 => Refusal::NoHost,
            12 => Refusal::Unimplemented,
            other => Refusal::Other(other),
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::UnknownCluster => "the gateway does not know the cluster, or not yet",
            Refusal::NoHost => "the cluster has no host",
            Refusal::Unimplemented => "this proxy does not implement a Redis call",
            Refusal::BadMemory => "the gateway's Redis call returned status 6",
            Refusal::Other(status) => return write!(f, "the gateway's Redis call returned status {status}"),
        })
    }
}
