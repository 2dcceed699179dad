//! The planner's rules: the keys of the contract, and which limit applies to whom.

use crate::identify::FakeRequest;
use crate::limit::fixtures::*;
use crate::limit::{Algorithm, KeyPart, Limit, Match, NoClient};
use crate::redis::HashSlot;

const TEST: &str = "9f86d081884c7d659a2feaa0c55ad015";

#[test]
fn limits_of_one_client_are_fields_of_its_hash() {
    let limits = vec![limit("a", &[KeyPart::Client]), limit("b", &[KeyPart::Client])];
    let planner = planner(vec![header("x-api-key"), address(32, 64)], limits);
    let (groups, no_client) = counted(&planner, &FakeRequest::new("10.0.0.1", &[("x-api-key", "test")]));
    let key = format!("ratelimit:main:{{api_key:{TEST}}}");
    let expected = vec![vec![
        format!("{key} a:counter:60000"),
        format!("{key} b:counter:60000"),
    ]];
    assert_eq!(shown(&groups), expected);
    assert_eq!(groups[0].keys.len(), 1);
    assert_eq!(groups[0].slot(), HashSlot::of(key.as_bytes()));
    assert_eq!(no_client, None);
}

#[test]
fn clients_and_limits_by_address_share_one_hash_tag() {
    let limits = vec![
        limit("a", &[KeyPart::Client]),
        limit("ceiling", &[KeyPart::Address]),
    ];
    let mut by_address = address(24, 48);
    by_address.name = "ip".into();
    let planner = planner(vec![header("x-api-key"), by_address], limits);
    for (ip, tag) in [
        ("10.0.0.1", "address:10.0.0.0/24"),
        ("::ffff:10.0.0.9", "address:10.0.0.0/24"),
        ("2001:db8:1:2::3", "address:2001%3Adb8%3A1%3A%3A/48"),
    ] {
        let (groups, _) = counted(&planner, &FakeRequest::new(ip, &[]));
        let key = format!("ratelimit:main:{{{tag}}}");
        let expected = vec![vec![
            format!("{key} a:counter:60000"),
            format!("{key} ceiling:counter:60000"),
        ]];
        assert_eq!(shown(&groups), expected, "{ip}");
    }
    let (groups, _) = counted(&planner, &FakeRequest::new("10.0.0.1", &[("x-api-key", "test")]));
    assert_eq!(groups.len(), 2);
}

#[test]
fn an_address_is_cut_to_64_bits_without_an_address_source() {
    let planner = planner(vec![header("x-api-key")], vec![limit("c", &[KeyPart::Address])]);
    let key = |ip| shown(&counted(&planner, &FakeRequest::new(ip, &[])).0)[0][0].clone();
    assert_eq!(
        key("10.0.0.1"),
        "ratelimit:main:{address:10.0.0.1} c:counter:60000"
    );
    assert_eq!(
        key("2001:db8::1"),
        "ratelimit:main:{address:2001%3Adb8%3A%3A/64} c:counter:60000"
    );
    assert_eq!(key("no address"), "ratelimit:main:{address:} c:counter:60000");
}

#[test]
fn a_log_is_a_key_of_its_own() {
    let log = |key| Limit {
        algorithm: Algorithm::SlidingWindowLog,
        ..limit("login", &[key])
    };
    let planner = planner(
        vec![header("x-api-key")],
        vec![log(KeyPart::Client), log(KeyPart::Address)],
    );
    let (groups, _) = counted(&planner, &FakeRequest::new("10.0.0.1", &[("x-api-key", "test")]));
    let start = "ratelimit:main:";
    assert_eq!(
        shown(&groups)[0],
        [format!("{start}{{api_key:{TEST}}}:login:ring:60000 c")]
    );
    assert_eq!(
        shown(&groups)[1],
        [format!("{start}{{address:10.0.0.1}}:login:ring:60000 c")]
    );
    assert_eq!(groups[0].keys.len(), 1, "the client's hash is not needed");
}

#[test]
fn only_callers_of_the_named_sources_meet_a_limit() {
    let of = |names: &[&str]| Match {
        sources: names.iter().map(|s| s.to_string()).collect(),
        ..Match::default()
    };
    let signed = Limit {
        matches: vec![of(&["api_key"])],
        ..limit("signed", &[KeyPart::Client])
    };
    let not = Match {
        not: Some(Box::new(of(&["api_key"]))),
        ..Match::default()
    };
    let anonymous = Limit {
        matches: vec![not],
        ..limit("anonymous", &[KeyPart::Address])
    };
    let limits = vec![signed, anonymous];
    let planner = planner(vec![header("x-api-key"), address(32, 64)], limits.clone());
    let by_key = FakeRequest::new("10.0.0.1", &[("x-api-key", "test")]);
    assert_eq!(names(&planner, &limits, &by_key), ["signed"]);
    assert_eq!(
        names(&planner, &limits, &FakeRequest::new("10.0.0.1", &[])),
        ["anonymous"]
    );
}

#[test]
fn a_missing_client_is_reported_and_other_limits_still_apply() {
    let limits = vec![
        limit("a", &[KeyPart::Client]),
        limit("ceiling", &[KeyPart::Address]),
    ];
    let planner = planner(vec![header("x-api-key")], limits.clone());
    let request = FakeRequest::new("10.0.0.1", &[]);
    assert_eq!(counted(&planner, &request).1, Some(NoClient::Unknown));
    assert_eq!(names(&planner, &limits, &request), ["ceiling"]);
}

#[test]
fn a_duplicated_or_empty_header_identifies_no_client() {
    let planner = planner(vec![header("x-api-key"), address(32, 64)], vec![]);
    for headers in [
        &[("x-api-key", "a"), ("x-api-key", "a")][..],
        &[("x-api-key", "")],
        &[],
    ] {
        let identity = planner.identify(&FakeRequest::new("10.0.0.1", headers));
        assert_eq!(
            identity.client().unwrap().to_string(),
            "address:10.0.0.1",
            "{headers:?}"
        );
    }
}
