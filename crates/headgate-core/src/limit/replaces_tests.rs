//! Limits that replace others.

use super::tests::cidr;
use crate::identify::FakeRequest;
use crate::limit::fixtures::*;
use crate::limit::{Enforce, Limit, Match, NoClient, Quota};

#[test]
fn a_limit_in_shadow_or_replaced_itself_replaces_nothing() {
    let request = FakeRequest::new("10.0.0.1", &[]);
    let names = |limits: Vec<Limit>| names(&planner(sources(), limits.clone()), &limits, &request);
    let replacing = |name: &str, replaces: &[usize]| Limit {
        replaces: replaces.to_vec(),
        ..by_client(name)
    };
    let unmatched = |limit: Limit| Limit {
        matches: vec![Match {
            sources: vec!["api_key".into()],
            ..Match::default()
        }],
        ..limit
    };
    let shadow = |limit: Limit| Limit {
        enforce: Enforce::Never,
        ..limit
    };
    let a = || by_client("a");
    assert_eq!(names(vec![a(), replacing("b", &[0])]), ["b"]);
    assert_eq!(names(vec![replacing("b", &[1]), a()]), ["b"]);
    assert_eq!(names(vec![a(), unmatched(replacing("b", &[0]))]), ["a"]);
    assert_eq!(names(vec![a(), shadow(replacing("b", &[0]))]), ["a", "b"]);
    // c replaces b, so b replaces nothing.
    assert_eq!(
        names(vec![a(), replacing("b", &[0]), replacing("c", &[1])]),
        ["a", "c"]
    );
    assert_eq!(
        names(vec![replacing("c", &[1]), replacing("b", &[2]), a()]),
        ["c", "a"]
    );
    assert_eq!(
        names(vec![a(), replacing("b", &[0]), shadow(replacing("c", &[1]))]),
        ["b", "c"]
    );
    assert_eq!(names(vec![a(), by_client("b"), replacing("c", &[0, 1])]), ["c"]);
    // The configuration refuses this; here it must only not hang.
    assert_eq!(names(vec![replacing("x", &[1]), replacing("y", &[0])]), ["x"]);
}

#[test]
fn a_limit_without_its_client_replaces_nothing() {
    let no_source = |limits: Vec<Limit>| {
        let planner = planner(vec![header("x-api-key")], limits.clone());
        let request = FakeRequest::new("10.0.0.1", &[]);
        (names(&planner, &limits, &request), counted(&planner, &request).1)
    };
    let replacing = |limit: Limit| Limit {
        replaces: vec![0],
        ..limit
    };
    let (counted, lacking) = no_source(vec![by_address("a"), replacing(by_client("b"))]);
    assert_eq!(
        (counted, lacking),
        (vec!["a".to_owned()], Some(NoClient::Unknown))
    );
    assert_eq!(
        no_source(vec![by_client("a"), replacing(by_address("b"))]).1,
        None
    );
    let shadow = Limit {
        enforce: Enforce::Never,
        ..by_client("a")
    };
    assert!(
        no_source(vec![shadow]).1.is_none(),
        "a limit in shadow replaces no other limit"
    );
    let trusted = Limit {
        overrides: vec![cidr("10.0.0.0/8", Quota::Unlimited)],
        ..by_client("a")
    };
    assert!(no_source(vec![trusted]).1.is_none(), "this caller is not limited");
}
