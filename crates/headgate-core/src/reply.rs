//! The filter's own replies: 429 if a limit denies, 503 if nothing could be counted, 403 without a client, 400 if a
//! request identifies several. Each has an HTTP status and a gRPC status; Envoy sends the one that the caller reads.

use crate::decision::{Decision, Figures, Outcome};
use crate::headers::{self, Header};
use crate::limit::Percent;
use crate::model::{BodyFormat, Policy};
use crate::protocol::Protocol;
use crate::retry::RetryDelay;
use serde::Serialize;
use std::borrow::Cow;

/// A reply that the filter sends instead of the upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The gRPC status, for callers that use gRPC.
    pub grpc_status: u32,
    /// Envoy's response code details: who refused, for access logs and `local_reply_config`.
    pub details: &'static str,
    /// The headers.
    pub headers: Vec<Header>,
    /// For gRPC, the message.
    pub body: String,
    /// Retry-After, in seconds; `None` if none is sent.
    pub retry_after: Option<u64>,
}

/// The names of a refusal in each protocol.
struct Words {
    /// https://grpc.github.io/grpc/core/md_doc_statuscodes.html
    grpc_status: u32,
    /// https://connectrpc.com/docs/protocol/#error-codes
    connect_code: &'static str,
    details: &'static str,
}

const DENIED: Words = Words {
    grpc_status: 8,
    connect_code: "resource_exhausted",
    details: "headgate_denied",
};
const ERROR: Words = Words {
    grpc_status: 14,
    connect_code: "unavailable",
    details: "headgate_error",
};
const NO_CLIENT: Words = Words {
    grpc_status: 7,
    connect_code: "permission_denied",
    details: "headgate_no_client",
};
const AMBIGUOUS_CLIENT: Words = Words {
    grpc_status: 3,
    connect_code: "invalid_argument",
    details: "headgate_ambiguous_client",
};

const PROBLEM_TYPES: &str = "https://iana.org/assignments/http-problem-types";

impl Reply {
    /// The reply to a refused request; `None` if the decision does not refuse. `unix_ms`: the wall clock; `random`
    /// returns a number in [0, 1) for the jitter.
    pub fn new(
        policy: &Policy,
        decision: &Decision,
        protocol: Protocol,
        unix_ms: u64,
        random: impl FnOnce() -> f64,
    ) -> Option<Reply> {
        let settings = &policy.response;
        let (words, status, wait) = match decision.outcome {
            Outcome::Denied => {
                let jitter = settings.retry_after_jitter;
                let random = if jitter == Percent::NONE { 0.0 } else { random() };
                let wait = RetryDelay::of_denial(decision, jitter, random);
                (DENIED, settings.status, Some(wait))
            }
            Outcome::FailedClosed => (ERROR, settings.error_status, Some(RetryDelay::OF_ERROR)),
            Outcome::NoClient { refused: true } => (NO_CLIENT, 403, None),
            Outcome::AmbiguousClient => (AMBIGUOUS_CLIENT, 400, None),
            Outcome::Allowed | Outcome::FailedOpen | Outcome::Exempt | Outcome::NoClient { .. } => {
                return None
            }
        };
        let text = match decision.outcome {
            Outcome::Denied => text(policy, decision, wait.map_or(0, |wait| wait.seconds)),
            Outcome::FailedClosed => "Rate limit could not be checked, try again".to_owned(),
            Outcome::AmbiguousClient => "Client is identified more than once".to_owned(),
            _ => "Client could not be identified".to_owned(),
        };
        let mut headers = match decision.outcome {
            Outcome::Denied => headers::quota(settings, &policy.limits, decision, unix_ms),
            _ => Vec::new(),
        };
        if let Some(wait) = wait {
            wait.headers(&mut headers);
            if let Protocol::Grpc { timeout_ms } = protocol {
                wait.grpc_headers(timeout_ms, words.grpc_status, &text, &mut headers);
            }
            headers.push((headers::ENVOY_RATELIMITED, "true".into()));
        }
        let retry_after = wait.map(|wait| wait.seconds);
        let (body, content_type) = match (protocol, settings.format) {
            (Protocol::Connect, _) => (
                json(ConnectError {
                    code: words.connect_code,
                    message: &text,
                }),
                Some("application/json"),
            ),
            (Protocol::Http, BodyFormat::ProblemJson) => (
                problem(policy, decision, status, &text, retry_after),
                Some("application/problem+json"),
            ),
            (Protocol::Http, BodyFormat::Text) => (text, Some("text/plain; charset=utf-8")),
            // Envoy sets the content type.
            (Protocol::Grpc { .. }, _) => (text, None),
        };
        if let Some(default) = content_type {
            let own = settings
                .content_type
                .clone()
                .filter(|_| protocol == Protocol::Http);
            headers.push(("content-type", own.map_or(default.into(), Into::into)));
        }
        Some(Reply {
            status,
            grpc_status: words.grpc_status,
            details: words.details,
            headers,
            body,
            retry_after,
        })
    }
}

/// An error of the Connect protocol for a unary call.
#[derive(Serialize)]
struct ConnectError<'a> {
    code: &'a str,
    message: &'a str,
}

fn json(value: impl Serialize) -> String {
    serde_json::to_string(&value).unwrap_or_default()
}

/// The configured body with its fields; those of a hidden limit are empty.
fn text(policy: &Policy, decision: &Decision, retry_after: u64) -> String {
    let body = &policy.response.body;
    if !body.contains('{') {
        return body.clone();
    }
    let shown = decision.shown.as_ref();
    let figure =
        |figure: fn(&Figures) -> u64| shown.map_or_else(String::new, |shown| figure(shown).to_string());
    let field = |word: &str| {
        Some(match word {
            "limit" => figure(|shown| shown.quota),
            "remaining" => figure(|shown| shown.remaining),
            "retry_after" => retry_after.to_string(),
            "name" => shown
                .and_then(|figures| policy.limits.get(figures.limit))
                .map_or_else(String::new, |limit| limit.name.clone()),
            _ => return None,
        })
    };
    let mut text = String::new();
    let mut rest = body.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let filled = after
            .split_once('}')
            .and_then(|(word, after)| Some((field(word)?, after)));
        rest = match filled {
            Some((value, after)) => {
                text.push_str(&value);
                after
            }
            None => {
                text.push('{');
                after
            }
        };
    }
    text + rest
}

/// RFC 9457, with the types of the RateLimit draft.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Problem<'a> {
    r#type: Cow<'static, str>,
    title: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    violated_policies: Option<Vec<&'a str>>,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

fn problem(
    policy: &Policy,
    decision: &Decision,
    status: u16,
    detail: &str,
    retry_after: Option<u64>,
) -> String {
    let of_draft = |name| format!("{PROBLEM_TYPES}#{name}").into();
    let (r#type, title) = match decision.outcome {
        Outcome::Denied => (of_draft("quota-exceeded"), "Quota exceeded"),
        Outcome::FailedClosed => (
            of_draft("temporary-reduced-capacity"),
            "Temporary reduced capacity",
        ),
        Outcome::AmbiguousClient => ("about:blank".into(), "Bad Request"),
        _ => ("about:blank".into(), "Forbidden"),
    };
    let violated = decision.applied.iter().filter(|figures| figures.wait_ms > 0);
    let limits = violated.filter_map(|figures| policy.limits.get(figures.limit));
    let is_denied = decision.outcome == Outcome::Denied;
    json(Problem {
        r#type,
        title,
        violated_policies: is_denied.then(|| limits.map(|limit| limit.name.as_str()).collect()),
        status,
        detail,
        retry_after,
    })
}
