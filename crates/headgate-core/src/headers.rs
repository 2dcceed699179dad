//! Writes a decision's figures as headers: X-RateLimit-*, and the IETF draft's RateLimit fields.
//!
//! The draft's names are only here: draft-ietf-httpapi-ratelimit-headers-11.

use crate::decision::{Decision, Figures};
use crate::limit::{Limit, Quota};
use crate::model::{ResetForm, ResponseSettings};
use std::borrow::Cow;
use std::fmt::{self, Write};

/// N of the limit that is shown, or the bucket's capacity for gcra.
pub const LIMIT: &str = "x-ratelimit-limit";
/// What is left of it, in requests (or units of cost).
pub const REMAINING: &str = "x-ratelimit-remaining";
/// When the whole quota is available again: unix time or a delay, both in seconds ([`ResetForm`]).
pub const RESET: &str = "x-ratelimit-reset";
/// On the request to the upstream: a limit in shadow would have denied it.
pub const LIMITED: &str = "x-ratelimit-limited";
/// Envoy's retry policies leave a reply with this header alone.
pub const ENVOY_RATELIMITED: &str = "x-envoy-ratelimited";
/// The limits that apply (draft-ietf-httpapi-ratelimit-headers).
pub const IETF_POLICY: &str = "ratelimit-policy";
/// The remaining quota of each (draft-ietf-httpapi-ratelimit-headers).
pub const IETF_STATE: &str = "ratelimit";

/// A header to set.
pub type Header = (&'static str, HeaderValue);

/// The value of a header.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeaderValue {
    /// Formatted when it is sent.
    Number(u64),
    /// A text.
    Text(Cow<'static, str>),
}

impl HeaderValue {
    /// As it is sent; a number is written into `buffer`.
    pub fn as_str<'a>(&'a self, buffer: &'a mut itoa::Buffer) -> &'a str {
        match self {
            HeaderValue::Number(number) => buffer.format(*number),
            HeaderValue::Text(text) => text,
        }
    }

    /// The value as a number; `None`: not a number.
    pub fn number(&self) -> Option<u64> {
        match self {
            HeaderValue::Number(number) => Some(*number),
            HeaderValue::Text(text) => text.parse().ok(),
        }
    }
}

impl fmt::Display for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str(&mut itoa::Buffer::new()))
    }
}

impl From<&'static str> for HeaderValue {
    fn from(text: &'static str) -> HeaderValue {
        HeaderValue::Text(Cow::Borrowed(text))
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> HeaderValue {
        HeaderValue::Text(Cow::Owned(text))
    }
}

/// The two families of quota headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `x-ratelimit-limit`, `-remaining` and `-reset`.
    XRateLimit,
    /// `ratelimit-policy` and `ratelimit`, of the IETF draft.
    Ietf,
}

impl Family {
    /// The family of a header, by its name in lower case: `x-ratelimit*` and `x-rate-limit-*`, or `ratelimit*`, which
    /// older drafts use as well. `None`: neither. Underscores count as hyphens: upstreams that put headers into
    /// variables (CGI, WSGI) do not distinguish them.
    pub fn of(name: &[u8]) -> Option<Family> {
        // Most names differ from all of these in their first letters.
        if !matches!(name, [b'x', _, b'r', b'a', ..] | [b'r', b'a', ..]) {
            return None;
        }
        let spelled = || name.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte });
        let begins = |start: &str| spelled().take(start.len()).eq(start.bytes());
        if begins("x-ratelimit") || begins("x-rate-limit-") {
            return Some(Family::XRateLimit);
        }
        begins("ratelimit").then_some(Family::Ietf)
    }
}

/// Whole seconds, rounded up.
pub fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1_000)
}

/// The figures of the shown limit, for the response and for the request to the upstream; `unix_ms`: the wall clock.
pub fn quota(
    settings: &ResponseSettings,
    limits: &[Limit],
    decision: &Decision,
    unix_ms: u64,
) -> Vec<Header> {
    let mut headers = Vec::with_capacity(5);
    if let (true, Some(figures)) = (settings.x_ratelimit, decision.shown.as_ref()) {
        let reset = reset(settings.reset, figures.reset_ms, unix_ms);
        headers.push((LIMIT, HeaderValue::Number(figures.quota)));
        headers.push((REMAINING, HeaderValue::Number(figures.remaining)));
        headers.push((RESET, HeaderValue::Number(reset)));
    }
    if settings.ietf && decision.shown.is_some() {
        let (mut policy, mut state) = (String::new(), String::new());
        for figures in &decision.applied {
            ietf(&mut policy, &mut state, limits, figures);
        }
        headers.push((IETF_POLICY, policy.into()));
        headers.push((IETF_STATE, state.into()));
    }
    headers
}

/// When the whole quota is available again, in seconds: as unix time by Envoy's clock, or as a wait.
pub fn reset(form: ResetForm, reset_ms: u64, unix_ms: u64) -> u64 {
    match form {
        ResetForm::Unix => seconds(unix_ms.saturating_add(reset_ms)),
        ResetForm::Delta => seconds(reset_ms),
    }
}

fn ietf(policy: &mut String, state: &mut String, limits: &[Limit], figures: &Figures) {
    let Some(limit) = limits.get(figures.limit) else {
        return;
    };
    let separator = if policy.is_empty() { "" } else { ", " };
    let (name, quota) = (&limit.name, figures.quota);
    // Names are tokens or rates: nothing in them needs escaping in a structured field's string.
    let _ = write!(policy, "{separator}\"{name}\";q={quota}");
    if let Quota::Limited(rate) = limit.quota {
        let _ = write!(policy, ";w={}", seconds(rate.period.as_millis()));
    }
    let (remaining, reset) = (figures.remaining, seconds(figures.reset_ms));
    let _ = write!(state, "{separator}\"{name}\";r={remaining};t={reset}");
}
