//! The gateway's own Redis functions (Higress), as the native road needs them, and the replies that come back.

use super::host;
use super::worker::Worker;
use crate::config::{ConfigErrors, NativeSettings, Policy, Store};
use crate::redis::{Native, NativeHost, Refusal, Script, NATIVE_STALL};
use std::cell::RefCell;
use std::ptr::null_mut;
use std::rc::{Rc, Weak};
use std::time::Instant;

/// Where the host keeps a reply while it calls [`proxy_on_redis_call_response`], and only then.
/// source: higress-group/proxy-wasm-cpp-sdk `proxy_wasm_common.h` (WasmBufferType)
const REDIS_CALL_RESPONSE: u32 = 9;

/// The callback's status for a reply, be it an error's; anything else is a broken connection or a time-out.
/// source: higress-group/proxy-wasm-cpp-sdk `proxy_wasm_enums.h` (RedisStatus)
const REPLIED: u32 = 0;

// source: higress-group/proxy-wasm-cpp-host `include/proxy-wasm/exports.h`, `src/exports.cc`; both act for the root
// context of the effective context. They are there for modules of ABI 0.2.1 (`src/wasm.cc`).
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
    ) -> u32;
    fn proxy_redis_call(
        service: *const u8,
        service_size: usize,
        query: *const u8,
        query_size: usize,
        token: *mut u32,
    ) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
}

/// One service of the gateway, as one user.
pub struct RedisService {
    service: String,
    username: String,
    /// Empty: none.
    password: String,
    timeout_ms: u32,
}

impl NativeHost for RedisService {
    fn init(&self) -> Result<(), Refusal> {
        // SAFETY: the host reads the three texts during the call only.
        Refusal::check(unsafe {
            proxy_redis_init(
                self.service.as_ptr(),
                self.service.len(),
                self.username.as_ptr(),
                self.username.len(),
                self.password.as_ptr(),
                self.password.len(),
                self.timeout_ms,
            )
        })
    }

    fn call(&self, command: &[u8]) -> Result<u32, Refusal> {
        let mut token = 0;
        // SAFETY: the host reads both and writes the token during the call only.
        Refusal::check(unsafe {
            proxy_redis_call(
                self.service.as_ptr(),
                self.service.len(),
                command.as_ptr(),
                command.len(),
                &mut token,
            )
        })
        .map(|()| token)
    }

    fn has_credentials(&self) -> bool {
        !self.password.is_empty()
    }

    fn warn_once(&self, text: &str) {
        host::say_once(log::Level::Warn, text);
    }
}

/// The road to Redis in this artifact.
pub type Road = Native<RedisService>;

pub fn road(policy: &Policy, script: Script) -> Road {
    let settings = &policy.redis;
    let timeout_ms = (settings.timeout + NATIVE_STALL).as_millis() as u32;
    let service = RedisService {
        service: settings
            .native
            .as_ref()
            .map(NativeSettings::service)
            .unwrap_or_default(),
        username: String::new(),
        password: String::new(),
        timeout_ms,
    };
    Native::new(
        service,
        script,
        &settings.key_prefix,
        settings.max_in_flight,
        settings.timeout,
    )
}

thread_local! {
    /// Who gets the replies of which root context.
    static WORKERS: RefCell<Vec<(u32, Weak<Worker>)>> = const { RefCell::new(Vec::new()) };
}

/// The replies to calls of this root context are the worker's from now on.
fn listen(root: u32, worker: &Rc<Worker>) {
    WORKERS.with(|workers| {
        if let Ok(mut workers) = workers.try_borrow_mut() {
            workers.retain(|(other, worker)| *other != root && worker.strong_count() > 0);
            workers.push((root, Rc::downgrade(worker)));
        }
    });
}

/// Called by the host, as the SDK knows nothing of it.
/// source: higress-group/proxy-wasm-cpp-host `src/context.cc` (onRedisCallResponse): the root context's number, the
/// token, the status and the reply's size, four 32-bit words
#[no_mangle]
pub extern "C" fn proxy_on_redis_call_response(root: u32, token: u32, status: u32, size: usize) {
    let worker = WORKERS.with(|workers| {
        let workers = workers.try_borrow().ok()?;
        let (_, worker) = workers.iter().find(|(number, _)| *number == root)?;
        worker.upgrade()
    });
    let Some(worker) = worker else { return };
    match status {
        REPLIED => worker.on_reply(token, Some(&buffer(size))),
        _ => worker.on_reply(token, None),
    }
}

/// The reply; empty, and so none, where the host has none.
fn buffer(size: usize) -> Vec<u8> {
    let (mut data, mut got) = (null_mut(), 0);
    // SAFETY: the host writes a buffer that it allocated through the module's allocator, and its size.
    unsafe {
        let status = proxy_get_buffer_bytes(REDIS_CALL_RESPONSE, 0, size, &mut data, &mut got);
        host::owned(status, data, got).unwrap_or_default()
    }
}

impl Worker {
    /// Tells the gateway's client who calls, once a configuration; `root`: the host's number of the root context.
    ///
    /// # Errors
    /// No such environment variable, or no such gateway.
    pub fn connect(self: &Rc<Worker>, root: u32) -> Result<(), ConfigErrors> {
        listen(root, self);
        let native = self.policy.redis.native.as_ref();
        let Some(native) = native.filter(|_| self.policy.store == Store::Redis) else {
            return Ok(());
        };
        let credentials = native.credentials(|name| std::env::var(name).ok())?;
        let mut road = self.redis.borrow_mut();
        if let Some((username, password)) = credentials {
            let service = road.host_mut();
            service.username = username;
            service.password = password;
        }
        let configured = road.configure(Instant::now());
        configured.map_err(|refusal| ConfigErrors::at("redis.native", &refusal.to_string()))
    }

    fn on_reply(&self, token: u32, reply: Option<&[u8]>) {
        self.on_road(|road, now, completed| road.on_reply(now, token, reply, completed));
    }
}
