//! Defaults, and different forms with the same meaning.

use super::{errors, policy, settings, struct_bytes, yaml};
use crate::config::{parse, parse_value, Plugin, Policy};
use crate::identify::SourceKind;
use crate::limit::*;
use crate::model::{FilterState, StateName};

fn algorithm(limit: &str) -> Algorithm {
    policy(&format!("{{limits: [{limit}]}}")).limits[0].algorithm
}

fn enforce(text: &str) -> Vec<Enforce> {
    policy(text).limits.iter().map(|limit| limit.enforce).collect()
}

#[test]
fn the_smallest_configuration_limits_by_api_key_else_by_address() {
    let policy = policy("{limits: [{rate: 100/minute}]}");
    let names: Vec<&str> = policy
        .identify
        .iter()
        .map(|source| source.name.as_str())
        .collect();
    assert_eq!(names, ["api_key", "address"]);
    assert_eq!(policy.identify[0].kind, SourceKind::Header("x-api-key".into()));
    assert_eq!(policy.limits[0].name, "100/minute");
    assert_eq!(policy.limits[0].key, [KeyPart::Client]);
    assert_eq!(policy.limits[0].algorithm, Algorithm::SlidingWindowLog);
}

#[test]
fn written_and_unwritten_default_sources_are_the_same() {
    let silent = policy("{limits: [{rate: 100/minute}]}");
    let written = policy("{limits: [{rate: 100/minute}], identify: [{header: X-API-Key}, {address: {}}]}");
    assert_eq!(silent, written);
}

#[test]
fn a_filter_without_limits_is_refused_with_the_remedy() {
    for text in [
        "{instance: edge}",
        "{enabled: false}",
        "{role: filter}",
        "{role: filter, redis: {key_prefix: a}}",
        "{redis: {}}",
        "{redis: {key_prefix: a, timeout: 1s}}",
        "{redis: {key_prefix: a}, store: redis}",
        "{exempt: [{path: /a}]}",
    ] {
        let expected =
            "limits: missing: a filter without limits counts nothing; write one such as [{rate: 100/minute}]";
        let shown = errors(text).to_string();
        assert!(shown.starts_with(expected), "{text}: {shown}");
    }
    let shown = errors("{limits: []}").to_string();
    assert!(
        shown.starts_with("limits: []: a filter without limits counts nothing; write one"),
        "{shown}"
    );
}

#[test]
fn missing_limits_are_no_second_error() {
    for text in [
        "{limts: [{rate: 1/s}]}",
        "{redis: {timeout: 1h}}",
        "{role: guard, redis: {key_prefix: a}}",
    ] {
        assert_eq!(errors(text).iter().count(), 1, "{text}\n{}", errors(text));
    }
}

#[test]
fn nothing_at_all_is_answered_with_the_smallest_configuration() {
    for bytes in [&b""[..], b" \n", b"{}"] {
        let error = parse(bytes).unwrap_err().to_string();
        let example = error.split_once("smallest is ").unwrap().1;
        assert!(
            matches!(parse(example.as_bytes()), Ok(Plugin::Filter(_))),
            "{error}"
        );
    }
}

#[test]
fn auto_is_a_log_up_to_a_hundred_and_a_counter_above() {
    use Algorithm::{SlidingWindowCounter, SlidingWindowLog};
    assert_eq!(algorithm("{rate: 100/day}"), SlidingWindowLog);
    assert_eq!(algorithm("{rate: 101/day}"), SlidingWindowCounter);
    assert_eq!(algorithm("{rate: 0/s}"), SlidingWindowLog);
    assert_eq!(algorithm("{rate: unlimited}"), SlidingWindowCounter);
    let with = |over: &str| algorithm(&format!("{{rate: 100/s, overrides: [{over}]}}"));
    assert_eq!(with("{cidr: 10.0.0.0/8, rate: 101/s}"), SlidingWindowCounter);
    assert_eq!(with("{cidr: 10.0.0.0/8, rate: 7/s}"), SlidingWindowLog);
    assert_eq!(with("{cidr: 10.0.0.0/8, rate: unlimited}"), SlidingWindowLog);
    assert_eq!(with("{from: redis}"), SlidingWindowCounter);
}

