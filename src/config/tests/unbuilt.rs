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
    let rest = "
        enabled: false
        store: redis
        on_error: local
        local: {share: 25%, max_counters: 100}
        enforce: 10%
        identify:
          - {cookie: sid}
          - {query: q}
          - {metadata: [a, b]}
          - {tls: subject}
          - {all: [{header: a}, {header: b}]}
          - {name: token, header: authorization, extract: 'Bearer (.+)'}
        exempt: [{path: /health}]
        limits:
          - {name: a, rate: 10/s, algorithm: gcra, burst: 5, match: [{path: /a, not: {route: b}}], key: [client, path]}
          - {name: b, rate: 10/s, algorithm: fixed_window, align: client, overrides: [{from: redis}], cost: 2}
          - {rate: 9/s, match: {methods: [GET]}, replaces: a, expose: false, enforce: false, cost: {header: x, max: 2}}
        response:
          headers: [ietf]
          format: problem_json
          reset: delta
          retry_after_jitter: 5%
          upstream_headers: keep
        log: {denials_per_second: 5}
        metrics: {enabled: true, clients: [{name: a, source: cookie, value: b}]}
    ";
    assert_eq!(refused(rest), Vec::<String>::new());
    let local = "{store: local, on_error: deny, limits: [{rate: 10/s, on_error: local}]}";
    assert_eq!(refused(local), Vec::<String>::new());
}

#[test]
fn what_is_not_built_is_refused_where_it_stands() {
    let limit = |field: &str| format!("{{limits: [{{rate: 10/s}}, {{rate: 5/s, {field}}}]}}");
    let cases = [(limit("lease: 10%"), "limits[1].lease")];
    for (text, path) in &cases {
        assert_eq!(refused(text), [format!("{path}: not supported yet")], "{text}");
        policy(text);
    }
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
