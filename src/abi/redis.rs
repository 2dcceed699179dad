//! The Redis client of Higress.
//! Source: higress-group/proxy-wasm-cpp-host `include/proxy-wasm/exports.h`, `src/exports.cc`. Both functions apply to the
//! root context of the effective context. They are available to modules of ABI 0.2.1 (`src/wasm.cc`).

use super::Status;

#[link(wasm_import_module = "env")]
extern "C" {
    fn proxy_redis_init(
        service: *const u8,
        service_size: usize,
        username: *const u8,
        username_size: usize,
        password: *const u8,
        password_size: usize,
        timeout_ms: u32,
    ) -> Status;
    fn proxy_redis_call(
        service: *const u8,
        service_size: usize,
        query: *const u8,
        query_size: usize,
        token: *mut u32,
    ) -> Status;
}

/// Configures the client of `service`: credentials, and its timeout in ms. Returns the host's status.
pub fn init(service: &str, username: &str, password: &str, timeout_ms: u32) -> Status {
    // SAFETY: the host reads the three texts during the call only.
    unsafe {
        proxy_redis_init(
            service.as_ptr(),
            service.len(),
            username.as_ptr(),
            username.len(),
            password.as_ptr(),
            password.len(),
            timeout_ms,
        )
    }
}

/// Sends one command. Returns the host's status and, if that is 0, the token of the reply.
pub fn call(service: &str, command: &[u8]) -> (Status, u32) {
    let mut token = 0;
    // SAFETY: the host reads both and writes the token during the call only.
    let status = unsafe {
        proxy_redis_call(
            service.as_ptr(),
            service.len(),
            command.as_ptr(),
            command.len(),
            &mut token,
        )
    };
    (status, token)
}
