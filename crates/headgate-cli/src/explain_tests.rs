use super::*;
use crate::policies::loaded;
use proptest::prelude::*;

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = Request::new(method, path, "a.example.com");
    request.address = "192.0.2.1".parse().ok();
    for (name, value) in headers {
        request.push(name, value);
    }
    request
}

proptest! {
    #[test]
    fn limits_shown_as_applied_are_those_counted(
        method in "GET|POST|OPTIONS",
        path in "/login|/a/login|/search/x|/v1/chat|/healthz|/",
        key in "|test|other",
        address in "192.0.2.1|10.1.2.3",
        test in "0|1",
        user in any::<bool>(),
    ) {
        let loaded = loaded(include_str!("../../headgate-core/src/config/tests/contract.yaml"));
        let mut request = request(&method, &path, &[("x-app", "web"), ("x-test", &test)]);
        request.address = address.parse().ok();
        request.route = Some("login".to_owned());
        if !key.is_empty() {
            request.push("x-api-key", &key);
        }
        if user {
            request.metadata.push(("envoy.filters.http.jwt_authn.payload.sub".to_owned(), "partner-7".to_owned()));
        }
        let explanation = Explanation::new(&loaded, &request);
        let holds = explanation.limits().filter_map(|(index, _, status)| match status {
            _ if explanation.explained.exempt.is_full() => None,
            LimitStatus::Applies { quota: Quota::Unlimited, live: false, .. } => None,
            LimitStatus::Applies { .. } => Some(index),
            _ => None,
        });
        let mut counted: Vec<usize> = explanation.groups.iter().flat_map(|g| &g.charges).map(|c| c.limit).collect();
        counted.sort_unstable();
        prop_assert_eq!(holds.collect::<Vec<_>>(), counted);
    }
}

#[test]
fn a_quota_is_shown_as_people_write_it() {
    for text in [
        "5/second",
        "100/minute",
        "10/30s",
        "300/5m",
        "1000/hour",
        "7/36h",
        "5000/day",
        "unlimited",
    ] {
        assert_eq!(show_quota(Quota::parse(text).unwrap()), text);
    }
}

#[test]
fn each_reason_names_the_first_field_that_does_not_fit() {
    let why = |condition: &str, request: &Request| {
        let loaded = loaded(&format!(
            "limits: [{{name: a, rate: 5/s, key: [address], match: {condition}}}]"
        ));
        let explanation = Explanation::new(&loaded, request);
        let (index, limit, status) = explanation.limits().next().unwrap();
        explanation.reason(index, limit, status)
    };
    let request = request("get", "/a/%2fb;x/", &[("x-key", "hunter2")]);
    for (condition, reason) in [
        ("{methods: [POST]}", "methods [\"POST\"] does not include GET"),
        ("{path: /x/**}", "path /x/** does not fit /a/%2Fb;x"),
        (
            "{hosts: [b.com]}",
            "hosts [\"b.com\"] does not include a.example.com",
        ),
        ("{headers: {x-key: k}}", "header x-key is missing or does not fit"),
        ("{route: r}", "route r is not none"),
        ("{not: {path: /a/**}}", "not {\"path\":\"/a/**\"} fits"),
        (
            "[{path: /x}, {path: /y}]",
            "match[0]: path /x does not fit /a/%2Fb;x; match[1]: path /y does not fit /a/%2Fb;x",
        ),
        ("{path: /a/**}", "match fits; enforced"),
        (
            "{path: /A/b, methods: [GET]}",
            "match fits /a/b (reading 3 of the path); enforced",
        ),
    ] {
        assert_eq!(why(condition, &request), reason);
    }
}
