//! Fault injection, in builds for tests only (feature `fault-injection`): the module panics on request, uses the script of the next
//! release, and shortens intervals that otherwise take minutes. No released module contains any of it.

use headgate_core::script;
use redis_call::Script;
use std::time::Duration;

const ENABLED: bool = cfg!(feature = "fault-injection");

/// The scripts whose calls may reach Redis. The first one is the script that is called.
pub const ACCEPTED: &[Script] = if ENABLED {
    script::NEXT_ACCEPTED
} else {
    script::ACCEPTED
};

/// How often the most rejected clients are logged.
pub const TOP_EVERY: Duration = Duration::from_secs(if ENABLED { 1 } else { 60 });

/// How long a stream to Redis is used; `None`: the default.
#[cfg(not(feature = "higress"))]
pub const STREAM_LIFE: Option<Duration> = if ENABLED {
    Some(Duration::from_secs(1))
} else {
    None
};

/// Panics if `bytes` contain `word`.
#[cfg(feature = "fault-injection")]
#[allow(clippy::panic)]
pub fn panic_on(bytes: &[u8], word: &[u8]) {
    if bytes.windows(word.len()).any(|window| window == word) {
        panic!("fault injection");
    }
}
