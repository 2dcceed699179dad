//! The buffers that the host keeps for the current callback: a connection's bytes, a message, the configuration.

use super::{owned, Status, OK};
use std::ptr::null_mut;

/// One of the host's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Buffer {
    #[cfg(not(feature = "higress"))]
    Downstream = 2,
    #[cfg(not(feature = "higress"))]
    Upstream = 3,
    #[cfg(not(feature = "higress"))]
    GrpcReceive = 5,
    PluginConfiguration = 7,
    /// Source: higress-group/proxy-wasm-cpp-sdk `proxy_wasm_common.h` (WasmBufferType).
    #[cfg(feature = "higress")]
    RedisCallResponse = 9,
}

/// The number of the downstream side of a connection.
const DOWNSTREAM: u32 = 2;

#[link(wasm_import_module = "env")]
extern "C" {
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> Status;
    #[cfg(not(feature = "higress"))]
    fn proxy_set_buffer_bytes(
        buffer: u32,
        start: usize,
        size: usize,
        data: *const u8,
        data_size: usize,
    ) -> Status;
    fn proxy_close_stream(stream: u32) -> Status;
}

impl Buffer {
    /// The first bytes of the buffer, `size` at most.
    pub fn read(self, size: usize) -> Option<Vec<u8>> {
        let (mut data, mut got) = (null_mut(), 0);
        // SAFETY: the host writes a buffer that it allocated through the module's allocator, and its size.
        unsafe {
            let status = proxy_get_buffer_bytes(self as u32, 0, size, &mut data, &mut got);
            owned(status, data, got)
        }
    }

    /// Replaces the first `size` bytes by `bytes`; `false`: the buffer is unchanged.
    #[cfg(not(feature = "higress"))]
    pub fn replace(self, size: usize, bytes: &[u8]) -> bool {
        // SAFETY: the host reads the bytes during the call only.
        unsafe { proxy_set_buffer_bytes(self as u32, 0, size, bytes.as_ptr(), bytes.len()) == OK }
    }
}

/// Closes the connection of the context. The host may delete the context during the call.
pub fn close_downstream() -> bool {
    // SAFETY: no memory is involved.
    unsafe { proxy_close_stream(DOWNSTREAM) == OK }
}