#[test]
fn a_burst_follows_the_limit_where_none_is_written() {
    assert_eq!(
        algorithm("{rate: 60/m, algorithm: gcra}"),
        Algorithm::Gcra { burst: 0 }
    );
    assert_eq!(
        algorithm("{rate: 60/m, algorithm: gcra, burst: 100}"),
        Algorithm::Gcra { burst: 100 }
    );
}

#[test]
fn everyone_but_some_can_be_unlimited() {
    let limit = "{rate: unlimited, overrides: [{source: api_key, value: noisy, rate: 5/m}, {cidr: 10.0.0.0/8, rate: 7/60s}]}";
    let policy = policy(&format!("{{limits: [{limit}]}}"));
    assert_eq!(policy.limits[0].quota, Quota::Unlimited);
    assert_eq!(policy.limits[0].algorithm, Algorithm::SlidingWindowLog);
}

#[test]
fn a_fixed_window_is_aligned_to_the_epoch_by_default() {
    let align = Align::Epoch;
    assert_eq!(
        algorithm("{rate: 60/m, algorithm: fixed_window}"),
        Algorithm::FixedWindow { align }
    );
}

#[test]
fn a_limit_takes_the_general_settings_or_its_own_in_their_place() {
    let policy = policy("{on_error: deny, limits: [{rate: 1/s}, {rate: 2/s, on_error: allow}]}");
    let on_error: Vec<OnError> = policy.limits.iter().map(|limit| limit.on_error).collect();
    assert_eq!(on_error, [OnError::Deny, OnError::Allow]);
    assert_eq!(
        enforce("{enforce: false, limits: [{rate: 1/s}, {rate: 2/s, enforce: true}]}"),
        [Enforce::Never, Enforce::Always]
    );
}

#[test]
fn shares_at_the_ends_are_always_and_never() {
    assert_eq!(
        enforce(
            "{limits: [{rate: 1/s, enforce: 0%}, {rate: 2/s, enforce: 100%}, {rate: 3/s, enforce: 0.5%}]}"
        ),
        [
            Enforce::Never,
            Enforce::Always,
            Enforce::Share(Percent::from_basis_points(50).unwrap())
        ]
    );
    assert_eq!(policy("{limits: [{rate: 1/s, lease: 0%}]}").limits[0].lease, None);
}

#[test]
fn sources_without_a_name_are_called_by_what_they_read() {
    let policy = settings(
        "{identify: [{header: Authorization}, {cookie: sid}, {query: app}, {metadata: [a, b]}, {tls: subject},
          {all: [{header: x-a}, {address: {}}]}, {address: {ipv4_prefix: 24}}]}",
    );
    let names: Vec<&str> = policy
        .identify
        .iter()
        .map(|source| source.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "authorization",
            "cookie",
            "query",
            "metadata",
            "tls",
            "all",
            "address"
        ]
    );
    let address = SourceKind::Address {
        ipv4_prefix: 24,
        ipv6_prefix: 64,
    };
    assert_eq!(policy.identify[6].kind, address);
}

#[test]
fn one_source_of_a_kind_needs_no_name() {
    let policy = settings("{identify: [{name: token, header: authorization}, {header: x-api-key}]}");
    assert_eq!(policy.identify[1].name, "api_key");
}

#[test]
fn names_of_headers_and_methods_are_compared_in_one_case() {
    let policy = policy(
        "{limits: [{rate: 1/s, key: ['header:X-App'], match: {methods: [post], headers: {X-App: web}},
          cost: {header: X-Cost, max: 1}}]}",
    );
    let limit = &policy.limits[0];
    assert_eq!(limit.key, [KeyPart::Header("x-app".into())]);
    assert_eq!(limit.matches[0].methods, ["POST"]);
    assert_eq!(limit.matches[0].headers[0].0, "x-app");
    assert!(matches!(&limit.cost, Cost::Header { name, .. } if name == "x-cost"));
}

