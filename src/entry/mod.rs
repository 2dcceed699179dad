//! What Envoy loads: a root context for each configuration, which is one of the two roles, and the streams that it is
//! used for. A stream that its configuration is not for is refused: a request is answered, a connection is closed.

mod exports;
#[cfg(not(feature = "higress"))]
mod listener;

use crate::abi::buffer::{close_downstream, Buffer};
use crate::abi::host::{self, say_once};
use crate::config::{self, Plugin, Policy, Transport};
#[cfg(not(feature = "higress"))]
use crate::drill;
use crate::filter::{panic_hook, Request, Worker};
use crate::headers::ENVOY_RATELIMITED;
use crate::identify::Hasher;
use crate::local;
use crate::reply::Reply;
#[cfg(not(feature = "higress"))]
use listener::{Connection, Listener};
use log::Level;
use redis_call::guard::Throttle;
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::time::Instant;

/// How this module reaches Redis.
const TRANSPORT: Transport = match cfg!(feature = "higress") {
    true => Transport::Native,
    false => Transport::Streams,
};

/// The environment variable with the key that hides secrets; the same for all Envoys.
const HASH_KEY: &str = "HEADGATE_HASH_KEY";

const NO_HASH_KEY: &str = "headgate: HEADGATE_HASH_KEY is not set: secrets are hashed without a key, and values that can be guessed \
     can be found out from Redis keys and logs. Set it in Envoy's environment, the same for all Envoys, and name it in \
     vm_config.environment_variables";

/// https://grpc.github.io/grpc/core/md_doc_statuscodes.html
const UNAVAILABLE: u32 = 14;

/// A stream refused for its configuration, in the log: at most one line a second.
const REQUEST_REFUSED: &str =
    "request answered with 503: an HTTP filter has the configuration of the Redis call (role: \
     redis_call, or redis.key_prefix alone); write limits, and leave out role";
const CONNECTION_REFUSED: &str =
    "connection closed: a network filter has the configuration of an HTTP filter (limits); \
     write role: redis_call and redis.key_prefix, and nothing else";

/// A root context.
struct Root {
    /// None before it is configured. The host configures it again only with the same configuration.
    role: OnceCell<Role>,
    refused: RefCell<Throttle>,
    created: Instant,
}

enum Role {
    Filter(Rc<Worker>),
    #[cfg(not(feature = "higress"))]
    RedisCall(Listener),
}

/// What the host uses a configuration for.
enum Stream {
    Request(Request),
    #[cfg(not(feature = "higress"))]
    Connection(Connection),
    /// What the configuration is not for.
    Refused,
}

impl Default for Root {
    fn default() -> Root {
        Root {
            role: OnceCell::new(),
            refused: RefCell::default(),
            created: Instant::now(),
        }
    }
}

/// Hides secrets under the key from the environment; an empty one counts as no key.
fn hasher() -> Hasher {
    let key = std::env::var_os(HASH_KEY).map(std::ffi::OsString::into_encoded_bytes);
    Hasher::new(key.as_deref().filter(|key| !key.is_empty())).remembering()
}

fn say_what_is_approximated(policy: &Policy) {
    let names = local::approximated(policy);
    if !names.is_empty() {
        let text = format!(
            "headgate: a log of more than {} calls is not kept in Envoy's memory: where this Envoy counts by itself, these \
             limits are counted as sliding_window_counter: {}",
            local::LONGEST_LOG,
            names.join(", ")
        );
        say_once(Level::Info, &text);
    }
}

impl Root {
    /// `size`: the configuration's, in bytes. `false`: it is refused.
    fn on_configure(&self, size: usize) -> bool {
        if self.role.get().is_some() {
            return true;
        }
        let bytes = Buffer::PluginConfiguration.read(size).unwrap_or_default();
        let role = match config::parse_for(TRANSPORT, &bytes) {
            Ok(Plugin::Filter(policy)) => {
                let hasher = hasher();
                if !hasher.is_keyed() && policy.holds_secrets() {
                    say_once(Level::Warn, NO_HASH_KEY);
                }
                say_what_is_approximated(&policy);
                let worker = Rc::new(Worker::new(*policy, hasher, config::version(&bytes)));
                panic_hook::remember(&worker);
                #[cfg(feature = "higress")]
                if let Err(errors) = worker.connect() {
                    log::error!("headgate: the configuration is refused:\n{errors}");
                    return false;
                }
                Role::Filter(worker)
            }
            #[cfg(feature = "higress")]
            Ok(Plugin::RedisCall { .. }) => {
                log::error!(
                    "headgate: the configuration is refused:\nrole redis_call, or redis.key_prefix alone: headgate.wasm \
                     has this role, headgate-higress.wasm needs none; write limits"
                );
                return false;
            }
            #[cfg(not(feature = "higress"))]
            Ok(Plugin::RedisCall { key_prefix }) => {
                Role::RedisCall(Listener::new(&key_prefix, drill::ACCEPTED))
            }
            Err(errors) => {
                log::error!("headgate: the configuration is refused:\n{errors}");
                return false;
            }
        };
        self.role.set(role).is_ok()
    }

    fn worker(&self) -> Option<&Worker> {
        match self.role.get()? {
            Role::Filter(worker) => Some(worker),
            #[cfg(not(feature = "higress"))]
            Role::RedisCall(_) => None,
        }
    }

    /// The stream `id` is a request.
    fn request(&self, id: u32) -> Stream {
        if let Some(Role::Filter(worker)) = self.role.get() {
            return Stream::Request(Request::new(id, worker.clone()));
        }
        self.report(REQUEST_REFUSED);
        host::set_filter_state("ratelimit_decision", b"failed_closed");
        host::set_filter_state("ratelimit_error", b"true");
        host::reply(&Reply {
            status: 503,
            grpc_status: UNAVAILABLE,
            details: "headgate_error",
            headers: vec![(ENVOY_RATELIMITED, "true".into())],
            body: "Rate limit could not be checked".to_owned(),
            retry_after: None,
        });
        Stream::Refused
    }

    /// The stream is a connection.
    fn connection(&self) -> Stream {
        #[cfg(not(feature = "higress"))]
        if let Some(Role::RedisCall(listener)) = self.role.get() {
            return Stream::Connection(listener.connection());
        }
        self.report(CONNECTION_REFUSED);
        close_downstream();
        Stream::Refused
    }

    fn report(&self, what: &str) {
        let since = self.created.elapsed();
        let admitted = self.refused.try_borrow_mut().ok();
        if let Some(silenced) = admitted.and_then(|mut throttle| throttle.admit(since, 1)) {
            log::error!("headgate: {what} (and {silenced} more since the last such line)");
        }
    }
}
