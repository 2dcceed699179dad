//! How a decision is presented to a client: figures in headers, and the replies.

use super::*;
use crate::config::{self, BodyFormat, Plugin, Policy, ResponseSettings, UpstreamHeaders};
use crate::headers;
use crate::limit::Percent;
use crate::protocol::Protocol;
use crate::reply::Reply;
use crate::retry::RetryDelay;

fn settings() -> ResponseSettings {
    ResponseSettings {
        status: 429,
        error_status: 503,
        body: "{name}: {limit} spent, {remaining} left, in {retry_after} s".into(),
        format: BodyFormat::Text,
        x_ratelimit: true,
        ietf: true,
        reset: ResetForm::Unix,
        retry_after_jitter: Percent::from_basis_points(0).unwrap(),
        upstream_headers: UpstreamHeaders::Replace,
        content_type: None,
    }
}

fn policy(limits: Vec<Limit>) -> Policy {
    let smallest = br#"{"limits": [{"rate": "100/minute"}]}"#;
    let Ok(Plugin::Filter(policy)) = config::parse(smallest) else {
        panic!("the smallest configuration")
    };
    Policy {
        limits,
        response: settings(),
        ..*policy
    }
}

#[test]
fn quotas_are_written_as_in_the_contract() {
    let policy = policy(vec![limit("a"), limit("b")]);
    let decision = decide(&[(AS_IS, true, left(5, 10, 1_001)), (AS_IS, true, left(9, 10, 0))]);
    let headers = headers::quota(&policy.response, &policy.limits, &decision, 1_000_999);
    let expected = [
        ("x-ratelimit-limit", "10"),
        ("x-ratelimit-remaining", "5"),
        ("x-ratelimit-reset", "1002"),
        ("ratelimit-policy", "\"a\";q=10;w=60, \"b\";q=10;w=60"),
        ("ratelimit", "\"a\";r=5;t=2, \"b\";r=9;t=0"),
    ];
    assert_eq!(headers.len(), expected.len());
    for ((name, value), expected) in headers.iter().zip(expected) {
        assert_eq!((*name, value.to_string().as_str()), expected);
    }
    assert_eq!(headers::reset(ResetForm::Delta, 1_001, 1_000_999), 2);
}

fn reply(policy: &Policy, decision: &Decision, protocol: Protocol) -> Option<Reply> {
    Reply::new(policy, decision, protocol, 0, || 0.0)
}

#[test]
fn a_denial_waits_whole_seconds_and_jitter_only_adds() {
    let full = Percent::from_basis_points(5_000).unwrap();
    let after = |wait, jitter, random| {
        RetryDelay::of_denial(&decide(&[(AS_IS, true, spent(wait))]), jitter, random).seconds
    };
    let none = Percent::from_basis_points(0).unwrap();
    assert_eq!(
        [
            after(1, none, 0.9),
            after(1_000, none, 0.9),
            after(1_001, none, 0.9)
        ],
        [1, 1, 2]
    );
    assert_eq!(
        [
            after(100_000, full, 0.0),
            after(100_000, full, 0.5),
            after(100_000, full, 0.999)
        ],
        [100, 125, 150]
    );
}

#[test]
fn replies_name_the_limit_and_never_a_hidden_one() {
    let mut policy = policy(vec![limit("a")]);
    let denied = decide(&[(AS_IS, true, spent(2_500))]);
    let refusal = reply(&policy, &denied, Protocol::Http).unwrap();
    assert_eq!(
        (refusal.status, refusal.grpc_status, refusal.body.as_str()),
        (429, 8, "a: 10 spent, 0 left, in 3 s")
    );
    for name in [
        "retry-after",
        "x-envoy-ratelimited",
        "content-type",
        "x-ratelimit-limit",
        "ratelimit",
    ] {
        assert_eq!(
            refusal
                .headers
                .iter()
                .filter(|(header, _)| *header == name)
                .count(),
            1,
            "{name}"
        );
    }
    let hidden = reply(&policy, &decide(&[(HIDDEN, true, spent(2_500))]), Protocol::Http).unwrap();
    assert_eq!(hidden.body, ":  spent,  left, in 60 s");
    assert!(
        hidden
            .headers
            .iter()
            .all(|(name, _)| !name.contains("ratelimit-")),
        "{:?}",
        hidden.headers
    );

    policy.response.format = BodyFormat::ProblemJson;
    let json = |decision| -> serde_json::Value {
        serde_json::from_str(&reply(&policy, &decision, Protocol::Http).unwrap().body).unwrap()
    };
    let problem = json(denied);
    assert_eq!(
        problem["type"],
        "https://iana.org/assignments/http-problem-types#quota-exceeded"
    );
    assert_eq!(
        (
            &problem["violated-policies"][0],
            &problem["retry-after"],
            &problem["status"]
        ),
        (&"a".into(), &3.into(), &429.into())
    );
    assert_eq!(
        json(decide(&[(HIDDEN, true, spent(1))]))["violated-policies"],
        serde_json::json!([])
    );
}

