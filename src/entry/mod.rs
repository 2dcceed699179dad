//! The entry points of the module: a root context per configuration, which has one of the two roles, and its streams. A
//! stream that does not fit the role is refused: a request is answered with 503, a connection is closed.

mod exports;
#[cfg(not(feature = "higress"))]
mod listener;

use crate::abi::buffer::{close_downstream, Buffer};
use crate::abi::host::{self, log_once};
use crate::config::{self, Plugin, Policy, Transport};
#[cfg(not(feature = "higress"))]
use crate::fault_injection;
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
use std::fmt;
use std::rc::Rc;
use std::time::Instant;

/// The transport to Redis of this artifact.
const TRANSPORT: Transport = match cfg!(feature = "higress") {
    true => Transport::Native,
    false => Transport::Streams,
};

/// The environment variable with the key for hashing secrets; it must be the same for all Envoys.
const HASH_KEY: &str = "HEADGATE_HASH_KEY";

const NO_HASH_KEY: &str = "headgate: HEADGATE_HASH_KEY is not set: secrets are hashed without a key, so short or common ones can be \
     recovered from Redis keys and logs. Set it in Envoy's environment, to the same value for all Envoys, and list it in \
     vm_config.environment_variables";

/// https://grpc.github.io/grpc/core/md_doc_statuscodes.html
const UNAVAILABLE: u32 = 14;

/// The log texts for streams that are refused because of the configuration; at most one line a second.
const REQUEST_REFUSED: &str =
    "request answered with 503: an HTTP filter has the configuration of the Redis call (role: \
     redis_call, or redis.key_prefix alone); write limits, and leave out role";
const CONNECTION_REFUSED: &str =
    "connection closed: a network filter has the configuration of an HTTP filter (limits); \
     write role: redis_call and redis.key_prefix, and nothing else";

/// A root context.
struct Root {
    /// Empty before it is configured. The host configures a root context again only with the same configuration.
    role: OnceCell<Role>,
    refused: RefCell<Throttle>,
    created: Instant,
}

enum Role {
    Filter(Rc<Worker>),
    #[cfg(not(feature = "higress"))]
    RedisCall(Listener),
}

/// A stream of a root context.
enum Stream {
    Request(Request),
    #[cfg(not(feature = "higress"))]
    Connection(Connection),
    /// The configuration has the other role.
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

/// Hashes secrets with the key from the environment; an empty key is no key.
fn hasher() -> Hasher {
    let key = std::env::var_os(HASH_KEY).map(std::ffi::OsString::into_encoded_bytes);
    Hasher::new(key.as_deref().filter(|key| !key.is_empty())).remembering()
}

/// Logs why a configuration is refused, in one line. Always `false`, the result for the host.
fn refuse(reasons: &dyn fmt::Display) -> bool {
    let reasons = reasons.to_string().replace('\n', "; ");
    log::error!("headgate: configuration refused: {reasons}");
    false
}

fn log_approximated_limits(policy: &Policy) {
    let names = local::approximated(policy);
    if !names.is_empty() {
        let text = format!(
            "headgate: Envoy's memory keeps no sliding window log of more than {} requests: when this Envoy counts locally, \
             these limits are counted as sliding_window_counter: {}",
            local::LONGEST_LOG,
            names.join(", ")
        );
        log_once(Level::Info, &text);
    }
}

impl Root {
    /// `size` is the size of the configuration in bytes. `false`: the configuration is refused.
    fn on_configure(&self, size: usize) -> bool {
        if self.role.get().is_some() {
            return true;
        }
        let bytes = Buffer::PluginConfiguration.read(size).unwrap_or_default();
        let role = match config::parse_for(TRANSPORT, &bytes) {
            Ok(Plugin::Filter(policy)) => {
                let hasher = hasher();
                if !hasher.is_keyed() && policy.holds_secrets() {
                    log_once(Level::Warn, NO_HASH_KEY);
                }
                log_approximated_limits(&policy);
                let worker = Rc::new(Worker::new(*policy, hasher, config::version(&bytes)));
                panic_hook::remember(&worker);
                #[cfg(feature = "higress")]
                if let Err(errors) = worker.connect() {
                    return refuse(&errors);
                }
                Role::Filter(worker)
            }
            #[cfg(feature = "higress")]
            Ok(Plugin::RedisCall { .. }) => {
                return refuse(
                    &"role: redis_call (or redis.key_prefix alone) is a role of headgate.wasm; headgate-higress.wasm does \
                      not need it; write limits",
                );
            }
            #[cfg(not(feature = "higress"))]
            Ok(Plugin::RedisCall { key_prefix }) => {
                Role::RedisCall(Listener::new(&key_prefix, fault_injection::ACCEPTED))
            }
            Err(errors) => return refuse(&errors),
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