#[test]
fn all_filter_state_is_written_unless_names_are_listed() {
    let written = |text: &str| settings(text).filter_state;
    assert_eq!(written("{}"), FilterState::ALL);
    assert_eq!(written("{filter_state: all}"), FilterState::ALL);
    assert_eq!(written("{filter_state: []}"), FilterState::listed(&[]));
    let names = StateName::ALL.map(StateName::as_str).join(", ");
    let listed = FilterState::listed(&StateName::ALL);
    assert_eq!(written(&format!("{{filter_state: [{names}]}}")), listed);
}

#[test]
fn limits_replace_by_name_or_by_rate_one_or_several() {
    let replaces = |text: &str| policy(text).limits[2].replaces.clone();
    let limits = "{rate: 1/s}, {name: b, rate: 2/s}";
    let case = |which: &str| {
        format!("{{limits: [{limits}, {{rate: 3/s, match: {{path: /a}}, replaces: {which}}}]}}")
    };
    assert_eq!(replaces(&case("b")), [1]);
    assert_eq!(replaces(&case("[b, 1/s]")), [1, 0]);
}

#[test]
fn what_only_looks_unreachable_is_accepted() {
    for text in [
        // A limit in shadow, replaced itself, or without a client replaces nothing.
        "{limits: [{name: a, rate: 1/s}, {name: b, rate: 2/s, replaces: a, enforce: 10%}]}",
        "{limits: [{name: a, rate: 1/s}, {name: b, rate: 2/s, replaces: a}, {rate: 3/s, replaces: b, match: {path: /x}}]}",
        "{identify: [{header: x-api-key}], limits: [{name: a, rate: 1/s, key: [address]}, {rate: 2/s, replaces: a}]}",
        "{limits: [{name: a, rate: 1/s}, {rate: 2/s, replaces: a, match: {path: /x}}]}",
        // Exempt in part.
        "{exempt: [{path: /x}], limits: [{rate: 1/s, match: {methods: [GET]}}, {rate: 2/s}]}",
        "{exempt: [{path: /x, methods: [GET]}], limits: [{rate: 1/s, match: {path: /x}}]}",
        // `not` narrower than the rest.
        "{limits: [{rate: 1/s, match: {path: /x, not: {path: /x, methods: [GET]}}}]}",
        "{limits: [{rate: 1/s, match: {methods: [GET, POST], not: {methods: [GET]}}}]}",
        "{limits: [{rate: 1/s, match: {not: {source: [api_key]}}}]}",
        "{limits: [{rate: 1/s, match: {not: {source: [api_key]}}, key: [address]}]}",
        "{exempt: [{source: [api_key]}], limits: [{rate: 1/s}]}",
    ] {
        policy(text);
    }
}

#[test]
fn a_wider_network_after_a_narrower_one_is_reached() {
    policy(
        "{limits: [{rate: 1/s, overrides: [{cidr: 10.1.0.0/16, rate: 5/s}, {cidr: 10.0.0.0/8, rate: 4/s},
          {cidr: '2001:db8::/32', rate: 3/s}, {cidr: 0.0.0.0/0, rate: 2/s}]}]}",
    );
}

#[test]
fn braces_in_a_body_are_text_unless_they_contain_a_word() {
    let body = r#"{"error": "slow down", "retry": {retry_after}, "of": "{name}", "": {}}"#;
    let text = serde_json::json!({"response": {"body": body}});
    assert_eq!(settings(&text.to_string()).response.body, body);
}

#[test]
fn no_headers_and_both_families_can_be_configured() {
    let families = |list: &str| {
        let response = settings(&format!("{{response: {{headers: {list}}}}}")).response;
        (response.x_ratelimit, response.ietf)
    };
    assert_eq!(families("[]"), (false, false));
    assert_eq!(families("[ietf]"), (false, true));
    assert_eq!(families("[ietf, x-ratelimit]"), (true, true));
}