#[test]
fn failing_closed_is_503_to_be_tried_again_and_no_client_is_403() {
    let policy = policy(vec![limit("a")]);
    let closed = reply(&policy, &decide(&[(DENY, true, None)]), Protocol::Http).unwrap();
    assert_eq!(
        (closed.status, closed.grpc_status, closed.retry_after),
        (503, 14, Some(1))
    );
    let refused = Decision::uncounted(Outcome::NoClient { refused: true });
    let refused = reply(&policy, &refused, Protocol::Http).unwrap();
    assert_eq!(
        (refused.status, refused.grpc_status, refused.retry_after),
        (403, 7, None)
    );
    assert_eq!(
        reply(&policy, &Decision::uncounted(Outcome::Exempt), Protocol::Http),
        None
    );
}

/// Status, gRPC status, details, body and content type.
fn parts(reply: Reply) -> (u16, u32, &'static str, String, Option<String>) {
    let content_type = reply.headers.iter().find(|(name, _)| *name == "content-type");
    let content_type = content_type.map(|(_, value)| value.to_string());
    (
        reply.status,
        reply.grpc_status,
        reply.details,
        reply.body,
        content_type,
    )
}

#[test]
fn each_refusal_is_written_for_its_caller() {
    let mut policy = policy(vec![limit("a")]);
    policy.response.format = BodyFormat::ProblemJson;
    policy.response.content_type = Some("application/vnd.own+json".into());
    policy.response.body = "spent \"a\"".into();
    let grpc = Protocol::Grpc { timeout_ms: None };
    let refusals = [
        (
            decide(&[(AS_IS, true, spent(5))]),
            429,
            8,
            "headgate_denied",
            "resource_exhausted",
        ),
        (
            decide(&[(DENY, true, None)]),
            503,
            14,
            "headgate_error",
            "unavailable",
        ),
        (
            Decision::uncounted(Outcome::NoClient { refused: true }),
            403,
            7,
            "headgate_no_client",
            "permission_denied",
        ),
        (
            Decision::uncounted(Outcome::AmbiguousClient),
            400,
            3,
            "headgate_ambiguous_client",
            "invalid_argument",
        ),
    ];
    for (decision, status, code, details, connect_code) in refusals {
        let of = |protocol| reply(&policy, &decision, protocol).unwrap();
        let (http, to_grpc, connect) = (of(Protocol::Http), of(grpc), of(Protocol::Connect));
        let names = |reply: &Reply| reply.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let waits = [429, 503].contains(&status);
        for reply in [&http, &to_grpc, &connect] {
            assert_eq!(
                (reply.status, reply.grpc_status, reply.details),
                (status, code, details)
            );
            for name in ["retry-after", "x-envoy-ratelimited"] {
                assert_eq!(names(reply).contains(&name), waits, "{name} with {status}");
            }
        }
        for name in ["grpc-retry-pushback-ms", "grpc-status-details-bin"] {
            assert_eq!(names(&to_grpc).contains(&name), waits, "{name} with {status}");
            assert!(!names(&http).contains(&name) && !names(&connect).contains(&name));
        }
        let (.., body, content_type) = parts(http);
        assert!(body.starts_with("{\"type\":"), "{body}");
        assert_eq!(content_type.as_deref(), Some("application/vnd.own+json"));
        let (.., message, content_type) = parts(to_grpc);
        assert!(!message.contains('{') && content_type.is_none(), "{message}");
        let (.., body, content_type) = parts(connect);
        let error: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&error["code"], &error["message"]),
            (&connect_code.into(), &message.into())
        );
        assert_eq!(content_type.as_deref(), Some("application/json"));
    }
}
