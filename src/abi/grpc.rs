//! gRPC streams. The host opens them for the root context, whichever context is effective, and reports their events to it.
//! Source: proxy-wasm-cpp-host `src/exports.cc` (grpc_stream).

use super::{Status, OK};
use std::ptr::null;

#[link(wasm_import_module = "env")]
extern "C" {
    fn proxy_grpc_stream(
        service: *const u8,
        service_size: usize,
        service_name: *const u8,
        service_name_size: usize,
        method: *const u8,
        method_size: usize,
        metadata: *const u8,
        metadata_size: usize,
        token: *mut u32,
    ) -> Status;
    fn proxy_grpc_send(token: u32, message: *const u8, message_size: usize, end_of_stream: u32) -> Status;
    fn proxy_grpc_cancel(token: u32) -> Status;
}

/// Opens a stream to `service`, an `envoy.config.core.v3.GrpcService` in protobuf. Returns its number, which events use.
pub fn open(service: &[u8], service_name: &str, method: &str) -> Option<u32> {
    let mut token = 0;
    // SAFETY: the host reads the texts and writes the token during the call only; no metadata is null and empty.
    let status = unsafe {
        proxy_grpc_stream(
            service.as_ptr(),
            service.len(),
            service_name.as_ptr(),
            service_name.len(),
            method.as_ptr(),
            method.len(),
            null(),
            0,
            &mut token,
        )
    };
    (status == OK).then_some(token)
}

/// Sends one message and keeps the stream open; `false`: the stream has ended.
pub fn send(token: u32, message: &[u8]) -> bool {
    // SAFETY: the host reads the message during the call only.
    unsafe { proxy_grpc_send(token, message.as_ptr(), message.len(), 0) == OK }
}

/// Resets the stream. The host reports no more events for it.
pub fn cancel(token: u32) {
    // SAFETY: no memory is involved.
    unsafe {
        proxy_grpc_cancel(token);
    }
}