#[test]
fn the_guard_takes_its_key_prefix_alone_with_role_or_without() {
    let plugin = |text: &str| parse_value(&yaml(text)).unwrap();
    let expected = |prefix: &str| Plugin::RedisCall {
        key_prefix: prefix.to_owned(),
    };
    assert_eq!(plugin("{role: redis_call}"), expected("ratelimit"));
    assert_eq!(plugin("{redis: {key_prefix: eu}}"), expected("eu"));
    assert_eq!(
        plugin("{role: redis_call, redis: {key_prefix: 'eu:limits'}}"),
        expected("eu:limits")
    );
    assert_eq!(
        errors("{role: redis_call, redis: {timeout: 1s}, limits: []}")
            .iter()
            .count(),
        2
    );
}

#[test]
fn a_whole_double_is_an_integer_in_json_and_in_a_struct() {
    let status = |plugin: Plugin| match plugin {
        Plugin::Filter(policy) => policy.response.status,
        other => panic!("{other:?}"),
    };
    let json = br#"{"response": {"status": 430.0}, "limits": [{"rate": "1/s"}]}"#;
    assert_eq!(status(parse(json).unwrap()), 430);
    let bytes = struct_bytes(&yaml("{response: {status: 430}, limits: [{rate: 1/s}]}"));
    assert_eq!(status(parse(&bytes).unwrap()), 430);
}

#[test]
fn all_errors_are_found_in_one_run() {
    let errors =
        errors("{enabled: 1, limits: [{rate: x/s, algorithm: y}, {}], redis: {timeout: 1h}, response: {status: 200}}");
    let mut paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "enabled",
            "limits[0].algorithm",
            "limits[0].rate",
            "limits[1]",
            "redis.timeout",
            "response.status"
        ]
    );
    assert_eq!(errors.to_string().lines().count(), 6);
}

#[test]
fn one_mistake_is_one_error() {
    for text in [
        // References to an invalid source, rate or limit are not errors.
        "{identify: [{name: user, metadata: 5}], limits: [{rate: 1/s, match: {source: [user]}}]}",
        "{identify: [{name: user}], limits: [{rate: 1/s, match: {source: [user]}}]}",
        "{identify: user, limits: [{rate: 1/s, match: {source: [user]}}]}",
        "{rates: {user: 5}, limits: [{rate: user}]}",
        "{limits: [{name: a, rate: 5/x}, {name: b, rate: 1/s, replaces: a, match: {path: /x}}]}",
        "{limits: [{rate: 5/s, algorithm: gcar, burst: 7}]}",
    ] {
        assert_eq!(errors(text).iter().count(), 1, "{text}\n{}", errors(text));
    }
}

#[test]
fn the_policy_of_a_struct_is_that_of_its_json() {
    let value = yaml("{limits: [{rate: 10/30s, key: [address]}, {rate: 1000/h}], on_error: deny}");
    let read = |bytes: &[u8]| -> Policy {
        match parse(bytes) {
            Ok(Plugin::Filter(policy)) => *policy,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read(value.to_string().as_bytes()), read(&struct_bytes(&value)));
}

#[test]
fn the_borders_of_each_range_are_inside() {
    for text in [
        "{redis: {timeout: 1ms, max_in_flight: 1}}",
        "{redis: {timeout: 10s, max_in_flight: 1000000}}",
        "{response: {status: 400, error_status: 599}}",
        "{identify: [{address: {ipv4_prefix: 1, ipv6_prefix: 128}}]}",
        "{verdict_cache: {max_age: 0s, entries: 0}, log: {denials_per_second: 0}}",
    ] {
        settings(text);
    }
    for limit in [
        "{rate: 10000/d, algorithm: sliding_window_log}",
        "{rate: 5/s, cost: 0}",
        "{rate: 5/s, cost: 5}",
        "{rate: 0/s, cost: 5}",
        "{rate: 1/d, algorithm: gcra, burst: 104249991}",
    ] {
        algorithm(limit);
    }
}

#[test]
fn half_a_number_is_no_number_in_json_and_in_a_struct() {
    let half = yaml("{response: {status: 429.5}}");
    let expected = "response.status: 429.5: out of range; write a whole number from 400 to 599";
    for bytes in [half.to_string().into_bytes(), struct_bytes(&half)] {
        assert_eq!(parse(&bytes).unwrap_err().to_string(), expected);
    }
}
