//! The contract's whole example, as JSON and as a Struct.

use super::{policy, struct_bytes, yaml};
use crate::config::input::decode;
use crate::config::*;
use crate::identify::{Digest, Extract, Source, SourceKind, TlsField};
use crate::limit::*;
use std::time::Duration;

const CONTRACT: &str = include_str!("contract.yaml");

fn per_hour(limit: u64) -> Quota {
    rate(limit, 3_600)
}

fn rate(limit: u64, seconds: u64) -> Quota {
    Quota::Limited(Rate {
        limit,
        period: Period::from_millis(seconds * 1_000).unwrap(),
    })
}

fn percent(points: u16) -> Percent {
    Percent::from_basis_points(points).unwrap()
}

fn template(path: &str) -> Option<PathPattern> {
    Some(PathPattern::template(path).unwrap())
}

fn exact(name: &str, value: &str) -> Vec<(String, ValuePattern)> {
    vec![(name.to_owned(), ValuePattern::exact(value).unwrap())]
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

/// A limit with nothing but a name and a rate.
fn limit(name: &str, quota: Quota) -> Limit {
    Limit {
        name: name.to_owned(),
        quota,
        algorithm: Algorithm::SlidingWindowCounter,
        matches: Vec::new(),
        key: vec![KeyPart::Client],
        overrides: Vec::new(),
        enforce: Enforce::Always,
        on_error: OnError::Local,
        replaces: Vec::new(),
        expose: true,
        cost: Cost::Fixed(1),
        lease: None,
    }
}

fn path(path: &str) -> Match {
    Match {
        path: template(path),
        ..Match::default()
    }
}

#[test]
fn every_limit_of_the_contract_is_read_correctly() {
    let signed_in = Match {
        sources: strings(&["user", "peer", "api_key"]),
        ..Match::default()
    };
    let anonymous = Match {
        not: Some(Box::new(signed_in.clone())),
        ..Match::default()
    };
    let test_call = Match {
        headers: exact("x-test", "1"),
        ..Match::default()
    };
    let expected = [
        Limit {
            algorithm: Algorithm::SlidingWindowLog,
            matches: vec![anonymous],
            key: vec![KeyPart::Address],
            ..limit("anonymous", per_hour(100))
        },
        Limit {
            matches: vec![signed_in],
            overrides: vec![
                Override::Redis,
                Override::Value {
                    source: "user".into(),
                    value: "partner-7".into(),
                    quota: per_hour(10_000),
                },
                Override::Hash {
                    source: "api_key".into(),
                    hash: Digest(0x9f86d081884c7d659a2feaa0c55ad015_u128.to_be_bytes()),
                    quota: Quota::Unlimited,
                },
                Override::Cidr {
                    net: "10.0.0.0/8".parse().unwrap(),
                    quota: Quota::Unlimited,
                },
            ],
            ..limit("signed-in", per_hour(1_000))
        },
        Limit {
            algorithm: Algorithm::SlidingWindowLog,
            matches: vec![
                Match {
                    methods: strings(&["POST"]),
                    ..path("/login")
                },
                Match {
                    methods: strings(&["POST"]),
                    hosts: vec![HostPattern::parse("*.example.com").unwrap()],
                    headers: exact("x-app", "web"),
                    route: Some("login".into()),
                    not: Some(Box::new(test_call)),
                    ..path("/*/login")
                },
            ],
            key: vec![KeyPart::Client, KeyPart::Path, KeyPart::Method],
            on_error: OnError::Deny,
            replaces: vec![1],
            expose: false,
            ..limit("login", rate(5, 60))
        },
        Limit {
            algorithm: Algorithm::Gcra { burst: 10 },
            matches: vec![path("/search/**")],
            enforce: Enforce::Share(percent(2_500)),
            ..limit("search", rate(60, 60))
        },
        Limit {
            algorithm: Algorithm::FixedWindow { align: Align::Client },
            lease: Some(percent(1_000)),
            ..limit("daily", rate(5_000, 86_400))
        },
        Limit {
            matches: vec![path("/v1/chat")],
            cost: Cost::ResponseHeader {
                name: "x-tokens".into(),
                range: CostRange { min: 0, max: 100_000 },
            },
            ..limit("tokens", per_hour(100_000))
        },
        Limit {
            key: vec![KeyPart::Address],
            ..limit("ceiling", rate(3_000, 60))
        },
    ];
    let policy = policy(CONTRACT);
    for (limit, expected) in policy.limits.iter().zip(&expected) {
        assert_eq!(limit, expected);
    }
    assert_eq!(policy.limits.len(), expected.len());
}

#[test]
fn every_source_of_the_contract_is_read_correctly() {
    let source = |name: &str, kind| Source {
        name: name.to_owned(),
        kind,
        extract: None,
        plain: false,
    };
    let header = |name: &str| SourceKind::Header(name.to_owned());
    let expected = vec![
        source(
            "user",
            SourceKind::Metadata(strings(&["envoy.filters.http.jwt_authn", "payload", "sub"])),
        ),
        source("peer", SourceKind::Tls(TlsField::UriSan)),
        source("api_key", header("x-api-key")),
        Source {
            extract: Some(Extract::parse("Bearer (.+)").unwrap()),
            ..source("token", header("authorization"))
        },
        source("session", SourceKind::Cookie("sid".into())),
        Source {
            plain: true,
            ..source("app", SourceKind::Query("app_id".into()))
        },
        source(
            "pair",
            SourceKind::All(vec![
                source("tenant", header("x-tenant")),
                source("user", header("x-user")),
            ]),
        ),
        Source {
            plain: true,
            ..source(
                "address",
                SourceKind::Address {
                    ipv4_prefix: 32,
                    ipv6_prefix: 64,
                },
            )
        },
    ];
    assert_eq!(policy(CONTRACT).identify, expected);
}

#[test]
fn all_other_fields_of_the_contract_are_read_correctly() {
    let policy = policy(CONTRACT);
    let preflight = Match {
        methods: strings(&["OPTIONS"]),
        headers: exact("access-control-request-method", "*"),
        ..Match::default()
    };
    assert_eq!(policy.exempt, vec![path("/healthz"), preflight]);
    let partner = NamedClient {
        name: "partner-7".into(),
        source: "user".into(),
        value: NamedClientValue::Value("partner-7".into()),
    };
    assert_eq!(policy.metrics.clients, vec![partner]);
    assert_eq!(
        policy.redis,
        RedisSettings {
            cluster: "redis_call".into(),
            key_prefix: "ratelimit".into(),
            timeout: Duration::from_millis(100),
            max_in_flight: 4_096,
            native: None,
        }
    );
}

#[test]
fn the_defaults_are_what_the_contract_shows() {
    let written = policy(CONTRACT);
    let silent = policy("{limits: [{rate: 100/minute}]}");
    let both_but_lists = |policy: Policy| Policy {
        identify: Vec::new(),
        exempt: Vec::new(),
        limits: Vec::new(),
        metrics: MetricsSettings {
            clients: Vec::new(),
            ..policy.metrics
        },
        ..policy
    };
    assert_eq!(both_but_lists(written), both_but_lists(silent));
}

#[test]
fn a_struct_and_its_json_mean_the_same() {
    let value = yaml(CONTRACT);
    let from_json = decode(value.to_string().as_bytes()).unwrap();
    let from_struct = decode(&struct_bytes(&value)).unwrap();
    assert_eq!(from_json, value);
    assert_eq!(from_struct, value);
}

#[test]
fn case_is_ignored_unless_a_limit_or_a_match_is_exact() {
    let cases = |limit: &str| -> Vec<Case> {
        let policy = policy(&format!("{{limits: [{{rate: 9/s, {limit}}}]}}"));
        policy.limits[0]
            .matches
            .iter()
            .map(|condition| condition.case)
            .collect()
    };
    for (limit, expected) in [
        ("match: {path: /a}", &[Case::Ignored][..]),
        ("match: {path: /a, ignore_case: true}", &[Case::Ignored]),
        ("match: {path: /a, ignore_case: false}", &[Case::Exact]),
        (
            "match: [{path: /a}, {path: /b}], ignore_case: false",
            &[Case::Exact; 2],
        ),
        (
            "match: [{path: /a, ignore_case: true}, {path: /b}], ignore_case: false",
            &[Case::Ignored, Case::Exact],
        ),
    ] {
        assert_eq!(cases(limit), expected, "{limit}");
    }
    let exempt = policy("{exempt: [{path: /a, not: {path: /b, ignore_case: true}}], limits: [{rate: 9/s}]}");
    assert!(
        exempt.exempt[0].not.is_some(),
        "within not of an exemption it limits"
    );
}

#[test]
fn an_ambiguous_client_is_passed_over_or_refused() {
    let of = |text: &str| policy(text).on_ambiguous_client;
    assert_eq!(of("{limits: [{rate: 9/s}]}"), OnAmbiguousClient::Next);
    assert_eq!(
        of("{on_ambiguous_client: next, limits: [{rate: 9/s}]}"),
        OnAmbiguousClient::Next
    );
    assert_eq!(
        of("{on_ambiguous_client: deny, limits: [{rate: 9/s}]}"),
        OnAmbiguousClient::Deny
    );
}

#[test]
fn a_cost_of_0_must_be_written_for_a_callers_header() {
    let range = |cost: &str| {
        let policy = policy(&format!("{{limits: [{{rate: 200/s, cost: {cost}}}]}}"));
        match policy.limits[0].cost {
            Cost::Header { range, .. } | Cost::ResponseHeader { range, .. } => (range.min, range.max),
            Cost::Fixed(_) => panic!("{cost}"),
        }
    };
    assert_eq!(range("{header: x, max: 9}"), (1, 9));
    assert_eq!(range("{header: x, min: 0, max: 9}"), (0, 9));
    assert_eq!(range("{header: x, min: 9, max: 9}"), (9, 9));
    assert_eq!(range("{response_header: x, max: 9}"), (0, 9));
    assert_eq!(range("{response_header: x, min: 3, max: 9}"), (3, 9));
}

#[test]
fn auto_is_a_counter_where_a_charge_comes_later() {
    let algorithm = |limit: &str| policy(&format!("{{limits: [{{{limit}}}]}}")).limits[0].algorithm;
    assert_eq!(algorithm("rate: 9/s"), Algorithm::SlidingWindowLog);
    assert_eq!(
        algorithm("rate: 9/s, cost: {response_header: x, max: 9}"),
        Algorithm::SlidingWindowCounter
    );
}

#[test]
fn the_bodys_media_type_may_be_written() {
    let of = |text: &str| policy(text).response.content_type;
    assert_eq!(of("{limits: [{rate: 9/s}]}"), None);
    for text in [
        "application/json",
        "text/html; charset=utf-8",
        "application/vnd.a+json ;v=1",
    ] {
        let policy = format!("{{limits: [{{rate: 9/s}}], response: {{content_type: '{text}'}}}}");
        assert_eq!(of(&policy).as_deref(), Some(text));
    }
}
