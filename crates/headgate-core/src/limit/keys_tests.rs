//! The layout of keys, and that no two clients share a counter by accident or on purpose.

use crate::identify::{Digest, FakeRequest, Hasher, Headers, Source};
use crate::limit::fixtures::*;
use crate::limit::{Algorithm, Group, KeyPart, Limit, Match, PathPattern, PathReadings};
use proptest::prelude::*;
use std::collections::BTreeMap;

const TEST: &str = "9f86d081884c7d659a2feaa0c55ad015";

fn request() -> FakeRequest {
    let mut request = FakeRequest::new(
        "2001:db8::1",
        &[
            ("x-api-key", "test"),
            (":path", "/Login/?q=test"),
            (":method", "POST"),
            (":authority", "API.example.com:443"),
            ("x-tier", "test"),
            ("cookie", "sid=test"),
        ],
    );
    request.route = Some(b"login:v1".to_vec());
    request
}

/// The one counter's key and field, without prefix and instance.
fn counter(limit: Limit, request: &FakeRequest) -> String {
    let planner = planner(vec![header("x-api-key"), address(32, 64)], vec![limit]);
    let shown = shown(&counted(&planner, request).0);
    let text = shown[0][0].strip_prefix("ratelimit:main:").unwrap();
    text.to_owned()
}

fn secret_parts() -> [KeyPart; 3] {
    let name = |s: &str| s.to_owned();
    [
        KeyPart::Header(name("x-tier")),
        KeyPart::Query(name("q")),
        KeyPart::Cookie(name("sid")),
    ]
}

#[test]
fn other_key_parts_follow_the_client_in_the_order_of_key() {
    let key = |parts: &[KeyPart]| counter(limit("l", parts), &request());
    let start = format!("{{api_key:{TEST}}}:l:counter:60000");
    use KeyPart::*;
    assert_eq!(key(&[Client, Path, Method]), format!("{start}:/Login:POST c"));
    assert_eq!(key(&[Method, Client, Path]), format!("{start}:POST:/Login c"));
    let rest = key(&[Client, Address, Host, Route]);
    assert_eq!(
        rest,
        format!("{start}:2001%3Adb8%3A%3A/64:api.example.com:login%3Av1 c")
    );
    let [header, query, cookie] = secret_parts();
    assert_eq!(
        key(&[Client, header, query, cookie]),
        format!("{start}:{TEST}:{TEST}:{TEST} c")
    );
}

#[test]
fn without_the_client_all_parts_are_the_tag() {
    let key = |parts: &[KeyPart]| counter(limit("l", parts), &request());
    use KeyPart::*;
    assert_eq!(key(&[Path]), "{path=/Login} l:counter:60000");
    assert_eq!(
        key(&[Address, Path, Method]),
        "{address=2001%3Adb8%3A%3A/64,path=/Login,method=POST} l:counter:60000"
    );
    assert_eq!(
        key(&[Route, Host]),
        "{route=login%3Av1,host=api.example.com} l:counter:60000"
    );
    let [header, query, cookie] = secret_parts();
    let expected = format!("{{header:x-tier={TEST},query:q={TEST},cookie:sid={TEST}}} l:counter:60000");
    assert_eq!(key(&[header, query, cookie]), expected);
    let odd = KeyPart::Query("a=b,{c}".into());
    assert_eq!(key(&[odd]), "{query:a%3Db%2C%7Bc%7D=} l:counter:60000");
    let log = Limit {
        algorithm: Algorithm::SlidingWindowLog,
        ..limit("l", &[Path])
    };
    assert_eq!(counter(log, &request()), "{path=/Login}:l:ring:60000 c");
}

