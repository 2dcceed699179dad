//! What differs in builds for tests (feature `drill`): a release that can be told to die, whose script is not this
//! one's, and which does sooner what otherwise takes minutes. Nothing of it is in a module that ships.

use headgate_core::script;
use redis_call::Script;
use std::time::Duration;

const IS_DRILL: bool = cfg!(feature = "drill");

/// The scripts whose calls may reach Redis, the one that is called first.
pub const ACCEPTED: &[Script] = if IS_DRILL {
    script::NEXT_ACCEPTED
} else {
    script::ACCEPTED
};

/// The most rejected clients are told this often.
pub const TOP_EVERY: Duration = Duration::from_secs(if IS_DRILL { 1 } else { 60 });

/// How long a stream to Redis is used; `None`: as long as always.
#[cfg(not(feature = "higress"))]
pub const STREAM_LIFE: Option<Duration> = if IS_DRILL {
    Some(Duration::from_secs(1))
} else {
    None
};

/// Panics where `bytes` contain the word.
#[cfg(feature = "drill")]
#[allow(clippy::panic)]
pub fn trap_on(bytes: &[u8], word: &[u8]) {
    if bytes.windows(word.len()).any(|window| window == word) {
        panic!("a drill");
    }
}
