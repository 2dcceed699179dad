//! When a refused caller may retry, in the form that each kind of client reads.
//!
//! HTTP clients read Retry-After, in whole seconds. The SDKs of OpenAI and Anthropic also read `retry-after-ms`, and
//! `x-should-retry`. gRPC clients read nothing but `grpc-retry-pushback-ms` (gRFC A6), and OTLP exporters and Google's
//! clients `google.rpc.RetryInfo` in the status.

use crate::decision::Decision;
use crate::headers::{seconds, Header, HeaderValue};
use crate::limit::Percent;
use base64ct::{Base64Unpadded, Encoding};

const RETRY_AFTER: &str = "retry-after";
const RETRY_AFTER_MS: &str = "retry-after-ms";
const SHOULD_RETRY: &str = "x-should-retry";
const PUSHBACK: &str = "grpc-retry-pushback-ms";
const STATUS_DETAILS: &str = "grpc-status-details-bin";

/// How long a caller should wait before a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryDelay {
    /// Retry-After: whole seconds, at least 1.
    pub seconds: u64,
    /// In ms, for clients that can wait for less than a second; never less than the decision's wait.
    pub millis: u64,
    /// Such a call can never pass, however long it waits.
    pub never: bool,
}

impl RetryDelay {
    /// For a 503: counting may work again in a second.
    pub const OF_ERROR: RetryDelay = RetryDelay {
        seconds: 1,
        millis: 1_000,
        never: false,
    };

    /// For a denial: the decision's wait, and up to `jitter` more; `random` is in [0, 1).
    pub fn of_denial(decision: &Decision, jitter: Percent, random: f64) -> RetryDelay {
        let more = f64::from(jitter.basis_points()) / 10_000.0 * random;
        let jittered = |wait: u64| wait as f64 * more;
        let whole = seconds(decision.retry_after_ms).max(1);
        RetryDelay {
            seconds: whole + jittered(whole).round() as u64,
            millis: decision.retry_after_ms.max(1) + jittered(decision.retry_after_ms).ceil() as u64,
            never: decision.never,
        }
    }

    /// Appends the headers for every caller.
    pub fn headers(&self, out: &mut Vec<Header>) {
        out.push((RETRY_AFTER, HeaderValue::Number(self.seconds)));
        if self.millis < 1_000 {
            out.push((RETRY_AFTER_MS, HeaderValue::Number(self.millis)));
        }
        if self.never {
            out.push((SHOULD_RETRY, "false".into()));
        }
    }

    /// Appends the headers for gRPC callers; `timeout_ms`: the caller's timeout; `status` and `message`: the reply's.
    pub fn grpc_headers(&self, timeout_ms: Option<u64>, status: u32, message: &str, out: &mut Vec<Header>) {
        let too_long = timeout_ms.is_some_and(|timeout| timeout < self.millis);
        let pushback = match self.never || too_long {
            true => "-1".into(),
            false => HeaderValue::Number(self.millis),
        };
        out.push((PUSHBACK, pushback));
        if !self.never {
            let details = status_with_retry_info(status, message, self.millis);
            out.push((STATUS_DETAILS, Base64Unpadded::encode_string(&details).into()));
        }
    }
}

/// A `google.rpc.Status` with a `google.rpc.RetryInfo` in its details, as protobuf. Written by hand: it has four
/// fields, and an encoder would add far more to the module.
fn status_with_retry_info(code: u32, message: &str, millis: u64) -> Vec<u8> {
    let mut duration = Vec::new();
    push_number(&mut duration, 1, millis / 1_000);
    push_number(&mut duration, 2, millis % 1_000 * 1_000_000);
    let mut retry_info = Vec::new();
    push_bytes(&mut retry_info, 1, &duration);
    let mut any = Vec::new();
    push_bytes(&mut any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
    push_bytes(&mut any, 2, &retry_info);
    let mut status = Vec::new();
    push_number(&mut status, 1, u64::from(code));
    push_bytes(&mut status, 2, message.as_bytes());
    push_bytes(&mut status, 3, &any);
    status
}

/// Appends a number's field; a 0 is not written.
fn push_number(out: &mut Vec<u8>, field: u8, number: u64) {
    if number > 0 {
        out.push(field << 3);
        push_varint(out, number);
    }
}

/// Appends the field of a text or a message.
fn push_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
