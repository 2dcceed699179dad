//! Headers: for any path of a request, its normalized forms are paths; for any counters from Redis, all headers
//! of the answer are valid, and the wait is too.

use super::is_header_value;
use headgate_core::config::Policy;
use headgate_core::decision::{CountedBy, CounterResult, Decision, Outcome};
use headgate_core::fixtures;
use headgate_core::headers;
use headgate_core::instances::{self, Shown};
use headgate_core::limit::{Charge, Limit, Quota, Verdict};
use headgate_core::protocol::Protocol;
use headgate_core::reply::Reply;
use std::sync::OnceLock;

const LIMITS: &str = r#""limits": [
    {"rate": "100/minute"}, {"name": "b", "rate": "1/366d", "expose": false}, {"rate": " 5 / 30 s "},
    {"name": "d", "rate": "9/h", "enforce": false}, {"name": "e", "rate": "unlimited"}]"#;

const RESPONSES: [&str; 3] = [
    r#"{"headers": ["x-ratelimit", "ietf"], "body": "{limit} {remaining} {retry_after} {name}"}"#,
    r#"{"headers": ["ietf"], "reset": "delta", "format": "problem_json", "retry_after_jitter": "100%"}"#,
    r#"{"headers": ["x-ratelimit"], "reset": "delta", "format": "problem_json"}"#,
];

/// In ms: about 1,000 years. Times from Redis are at most N periods long.
const LONGEST: u64 = 1 << 45;

pub fn run(data: &[u8]) {
    super::plan::check_readings(data);
    static POLICIES: OnceLock<Vec<Policy>> = OnceLock::new();
    let policy = |response| fixtures::policy(&format!(r#"{{{LIMITS}, "response": {response}}}"#));
    let policies = POLICIES.get_or_init(|| RESPONSES.iter().map(policy).collect());
    let mut data = Numbers(data);
    let unix_ms = data.next() % LONGEST;
    let random = (data.next() % 1_000) as f64 / 1_000.0;
    for policy in policies {
        let decision = decision(&policy.limits, &mut Numbers(data.0));
        check(policy, &decision, unix_ms, random);
    }
}

fn check(policy: &Policy, decision: &Decision, unix_ms: u64, random: f64) {
    let figures = headers::quota(&policy.response, &policy.limits, decision, unix_ms);
    check_headers(&figures);
    let sent = texts(&figures);
    let request: Vec<_> = sent.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let shown = instances::shown(&fixtures::FakeHeaders(&request));
    assert_eq!(texts(&shown), sent, "handed over");
    let shown = Shown {
        headers: figures,
        cost: 1 + random as u64,
    };
    check_headers(&instances::merge(shown.clone(), shown, decision.refuses()).headers);
    for protocol in [
        Protocol::Http,
        Protocol::Connect,
        Protocol::Grpc {
            timeout_ms: Some(unix_ms % 5_000),
        },
    ] {
        check_reply(policy, decision, protocol, unix_ms, random);
    }
}

fn check_reply(policy: &Policy, decision: &Decision, protocol: Protocol, unix_ms: u64, random: f64) {
    let Some(reply) = Reply::new(policy, decision, protocol, unix_ms, || random) else {
        return assert!(!decision.refuses());
    };
    check_headers(&reply.headers);
    let count = |wanted: &str| reply.headers.iter().filter(|(name, _)| *name == wanted).count();
    assert_eq!(count("retry-after"), usize::from(reply.retry_after.is_some()));
    if decision.outcome == Outcome::Denied {
        let (wait, most) = (
            reply.retry_after.unwrap_or(0),
            headers::seconds(decision.retry_after_ms).max(1),
        );
        assert!(
            (most..=2 * most).contains(&wait),
            "{wait} s for {} ms",
            decision.retry_after_ms
        );
    }
    if reply.body.starts_with('{') {
        serde_json::from_str::<serde_json::Value>(&reply.body).expect("a problem in JSON");
    }
}

/// The headers as they are sent.
fn texts(list: &[headers::Header]) -> Vec<(&'static str, String)> {
    list.iter()
        .map(|(name, value)| (*name, value.to_string()))
        .collect()
}

fn check_headers(list: &[headers::Header]) {
    let list = texts(list);
    for (n, (name, value)) in list.iter().enumerate() {
        assert!(is_header_value(value), "{name}: {value:?}");
        assert!(!list[..n].iter().any(|(other, _)| other == name), "{name} twice");
        if name.starts_with("x-ratelimit-") || name.starts_with("retry-after") {
            assert!(value.bytes().all(|byte| byte.is_ascii_digit()), "{name}: {value}");
        }
    }
}

/// What Redis may have said of each limit.
fn decision(limits: &[Limit], data: &mut Numbers) -> Decision {
    let outcomes = [
        Outcome::FailedClosed,
        Outcome::FailedOpen,
        Outcome::Exempt,
        Outcome::NoClient { refused: true },
    ];
    let choice = data.next();
    if let Some(outcome) = outcomes.get((choice % 32) as usize) {
        return Decision::uncounted(*outcome);
    }
    let charges: Vec<(Charge, Option<Verdict>)> = (0..limits.len())
        .map(|limit| counted(limits, limit, data))
        .collect();
    let counted = charges.iter().map(|(charge, verdict)| CounterResult {
        charge,
        verdict: *verdict,
        by: CountedBy::Redis,
    });
    Decision::from_counted(limits, counted)
}

fn counted(limits: &[Limit], limit: usize, data: &mut Numbers) -> (Charge, Option<Verdict>) {
    let rate = match limits[limit].quota {
        Quota::Limited(rate) => rate,
        Quota::Unlimited => fixtures::rate(0, 1_000),
    };
    let charge = Charge {
        enforced: limit != 3,
        ..fixtures::charge(limit, limits[limit].algorithm, rate)
    };
    let verdict = match data.next() % 8 {
        0 => None,
        1 => Some(Verdict::UNLIMITED),
        state => Some(Verdict {
            allowed: state % 2 == 0,
            limit: Some(data.next() % (1 << 31)),
            remaining: data.next() % (1 << 31),
            reset_ms: data.next() % LONGEST,
            wait_ms: data.next() % LONGEST,
        }),
    };
    (charge, verdict)
}

/// Reads numbers from bytes: each byte is the length of the next number; 0 after the last byte.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn next(&mut self) -> u64 {
        let Some((&size, rest)) = self.0.split_first() else {
            return 0;
        };
        let (digits, rest) = rest.split_at(rest.len().min(usize::from(size % 9)));
        self.0 = rest;
        digits
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}
