//! The proxy-wasm ABI, version 0.2.1, as far as Headgate needs it: the host functions, and the table of the contexts that
//! the host identifies by numbers. The functions that the host calls are in [`crate::entry`].
//!
//! It replaces the Rust SDK for two reasons. The SDK's callbacks return Continue or Pause, and a Pause holds a request's
//! body only if Envoy is configured for it (`allow_on_headers_stop_iteration: false`). And the SDK panics if the host uses
//! an unknown context or returns an unusual status; a panic ends the VM and affects every request of the worker. The code
//! here does not panic: an error of the host is a `None` or a `false`.
//!
//! Layout: [`host`] contains the functions for requests and for data that workers share, [`buffer`] those for bodies and
//! messages, [`grpc`] those for streams, `redis` those for the Redis client of Higress; [`log`] writes log lines;
//! [`contexts`] is the table.
//! Source: <https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1>, proxy-wasm-cpp-host `src/exports.cc`.

#[cfg(target_family = "wasm")]
pub mod buffer;
pub mod contexts;
#[cfg(all(target_family = "wasm", not(feature = "higress")))]
pub mod grpc;
#[cfg(target_family = "wasm")]
pub mod host;
#[cfg(target_family = "wasm")]
pub mod log;
#[cfg(all(target_family = "wasm", feature = "higress"))]
pub mod redis;

/// The status that a host function returns; 0 is success.
#[cfg(target_family = "wasm")]
type Status = u32;
#[cfg(target_family = "wasm")]
const OK: Status = 0;

/// What the host does with a message after its headers.
#[cfg(target_family = "wasm")]
#[repr(u32)]
pub enum HeadersStatus {
    Continue = 0,
    /// Holds headers, body and trailers until the request is resumed or answered. Status 1 does the same only if the plugin
    /// is configured without `allow_on_headers_stop_iteration`.
    /// Source: proxy-wasm-cpp-host `src/context.cc` (convertVmCallResultToFilterHeadersStatus).
    StopAllIterationAndWatermark = 4,
}

/// What the host does with a connection's data.
#[cfg(target_family = "wasm")]
#[repr(u32)]
pub enum FilterStatus {
    Continue = 0,
    StopIteration = 1,
}

/// Allocates memory for data that the host writes.
#[cfg(target_family = "wasm")]
#[no_mangle]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    Box::into_raw(Box::<[u8]>::new_uninit_slice(size)).cast()
}

/// Takes ownership of data that the host wrote into memory from [`proxy_on_memory_allocate`].
///
/// # Safety
/// If `status` is OK, `data` must be null, or come from [`proxy_on_memory_allocate`] with this `size` and have no other
/// owner.
#[cfg(target_family = "wasm")]
unsafe fn owned(status: Status, data: *mut u8, size: usize) -> Option<Vec<u8>> {
    if status != OK {
        return None;
    }
    if data.is_null() {
        return Some(Vec::new());
    }
    Some(Vec::from_raw_parts(data, size, size))
}