#[test]
fn a_path_counts_by_the_pattern_that_matched_and_else_by_itself() {
    let by = |patterns: &[&str]| {
        let matches = patterns.iter().map(|text| Match {
            path: Some(PathPattern::template(text).unwrap()),
            ..Match::default()
        });
        let limit = Limit {
            matches: matches.collect(),
            ..limit("l", &[KeyPart::Client, KeyPart::Path])
        };
        let request = FakeRequest::new("10.0.0.1", &[(":path", "/users/7/%6cogin")]);
        counter(limit, &request).replace("{address:10.0.0.1}:l:counter:60000:", "")
    };
    assert_eq!(by(&["/users/{id}/login"]), "/users/%7Bid%7D/login c");
    assert_eq!(by(&["/x", "/users/*/login", "/**"]), "/users/*/login c");
    assert_eq!(by(&["/users/7/login/"]), "/users/7/login c");
    assert_eq!(by(&["/Users/7/Login"]), "/Users/7/Login c", "by its own text");
    assert_eq!(by(&[]), "/users/7/login c");
    let anything = Limit {
        matches: vec![Match::default()],
        ..limit("l", &[KeyPart::Path])
    };
    let request = FakeRequest::new("10.0.0.1", &[(":path", "/a")]);
    assert_eq!(counter(anything, &request), "{path=/a} l:counter:60000");
    let regex = Limit {
        matches: vec![Match {
            path: Some(PathPattern::regex("/[a-z]{1}").unwrap()),
            ..Match::default()
        }],
        ..limit("l", &[KeyPart::Path])
    };
    assert_eq!(counter(regex, &request), "{path=/[a-z]%7B1%7D} l:counter:60000");
}

#[test]
fn a_missing_or_duplicated_key_part_does_not_avoid_the_limit() {
    let [header, ..] = secret_parts();
    let limit = || limit("l", &[KeyPart::Client, header.clone()]);
    let with = |headers: &[(&str, &str)]| counter(limit(), &FakeRequest::new("10.0.0.1", headers));
    let none = "{address:10.0.0.1}:l:counter:60000: c";
    assert_eq!(with(&[]), none);
    assert_eq!(with(&[("x-tier", "")]), none);
    assert_eq!(with(&[("x-tier", "a"), ("x-tier", "b")]), none);
    assert_ne!(with(&[("x-tier", "a")]), none);
}

#[test]
fn long_parts_are_hashed() {
    let path = format!("/{}", "a".repeat(60_000));
    let request = FakeRequest::new("10.0.0.1", &[(":path", &path)]);
    let hash = Hasher::new(None).digest(path.as_bytes());
    let key = counter(limit("l", &[KeyPart::Path]), &request);
    assert_eq!(key, format!("{{path=~{hash}}} l:counter:60000"));
}

#[test]
fn an_api_key_that_looks_like_an_address_is_no_address() {
    let plain = Source {
        plain: true,
        ..header("x-api-key")
    };
    for source in [header("x-api-key"), plain] {
        let planner = planner(
            vec![source, address(32, 64)],
            vec![limit("l", &[KeyPart::Client])],
        );
        let key = |request| counted(&planner, &request).0[0].keys[0].clone();
        let by_key = key(FakeRequest::new("10.9.9.9", &[("x-api-key", "10.0.0.1")]));
        assert_ne!(by_key, key(FakeRequest::new("10.0.0.1", &[])));
    }
}

/// Every kind of key at once.
fn limits() -> Vec<Limit> {
    use KeyPart::*;
    let [header, query, cookie] = secret_parts();
    let keys: [&[KeyPart]; 9] = [
        &[Client],
        &[Client, Path, Method],
        &[Path, Client, header.clone(), query.clone()],
        &[Address],
        &[Path],
        &[Address, Path],
        &[Method, Host],
        &[header, query, cookie.clone()],
        &[Route, cookie],
    ];
    let counters = keys
        .iter()
        .enumerate()
        .map(|(i, key)| limit(&format!("c{i}"), key));
    let logs = keys.iter().enumerate().map(|(i, key)| Limit {
        algorithm: Algorithm::SlidingWindowLog,
        ..limit(&format!("l{i}"), key)
    });
    counters.chain(logs).collect()
}

/// The expected identity of a limit's counter, without the code under test: bytes, nothing escaped.
fn identity(part: &KeyPart, request: &FakeRequest) -> Vec<u8> {
    let one = |name: &str| request.header(name).value().unwrap_or_default().into_owned();
    match part {
        KeyPart::Client if !one("x-secret").is_empty() => [b"secret ", &one("x-secret")[..]].concat(),
        KeyPart::Client if !one("x-plain").is_empty() => [b"plain ", &one("x-plain")[..]].concat(),
        KeyPart::Client | KeyPart::Address => request.address.unwrap().to_string().into_bytes(),
        KeyPart::Path => PathReadings::of(&one(":path")).counted().to_vec(),
        KeyPart::Method => one(":method").to_ascii_uppercase(),
        KeyPart::Host => one(":authority"),
        KeyPart::Route => request.route.clone().unwrap_or_default(),
        KeyPart::Header(name) => one(name),
        KeyPart::Query(name) => one(":path")
            .split(|&b| b == b'=')
            .nth(1)
            .map(|v| [name.as_bytes(), v].concat())
            .unwrap_or_default(),
        KeyPart::Cookie(_) => one("cookie"),
    }
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(vec![]),
        "[ab]".prop_map(String::into_bytes),
        "[a:{},=~%/._0-9-]{0,6}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..80),
        "10\\.0\\.0\\.[12]".prop_map(String::into_bytes),
    ]
}

