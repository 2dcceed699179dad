//! The transport to Redis over the gateway's own Redis functions (Higress).

use super::worker::Worker;
use crate::abi::buffer::Buffer;
use crate::abi::redis;
use crate::config::ConfigErrors;
use crate::engine::CallId;
use crate::model::{NativeSettings, Policy, Store};
use crate::redis::{Native, NativeHost, Refusal, Settings, NATIVE_STALL};
use crate::telemetry::refusal_text;
use fastrand::Rng;
use std::time::Instant;

/// The status with which the host calls back for a reply, including error replies. Any other status means a broken
/// connection or a timeout. source: higress-group/proxy-wasm-cpp-sdk `proxy_wasm_enums.h` (RedisStatus)
const REPLIED: u32 = 0;

/// One Redis service of the gateway, with the credentials of one user.
pub struct RedisService {
    service: String,
    username: String,
    /// Empty: no password.
    password: String,
    timeout_ms: u32,
}

impl NativeHost for RedisService {
    fn init(&self) -> Result<(), Refusal> {
        Refusal::check(redis::init(
            &self.service,
            &self.username,
            &self.password,
            self.timeout_ms,
        ))
    }

    fn call(&self, command: &[u8]) -> Result<u32, Refusal> {
        let (status, token) = redis::call(&self.service, command);
        Refusal::check(status).map(|()| token)
    }

    fn has_credentials(&self) -> bool {
        !self.password.is_empty()
    }
}

/// The transport of this artifact.
pub type NativeTransport = Native<RedisService, CallId>;

pub fn transport(policy: &Policy, _: Instant, random: Rng, settings: Settings) -> NativeTransport {
    let redis = &policy.redis;
    let timeout_ms = (redis.timeout + NATIVE_STALL).as_millis() as u32;
    let service = RedisService {
        service: redis
            .native
            .as_ref()
            .map(NativeSettings::service)
            .unwrap_or_default(),
        username: String::new(),
        password: String::new(),
        timeout_ms,
    };
    Native::new(random, service, settings)
}

impl Worker {
    /// Sends the credentials to the gateway's client, once per configuration.
    ///
    /// # Errors
    /// An environment variable is not set, or the gateway has no Redis functions.
    pub fn connect(&self) -> Result<(), ConfigErrors> {
        let native = self.policy.redis.native.as_ref();
        let Some(native) = native.filter(|_| self.policy.store == Store::Redis) else {
            return Ok(());
        };
        let credentials = native.credentials(|name| std::env::var(name).ok())?;
        let configured = self.with_transport(|transport| {
            if let Some((username, password)) = credentials {
                let service = transport.host_mut();
                service.username = username;
                service.password = password;
            }
            transport.configure(Instant::now())
        });
        match configured {
            Some(Err(refusal)) => Err(ConfigErrors::at("redis.native", &refusal_text(refusal))),
            _ => Ok(()),
        }
    }

    /// Handles the end of a call, with a reply of `size` bytes. The reply must be read during the callback: the host
    /// drops it afterwards.
    pub fn on_redis_call_response(&self, token: u32, status: u32, size: usize) {
        let reply = match status {
            // Empty bytes are an invalid reply.
            REPLIED => Some(Buffer::RedisCallResponse.read(size).unwrap_or_default()),
            _ => None,
        };
        self.on_transport(move |transport, now, completed| {
            transport.on_reply(now, token, reply.as_deref(), completed);
        });
    }
}
