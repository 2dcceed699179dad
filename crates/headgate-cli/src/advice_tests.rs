use super::*;
use crate::find::find;
use headgate_core::config::Plugin;

fn advice(text: &str) -> Vec<String> {
    let file = find(text, false).unwrap_or_else(|error| panic!("{error:?}"));
    let filter = file.found.iter().find_map(|found| match found.parse() {
        Ok(Plugin::Filter(policy)) => Some((found, policy)),
        Ok(Plugin::RedisCall { .. }) => None,
        other => panic!("{text}\n{other:?}"),
    });
    let (found, policy) = filter.expect("a filter");
    let mut report = Report::default();
    give(found, &policy, &mut report);
    let one = |finding: &super::super::report::Finding| format!("{}: {}", finding.path, finding.message);
    report.findings.iter().map(one).collect()
}

/// The paths of the advice.
fn paths(text: &str) -> Vec<String> {
    let path = |line: String| line.split(": ").next().unwrap_or_default().to_owned();
    advice(text).into_iter().map(path).collect()
}

/// A policy that gets no advice.
const WISE: &str = "{limits: [{name: c, rate: 100/m}, {name: ceiling, rate: 3000/m, key: [address]}]}";

#[test]
fn a_wise_policy_draws_no_advice() {
    assert!(advice(WISE).is_empty(), "{:?}", advice(WISE));
    let shipped = include_str!("../../../envoy/envoy.yaml");
    assert!(advice(shipped).is_empty(), "{:?}", advice(shipped));
}

#[test]
fn each_unwise_policy_draws_its_own_advice_and_no_other() {
    let ceiling = "{name: top, rate: 3000/m, key: [address]}";
    for (text, path, piece) in [
        ("{limits: [{name: c, rate: 100/m}]}".to_owned(), "limits", "no ceiling by address: api_key"),
        (
            "{limits: [{name: c, rate: 100/m}, {name: t, rate: 3000/m, key: [address], match: {source: api_key}}]}".replace("key: [address], match: {source: api_key}", "key: [address], enforce: false"),
            "limits",
            "no ceiling",
        ),
        (format!("{{limits: [{{rate: 100/m}}, {ceiling}]}}"), "limits[0]", "has no name and is called \"100/m\""),
        (
            format!("{{identify: [{{header: x-api-key}}, {{name: u, metadata: [a, b]}}], limits: [{ceiling}]}}"),
            "identify[0]",
            "comes before u, which is verified",
        ),
        (
            format!("{{identify: [{{header: x-api-key}}, {{address: {{}}}}], limits: [{ceiling}]}}"),
            "identify",
            "add {name: token, header: authorization, extract: \"(?i:bearer) +(.+)\"}",
        ),
        (
            format!("{{identify: [{{address: {{ipv6_prefix: 128}}}}], limits: [{ceiling}]}}"),
            "identify[0].address.ipv6_prefix",
            "2^64 addresses",
        ),
        (
            format!("{{limits: [{{name: l, rate: 5000/m, algorithm: sliding_window_log}}, {ceiling}]}}"),
            "limits[0]",
            "5000 × 8 B = 40 KB for each client at its limit, 400 MB for 10,000",
        ),
        (
            format!("{{limits: [{{name: p, rate: 50/m, key: [client, path]}}, {ceiling}]}}"),
            "limits[0].key",
            "has a counter for each path",
        ),
        (
            "{identify: [{address: {}}], limits: [{name: h, rate: 50/m, key: [\"header:x-a\"]}]}".to_owned(),
            "limits[0].key",
            "header:x-a is chosen by the caller",
        ),
        (
            format!("{{limits: [{{name: a, rate: 10/s}}, {{name: b, rate: 5000/m}}, {ceiling}]}}"),
            "limits[1]",
            "can never be the tightest: wherever it applies, \"a\"",
        ),
        (
            format!("{{limits: [{{name: p, rate: 900/m, lease: 10%}}, {ceiling}]}}"),
            "limits[0].lease",
            "never used: \"top\" applies to every request and has none",
        ),
        (
            "{limits: [{name: p, rate: 39/m, lease: 10%}, {name: top, rate: 3000/m, key: [address], lease: 1%}]}".to_owned(),
            "limits[0].lease",
            "it would be for 3 requests, and the minimum is 4",
        ),
    ] {
        let advice = advice(&text);
        let [only] = advice.as_slice() else { panic!("{text}\n{advice:?}") };
        assert!(only.starts_with(&format!("{path}: ")) && only.contains(piece), "{text}\n{only}");
    }
}

