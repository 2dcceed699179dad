//! What a transport is told at its start.

use crate::UNKNOWN_SHA1;
use std::time::Duration;

/// The script as it is called, and as it is sent to a node that does not know it.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// The Lua text.
    pub body: &'static str,
    /// The SHA-1 of the text in 40 hexadecimal digits.
    pub sha1_hex: &'static str,
}

impl Script {
    /// For a filter that makes plain commands only. A call of it is answered with an error.
    pub const NONE: Script = Script {
        body: "return redis.error_reply('ERR no script was given to the transport')",
        sha1_hex: UNKNOWN_SHA1,
    };
}

/// The settings of a transport.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// What [`Call::script`](crate::Call::script) calls.
    pub script: Script,
    /// Keys of probes begin with it and a colon; it is without the colon.
    pub key_prefix: String,
    /// Calls under way at most, those included whose callers have gone.
    pub max_in_flight: usize,
    /// The longest that a caller waits.
    pub timeout: Duration,
    /// How long a stream is used, and by chance up to a quarter more: to be less than the 10 minutes (`--drain-time-s`)
    /// after which Envoy closes what leads to a listener that was replaced, with the calls under way.
    pub stream_life: Duration,
}

impl Settings {
    /// No script, 4,096 calls under way, a timeout of 100 ms, streams of 4 to 5 minutes.
    pub fn new(key_prefix: &str) -> Settings {
        Settings {
            script: Script::NONE,
            key_prefix: key_prefix.to_owned(),
            max_in_flight: 4_096,
            timeout: Duration::from_millis(100),
            stream_life: Duration::from_secs(240),
        }
    }
}