prop_compose! {
    fn requests()(
        secret in value(), plain in value(), method in value(), path in value(), query in "[ab]?",
        tier in value(), sid in "[ab]?", host in "[ab]?", route in value(), last in 1u8..3,
    ) -> FakeRequest {
        let target = [b"/", &path.into_iter().filter(|b| !b"?#=".contains(b)).collect::<Vec<u8>>()[..], b"?q=", query.as_bytes()];
        let cookie = if sid.is_empty() { String::new() } else { format!("sid={sid}") };
        FakeRequest {
            headers: [
                ("x-secret", secret), ("x-plain", plain), (":method", method), (":path", target.concat()),
                ("x-tier", tier), ("cookie", cookie.into_bytes()), (":authority", host.into_bytes()),
            ].map(|(name, value)| (name.to_owned(), value)).to_vec(),
            address: Some([10, 0, 0, last].into()),
            route: Some(route),
            ..FakeRequest::default()
        }
    }
}

/// Each limit's counter: its key and field.
fn counters(groups: &[Group]) -> BTreeMap<usize, (Vec<u8>, String)> {
    let charges = groups
        .iter()
        .flat_map(|group| group.charges.iter().map(move |charge| (group, charge)));
    charges
        .map(|(group, charge)| {
            (
                charge.limit,
                (group.keys[charge.key].clone(), charge.field.to_string()),
            )
        })
        .collect()
}

/// The part of a key that Redis Cluster hashes, by its specification.
fn tags(key: &[u8]) -> Vec<&[u8]> {
    let count = |byte| key.iter().filter(|b| **b == byte).count();
    assert_eq!((count(b'{'), count(b'}')), (1, 1));
    let open = key.iter().position(|b| *b == b'{').unwrap();
    let close = key.iter().position(|b| *b == b'}').unwrap();
    vec![&key[open + 1..close]]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn counters_are_shared_only_by_equal_limits_and_key_parts(left in requests(), right in requests()) {
        let plain = Source { plain: true, ..header("x-plain") };
        let limits = limits();
        let planner = planner(vec![header("x-secret"), plain, address(32, 64)], limits.clone());
        let (left_groups, right_groups) = (counted(&planner, &left).0, counted(&planner, &right).0);
        let (a, b) = (counters(&left_groups), counters(&right_groups));
        prop_assert_eq!(a.len(), limits.len());
        for (i, x) in &a {
            for (j, y) in &b {
                let parts = |request| limits[*i].key.iter().map(|part| identity(part, request)).collect::<Vec<_>>();
                let same = i == j && parts(&left) == parts(&right);
                prop_assert_eq!(same, x == y, "{:?} {:?}", x, y);
            }
        }
        for group in &left_groups {
            let found: Vec<&[u8]> = group.keys.iter().flat_map(|key| tags(key)).collect();
            prop_assert!(found.iter().all(|tag| *tag == found[0] && !tag.is_empty()));
            let well_begun = group.keys.iter().all(|key| key.starts_with(b"ratelimit:main:{"));
            prop_assert!(well_begun && group.keys.iter().all(|key| key.is_ascii()));
            prop_assert!(group.keys.iter().all(|key| crate::redis::HashSlot::of(key) == group.slot()));
            let mut distinct = group.keys.clone();
            distinct.sort();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), group.keys.len());
        }
    }

    #[test]
    fn no_secret_is_in_a_key(secret in "[g-z]{8,16}") {
        let request = FakeRequest::new("10.0.0.1", &[
            ("x-secret", &secret), ("x-tier", &secret), ("cookie", &format!("sid={secret}")), (":path", &format!("/?q={secret}")),
        ]);
        let planner = planner(vec![header("x-secret"), address(32, 64)], limits());
        for group in counted(&planner, &request).0 {
            for key in group.keys {
                prop_assert!(!String::from_utf8(key).unwrap().contains(&secret));
            }
        }
    }
}

#[test]
fn a_digest_in_a_key_is_the_one_that_is_printed() {
    let digest: Digest = TEST.parse().unwrap();
    assert!(counter(limit("l", &[KeyPart::Client]), &request()).contains(&digest.to_string()));
}
