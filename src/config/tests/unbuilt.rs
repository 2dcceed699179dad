//! What this release refuses as not built, and what it must let pass.

use super::{policy, yaml};
use crate::config::parse_value;

fn refused(text: &str) -> Vec<String> {
    match parse_value(&yaml(text)) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn what_is_built_passes() {
    let text = "
        role: filter
        instance: edge
        redis: {cluster: c, key_prefix: p, timeout: 5ms, max_in_flight: 10}
        on_error: deny
        identify: [{name: key, header: x-key, as: plain}, {address: {ipv4_prefix: 24}}]
        on_no_client: deny
        rates: {user: 1000/hour}
        limits:
          - {name: a, rate: user, algorithm: auto, key: [client], match: {source: [key]}, on_error: allow}
          - {name: b, rate: 1/s, algorithm: fixed_window, key: [address], match: {not: {source: [key]}}}
          - {rate: 5/m, algorithm: sliding_window_log}
          - {rate: 6/m, algorithm: sliding_window_counter}
        response: {status: 420, error_status: 500, body: 'no {limit}', headers: []}
    ";
    assert_eq!(refused(text), Vec::<String>::new());
    assert_eq!(
        refused("{limits: [{rate: 1/s}], response: {headers: [x-ratelimit]}}"),
        Vec::<String>::new()
    );
}

#[test]
fn what_is_not_built_is_refused_where_it_stands() {
    let limit = |field: &str| format!("{{limits: [{{rate: 10/s}}, {{rate: 5/s, {field}}}]}}");
    let cases = [
        ("{enabled: false}".to_owned(), "enabled"),
        ("{enforce: false}".to_owned(), "enforce"),
        ("{enforce: 10%}".to_owned(), "enforce"),
        ("{store: local}".to_owned(), "store"),
        ("{on_error: local}".to_owned(), "on_error"),
        ("{local: {share: 25%}}".to_owned(), "local.share"),
        (
            "{identify: [{address: {}}, {cookie: sid}]}".to_owned(),
            "identify[1].cookie",
        ),
        ("{identify: [{query: q}]}".to_owned(), "identify[0].query"),
        (
            "{identify: [{metadata: [a, b]}]}".to_owned(),
            "identify[0].metadata",
        ),
        ("{identify: [{tls: subject}]}".to_owned(), "identify[0].tls"),
        (
            "{identify: [{all: [{header: a}, {header: b}]}]}".to_owned(),
            "identify[0].all",
        ),
        (
            "{identify: [{header: a, extract: '(.+)'}]}".to_owned(),
            "identify[0].extract",
        ),
        ("{exempt: [{path: /a}]}".to_owned(), "exempt[0]"),
        (limit("algorithm: gcra"), "limits[1].algorithm"),
        (limit("algorithm: fixed_window, align: client"), "limits[1].align"),
        (limit("match: [{source: [api_key]}]"), "limits[1].match[0]"),
        (limit("match: {path: /a}"), "limits[1].match.path"),
        (limit("match: {not: {route: a}}"), "limits[1].match.not.route"),
        (limit("key: [client, path]"), "limits[1].key"),
        (limit("key: [path]"), "limits[1].key"),
        (limit("overrides: [{from: redis}]"), "limits[1].overrides[0]"),
        (limit("on_error: local"), "limits[1].on_error"),
        (limit("expose: false"), "limits[1].expose"),
        (limit("enforce: false"), "limits[1].enforce"),
        (limit("cost: 2"), "limits[1].cost"),
        (limit("cost: {header: x, max: 2}"), "limits[1].cost"),
        (limit("lease: 10%"), "limits[1].lease"),
        ("{response: {headers: [ietf]}}".to_owned(), "response.headers[0]"),
        ("{response: {format: problem_json}}".to_owned(), "response.format"),
        ("{response: {reset: delta}}".to_owned(), "response.reset"),
        (
            "{response: {retry_after_jitter: 5%}}".to_owned(),
            "response.retry_after_jitter",
        ),
        (
            "{response: {upstream_headers: keep}}".to_owned(),
            "response.upstream_headers",
        ),
        (
            "{verdict_cache: {max_age: 2s}}".to_owned(),
            "verdict_cache.max_age",
        ),
        (
            "{verdict_cache: {entries: 5}}".to_owned(),
            "verdict_cache.entries",
        ),
        (
            "{log: {denials_per_second: 5}}".to_owned(),
            "log.denials_per_second",
        ),
        ("{metrics: {enabled: false}}".to_owned(), "metrics.enabled"),
        (
            "{metrics: {clients: [{name: a, source: api_key, value: b}]}}".to_owned(),
            "metrics.clients[0]",
        ),
    ];
    for (text, path) in &cases {
        assert_eq!(refused(text), [format!("{path}: not supported yet")], "{text}");
        policy(text);
    }
}

#[test]
fn replacing_is_refused_and_an_empty_list_of_replacements_is_not() {
    let limits = |replaces: &str| {
        format!("{{limits: [{{name: a, rate: 1/s}}, {{rate: 2/s, match: {{source: [api_key]}}, replaces: {replaces}}}]}}")
    };
    assert_eq!(refused(&limits("a")), ["limits[1].replaces: not supported yet"]);
    assert_eq!(refused(&limits("[]")), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_not_also_called_unbuilt() {
    let lines = refused("{limits: [{rate: 1/s, algorithm: leaky, cost: -1}]}");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines.iter().all(|line| !line.contains("not supported yet")),
        "{lines:?}"
    );
}
