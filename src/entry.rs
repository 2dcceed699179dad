//! What Envoy loads: a root context for each configuration, which becomes one of the two roles.

use crate::config::{self, Plugin, Policy};
use crate::filter::{last_words, say_once, Request, Worker};
use crate::identify::Hasher;
use crate::local;
#[cfg(not(feature = "higress"))]
use crate::redis_call::Listener;
#[cfg(not(feature = "higress"))]
use crate::script;
use log::Level;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};
use std::rc::Rc;

/// The environment variable with the key that hides secrets; the same for all Envoys.
const HASH_KEY: &str = "HEADGATE_HASH_KEY";

const NO_HASH_KEY: &str = "HEADGATE_HASH_KEY is not set: secrets are hashed without a key, and values that can be guessed \
     can be found out from Redis keys and logs. Set it in Envoy's environment, the same for all Envoys, and name it in \
     vm_config.environment_variables";

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    last_words::install();
    proxy_wasm::set_root_context(|_number| {
        Box::new(Root {
            #[cfg(feature = "higress")]
            number: _number,
            role: Role::Unconfigured,
        })
    });
}}

struct Root {
    /// The host's number of this context.
    #[cfg(feature = "higress")]
    number: u32,
    role: Role,
}

enum Role {
    Unconfigured,
    Filter(Rc<Worker>),
    #[cfg(not(feature = "higress"))]
    RedisCall(Listener),
}

impl Root {
    fn worker(&self) -> Option<&Rc<Worker>> {
        match &self.role {
            Role::Filter(worker) => Some(worker),
            _ => None,
        }
    }
}

/// Hides secrets under the key from the environment; an empty one is none.
fn hasher() -> Hasher {
    let key = std::env::var_os(HASH_KEY).map(std::ffi::OsString::into_encoded_bytes);
    Hasher::new(key.as_deref().filter(|key| !key.is_empty())).remembering()
}

fn say_what_is_approximated(policy: &Policy) {
    let names = local::approximated(policy);
    if !names.is_empty() {
        let text = format!(
            "a log of more than {} calls is not kept in Envoy's memory: where this Envoy counts by itself, these \
             limits are counted as sliding_window_counter: {}",
            local::LONGEST_LOG,
            names.join(", ")
        );
        say_once(Level::Info, &text);
    }
}

impl Context for Root {
    #[cfg(not(feature = "higress"))]
    fn on_grpc_stream_message(&mut self, stream: u32, size: usize) {
        let message =
            proxy_wasm::hostcalls::get_buffer(proxy_wasm::types::BufferType::GrpcReceiveBuffer, 0, size);
        if let (Some(worker), Ok(Some(message))) = (self.worker(), message) {
            worker.on_message(stream, &message);
        }
    }

    #[cfg(not(feature = "higress"))]
    fn on_grpc_stream_close(&mut self, stream: u32, _status: u32) {
        if let Some(worker) = self.worker() {
            worker.on_close(stream);
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        self.role = match config::parse(&bytes) {
            Ok(Plugin::Filter(policy)) => {
                let hasher = hasher();
                if !hasher.is_keyed() && policy.holds_secrets() {
                    say_once(Level::Warn, NO_HASH_KEY);
                }
                say_what_is_approximated(&policy);
                let worker = Rc::new(Worker::new(*policy, hasher, config::version(&bytes)));
                last_words::remember(&worker);
                #[cfg(feature = "higress")]
                if let Err(errors) = worker.connect(self.number) {
                    log::error!("headgate: the configuration is refused:\n{errors}");
                    return false;
                }
                Role::Filter(worker)
            }
            #[cfg(feature = "higress")]
            Ok(Plugin::RedisCall { .. }) => {
                log::error!(
                    "headgate: role redis_call: headgate.wasm has it, headgate-higress.wasm needs none"
                );
                return false;
            }
            #[cfg(not(feature = "higress"))]
            Ok(Plugin::RedisCall { key_prefix }) => {
                Role::RedisCall(Listener::new(&key_prefix, script::ACCEPTED))
            }
            Err(errors) => {
                log::error!("headgate: the configuration is refused:\n{errors}");
                return false;
            }
        };
        true
    }

    fn on_tick(&mut self) {
        if let Some(worker) = self.worker() {
            worker.on_tick();
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        match self.role {
            #[cfg(not(feature = "higress"))]
            Role::RedisCall(_) => Some(ContextType::StreamContext),
            _ => Some(ContextType::HttpContext),
        }
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        let worker = self.worker()?;
        Some(Box::new(Request::new(context, worker.clone())))
    }

    #[cfg(not(feature = "higress"))]
    fn create_stream_context(&self, _context: u32) -> Option<Box<dyn proxy_wasm::traits::StreamContext>> {
        match &self.role {
            Role::RedisCall(listener) => Some(listener.connection()),
            _ => None,
        }
    }
}