#[test]
fn a_limit_that_can_be_the_tightest_draws_no_such_advice() {
    for limits in [
        "{name: a, rate: 10/s}, {name: b, rate: 500/m}",
        "{name: a, rate: 10/s, match: {path: /a}}, {name: b, rate: 5000/m}",
        "{name: a, rate: 10/s, enforce: false}, {name: b, rate: 5000/m}",
        "{name: a, rate: 10/s, key: [client, method]}, {name: b, rate: 5000/m}",
        "{name: a, rate: 10/s, overrides: [{cidr: 10.0.0.0/8, rate: unlimited}]}, {name: b, rate: 5000/m}",
        "{name: a, rate: 10/s, algorithm: gcra, burst: 6000}, {name: b, rate: 5000/m}",
        "{name: a, rate: 10/s}, {name: b, rate: 5000/m, match: {path: /b}, replaces: a}",
    ] {
        let text = format!("{{limits: [{limits}, {{name: top, rate: 9000/m, key: [address]}}]}}");
        assert!(advice(&text).is_empty(), "{text}\n{:?}", advice(&text));
    }
}

#[test]
fn of_two_limits_alike_only_the_second_is_too_many() {
    let two = advice(
        "{limits: [{name: a, rate: 50/m}, {name: b, rate: 50/m}, {name: top, rate: 900/m, key: [address]}]}",
    );
    assert_eq!(two.len(), 1, "{two:?}");
    assert!(two[0].starts_with("limits[1]: can never be"), "{two:?}");
}

#[test]
fn callers_with_tokens_need_a_source_only_if_there_is_a_key() {
    for sources in [
        "{header: x-api-key}",
        "{address: {}}",
        "{header: x-tenant}, {address: {}}",
        "{header: x-api-key}, {name: token, header: Authorization}, {address: {}}",
        "{name: pair, all: [{header: x-api-key}, {header: authorization}]}, {address: {}}",
        "{name: user, metadata: [envoy.filters.http.jwt_authn, payload, sub]}, {header: x-api-key}, {address: {}}",
    ] {
        let text = format!("{{identify: [{sources}], limits: [{{name: top, rate: 9/m, key: [address]}}]}}");
        assert!(advice(&text).is_empty(), "{text}\n{:?}", advice(&text));
    }
    assert!(advice(WISE).is_empty(), "the default draws none");
}

#[test]
fn a_limit_that_counts_nothing_is_warned_of() {
    for (limits, path) in [
        ("[{name: a, rate: 9/m, cost: 0}]", "limits[0].cost"),
        ("[{name: a, rate: unlimited}]", "limits[0].rate"),
        (
            "[{name: a, rate: unlimited, overrides: [{cidr: 10.0.0.0/8, rate: unlimited}]}]",
            "limits[0].rate",
        ),
    ] {
        let found = paths(&format!("limits: {limits}"));
        assert!(found.contains(&path.to_owned()), "{limits}: {found:?}");
    }
    for limits in [
        "[{name: a, rate: 0/s, cost: 0}]",
        "[{name: a, rate: unlimited, overrides: [{cidr: 10.0.0.0/8, rate: 5/m}]}]",
    ] {
        let found = paths(&format!("limits: {limits}"));
        let about_counting = |path: &String| path.ends_with(".cost") || path.ends_with(".rate");
        assert!(!found.iter().any(about_counting), "{limits}: {found:?}");
    }
}

#[test]
fn a_path_that_may_be_meant_as_a_prefix_is_warned_of() {
    let of = |condition: &str| {
        paths(&format!(
            "exempt: [{{path: /ok}}]\nlimits: [{{name: a, rate: 9/m, match: {condition}}}]"
        ))
    };
    for (condition, path) in [
        ("{path: /api/}", "limits[0].match.path"),
        ("{path: /}", "limits[0].match.path"),
        ("[{path: /a}, {path: /api/}]", "limits[0].match[1].path"),
        ("{path: /**, not: {path: /api/}}", "limits[0].match.not.path"),
        ("{path: {regex: /api/}}", "limits[0].match.path.regex"),
    ] {
        let found = of(condition);
        assert!(found.contains(&path.to_owned()), "{condition}: {found:?}");
    }
    for condition in [
        "{path: /api}",
        "{path: /api/**}",
        "{path: {regex: '/'}}",
        "{path: {regex: '/api/.*'}}",
    ] {
        let found = of(condition);
        assert!(
            !found.iter().any(|path| path.contains(".path")),
            "{condition}: {found:?}"
        );
    }
    let exempt = paths("exempt: [{path: /static/}]\nlimits: [{name: a, rate: 9/m}]");
    assert!(exempt.contains(&"exempt[0].path".to_owned()), "{exempt:?}");
}
