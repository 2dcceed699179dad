//! The filter's own replies: 429 when a limit is spent, 503 when nothing could be counted, 403 without a client, 400
//! where a request names several.

use crate::config::{BodyFormat, Policy};
use crate::decision::{Decision, Figures, Outcome};
use crate::headers::{self, Header, Value};
use crate::json::{self, Object};

/// A reply in the upstream's stead.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// For callers of HTTP.
    pub status: u16,
    /// For callers of gRPC.
    pub grpc_status: u32,
    pub headers: Vec<Header>,
    pub body: String,
    /// What callers of gRPC read, where the body is not for them.
    pub grpc_message: Option<String>,
    /// In seconds, as sent; `None` where none is.
    pub retry_after: Option<u64>,
}

/// gRPC status codes, https://grpc.github.io/grpc/core/md_doc_statuscodes.html.
const INVALID_ARGUMENT: u32 = 3;
const PERMISSION_DENIED: u32 = 7;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNAVAILABLE: u32 = 14;

const PROBLEM_TYPES: &str = "https://iana.org/assignments/http-problem-types";
const NOT_COUNTED: &str = "Rate limit could not be checked, try again";
const NO_CLIENT: &str = "Client could not be identified";
const AMBIGUOUS_CLIENT: &str = "Client is identified more than once";

impl Reply {
    /// `unix_ms`: the wall clock; `random` in [0, 1) draws the jitter. `None` where the decision refuses nothing.
    pub fn new(
        policy: &Policy,
        decision: &Decision,
        unix_ms: u64,
        random: impl FnOnce() -> f64,
    ) -> Option<Reply> {
        let settings = &policy.response;
        let mut reply = match decision.outcome {
            Outcome::Denied => {
                let wait = headers::retry_after(decision, settings.retry_after_jitter, random());
                Reply {
                    status: settings.status,
                    grpc_status: RESOURCE_EXHAUSTED,
                    headers: headers::quota(settings, &policy.limits, decision, unix_ms),
                    body: text(policy, decision, wait),
                    grpc_message: None,
                    retry_after: Some(wait),
                }
            }
            Outcome::FailedClosed => Reply::plain(settings.error_status, UNAVAILABLE, NOT_COUNTED, Some(1)),
            Outcome::NoClient { refused: true } => Reply::plain(403, PERMISSION_DENIED, NO_CLIENT, None),
            Outcome::AmbiguousClient => Reply::plain(400, INVALID_ARGUMENT, AMBIGUOUS_CLIENT, None),
            Outcome::Allowed | Outcome::FailedOpen | Outcome::Exempt | Outcome::NoClient { .. } => {
                return None
            }
        };
        let content_type = match settings.format {
            BodyFormat::Text => "text/plain; charset=utf-8",
            BodyFormat::ProblemJson => {
                let problem = problem(policy, decision, &reply);
                reply.grpc_message = Some(std::mem::replace(&mut reply.body, problem));
                "application/problem+json"
            }
        };
        reply.headers.push(("content-type", content_type.into()));
        if let Some(wait) = reply.retry_after {
            reply.headers.push((headers::RETRY_AFTER, Value::Number(wait)));
        }
        if matches!(decision.outcome, Outcome::Denied | Outcome::FailedClosed) {
            reply.headers.push((headers::ENVOY_RATELIMITED, "true".into()));
        }
        Some(reply)
    }

    fn plain(status: u16, grpc_status: u32, body: &str, retry_after: Option<u64>) -> Reply {
        Reply {
            status,
            grpc_status,
            headers: Vec::new(),
            body: body.to_owned(),
            grpc_message: None,
            retry_after,
        }
    }
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
fn problem(policy: &Policy, decision: &Decision, reply: &Reply) -> String {
    let mut problem = Object::new();
    match decision.outcome {
        Outcome::Denied => {
            let violated: Vec<String> = decision
                .applied
                .iter()
                .filter(|figures| figures.wait_ms > 0)
                .filter_map(|figures| policy.limits.get(figures.limit))
                .map(|limit| json::quoted(&limit.name))
                .collect();
            problem.text("type", &format!("{PROBLEM_TYPES}#quota-exceeded"));
            problem.text("title", "Quota exceeded");
            problem.json("violated-policies", &json::list(&violated));
        }
        Outcome::FailedClosed => {
            problem.text("type", &format!("{PROBLEM_TYPES}#temporary-reduced-capacity"));
            problem.text("title", "Temporary reduced capacity");
        }
        _ => {
            let title = if reply.status == 400 {
                "Bad Request"
            } else {
                "Forbidden"
            };
            problem.text("type", "about:blank");
            problem.text("title", title);
        }
    }
    problem.number("status", reply.status.into());
    problem.text("detail", &reply.body);
    if let Some(wait) = reply.retry_after {
        problem.number("retry-after", wait);
    }
    problem.finish()
}
