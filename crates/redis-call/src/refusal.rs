//! What Higress's Redis functions answer at once.

use std::fmt;

/// Why nothing was sent.
/// source: higress-group/proxy-wasm-cpp-sdk `proxy_wasm_common.h` (WasmResult); higress-group/envoy
/// `source/extensions/common/wasm/context.cc` (redisInit, redisCall); higress-group/proxy-wasm-cpp-host
/// `src/exports.cc`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 2: the gateway knows no such cluster, or not yet.
    UnknownCluster,
    /// 6: an address outside of the module's memory.
    BadMemory,
    /// 10: the cluster has no host now; one of type `envoy.clusters.redis` never has one for this call.
    NoHost,
    /// 12: a proxy without a Redis call.
    Unimplemented,
    Other(u32),
}

impl Refusal {
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
            Refusal::UnknownCluster => "the gateway knows no such cluster, or not yet",
            Refusal::NoHost => "the cluster has no host",
            Refusal::Unimplemented => "this proxy has no Redis call of its own",
            Refusal::BadMemory => "the gateway's Redis call answers status 6",
            Refusal::Other(status) => return write!(f, "the gateway's Redis call answers status {status}"),
        })
    }
}
