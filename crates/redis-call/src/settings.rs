//! The settings of a transport.

use crate::UNKNOWN_SHA1;
use std::time::Duration;

/// The Lua script of a transport. It is called by its SHA-1, and sent in full to a node that does not know it.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// The Lua text.
    pub body: &'static str,
    /// The SHA-1 of the text in 40 hexadecimal digits.
    pub sha1_hex: &'static str,
}

impl Script {
    /// For a filter that sends plain commands only. A call of this script returns an error.
    pub const NONE: Script = Script {
        body: "return redis.error_reply('ERR no script was given to the transport')",
        sha1_hex: UNKNOWN_SHA1,
    };
}

/// The settings of a transport.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The script that [`Call::script`](crate::Call::script) calls.
    pub script: Script,
    /// The prefix of the probes' keys, without the colon that follows it.
    pub key_prefix: String,
    /// Most calls in flight, including those whose callers no longer wait.
    pub max_in_flight: usize,
    /// How long a caller waits for a reply at most.
    pub timeout: Duration,
    /// How long a stream is used; a random part of up to a quarter is added. Keep it below 8 minutes: Envoy closes the
    /// connections to a replaced listener after 10 minutes (`--drain-time-s`), and calls in flight on them are lost.
    pub stream_life: Duration,
}

impl Settings {
    /// The defaults: no script, 4,096 calls in flight, a timeout of 100 ms, streams that are used for 4 to 5 minutes.
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
