//! The proxy-wasm ABI, version 0.2.1, as far as Headgate needs it: what the module may ask of the host, and the table
//! of the contexts that the host names by numbers. What the host calls is in [`crate::entry`].
//!
//! It takes the place of the Rust SDK for two reasons. The SDK's callbacks return Continue or Pause, and a Pause holds
//! a request's body only where Envoy is told so (`allow_on_headers_stop_iteration: false`). And the SDK panics where the
//! host names a context that it does not expect, or answers with another status than usual; a panic ends the VM and with
//! it every request of the worker. Here nothing panics: what the host refuses is a `None` or a `false`.
//!
//! Layout: [`host`] is about requests and what workers share, [`buffer`] about data, [`grpc`] about streams, `redis`
//! about the Redis client of Higress; [`log`] writes log lines; [`contexts`] is the table.
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

/// What the host answers; 0 is success.
#[cfg(target_family = "wasm")]
type Status = u32;
#[cfg(target_family = "wasm")]
const OK: Status = 0;

/// What becomes of a message whose headers have come.
#[cfg(target_family = "wasm")]
#[repr(u32)]
pub enum HeadersStatus {
    Continue = 0,
    /// Nothing goes on, the body and trailers neither, until the request is resumed or answered. Status 1 would do the
    /// same only where the plugin is configured without `allow_on_headers_stop_iteration`.
    /// Source: proxy-wasm-cpp-host `src/context.cc` (convertVmCallResultToFilterHeadersStatus).
    StopAllIterationAndWatermark = 4,
}

/// What becomes of a connection's data.
#[cfg(target_family = "wasm")]
#[repr(u32)]
pub enum FilterStatus {
    Continue = 0,
    StopIteration = 1,
}

/// Memory for what the host writes.
#[cfg(target_family = "wasm")]
#[no_mangle]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    Box::into_raw(Box::<[u8]>::new_uninit_slice(size)).cast()
}

/// What the host wrote into memory that it allocated.
///
/// # Safety
/// Where `status` is OK, `data` is null or comes from [`proxy_on_memory_allocate`] with this `size`, and nothing else
/// owns it.
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
