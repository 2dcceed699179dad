use super::*;
use crate::find::find;

const ALL: &str = "limits: [{name: per-client, rate: 9/m}, {name: ceiling, rate: 99/m, key: [address]}]";

/// A listener with a connection manager of these fields around a filter with this policy.
fn listener(fields: &str, policy: &str) -> String {
    format!(
        "{{address: {{socket_address: {{address: 0.0.0.0, port_value: 80}}}}, filter_chains: [{{filters: [{}]}}]}}",
        manager(fields, policy)
    )
}

fn manager(fields: &str, policy: &str) -> String {
    let filter = filter(policy);
    format!("{{typed_config: {{'@type': x/a.v3.HttpConnectionManager, {fields} http_filters: [{filter}]}}}}")
}

fn filter(policy: &str) -> String {
    format!(
        "{{typed_config: {{'@type': x/envoy.extensions.filters.http.wasm.v3.Wasm, \
         config: {{name: headgate, configuration: {{'@type': x/Struct, value: {{{policy}}}}}}}}}}}"
    )
}

fn bootstrap(listeners: &[String]) -> String {
    format!(
        "static_resources:\n  listeners:\n  - {}\n",
        listeners.join("\n  - ")
    )
}

/// The findings about a file: severity, path, line and message.
fn findings(text: &str) -> Vec<(Severity, String, usize, String)> {
    let file = find(text, false).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    let parsed = file.found.iter().map(|found| {
        let plugin = found.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
        (found, plugin)
    });
    let mut report = Report::default();
    check(&parsed.collect::<Vec<_>>(), &mut report);
    let all = report.findings.into_iter();
    all.map(|one| (one.severity, one.at, one.place.line, one.message))
        .collect()
}

fn severities(text: &str) -> Vec<Severity> {
    findings(text)
        .into_iter()
        .map(|(severity, ..)| severity)
        .collect()
}

#[test]
fn an_address_that_callers_choose_is_an_error() {
    for fields in [
        "",
        "use_remote_address: false,",
        "use_remote_address: 'false',",
        "use_remote_address: no,",
        "xff_num_trusted_hops: 0,",
        "xff_num_trusted_hops: '0',",
        "original_ip_detection_extensions: [],",
        "skip_xff_append: true,",
    ] {
        let found = findings(&bootstrap(&[listener(fields, ALL)]));
        let [(Severity::Error, at, line, message)] = found.as_slice() else {
            panic!("{fields}: {found:?}")
        };
        assert_eq!(
            at,
            "static_resources.listeners[0].filter_chains[0].filters[0].typed_config"
        );
        assert_eq!(*line, 3, "{fields}");
        for piece in [
            "X-Forwarded-For",
            "write use_remote_address: true",
            "xff_num_trusted_hops: N",
        ] {
            assert!(message.contains(piece), "{fields}: {message}");
        }
    }
}

#[test]
fn an_address_that_envoy_knows_is_left_alone() {
    for fields in [
        "use_remote_address: true,",
        "use_remote_address: 'true',",
        "use_remote_address: yes,",
        "useRemoteAddress: true,",
        "use_remote_address: true, xff_num_trusted_hops: 2,",
        "original_ip_detection_extensions: [{name: custom}],",
        "originalIpDetectionExtensions: [{name: custom}],",
    ] {
        let found = findings(&bootstrap(&[listener(fields, ALL)]));
        assert!(found.is_empty(), "{fields}: {found:?}");
    }
}

/// Measured on Envoy 1.40: with 1 trusted hop and no other setting, it takes the second entry of X-Forwarded-For from
/// the right.
#[test]
fn trusted_hops_alone_are_a_warning_with_the_number_of_proxies() {
    for (fields, hops, proxies) in [
        (
            "xff_num_trusted_hops: 1,",
            "xff_num_trusted_hops: 1 ",
            "2 proxies",
        ),
        (
            "xff_num_trusted_hops: '2',",
            "xff_num_trusted_hops: 2 ",
            "3 proxies",
        ),
        ("xffNumTrustedHops: 3,", "xff_num_trusted_hops: 3 ", "4 proxies"),
        (
            "xff_num_trusted_hops: 4294967295,",
            "xff_num_trusted_hops: 4294967295 ",
            "4294967296 proxies",
        ),
    ] {
        let found = findings(&bootstrap(&[listener(fields, ALL)]));
        let [(Severity::Warning, _, 3, message)] = found.as_slice() else {
            panic!("{fields}: {found:?}")
        };
        assert!(message.contains(hops) && message.contains(proxies), "{message}");
    }
}

#[test]
fn only_a_policy_that_relies_on_addresses_is_judged() {
    let errors = |policy: &str| severities(&bootstrap(&[listener("", policy)])).len();
    for policy in [
        "limits: [{name: a, rate: 9/m}]",
        "identify: [{header: x-a}, {address: {}}], limits: [{name: a, rate: 9/m}]",
        "identify: [{name: pair, all: [{header: x-a}, {address: {}}]}], limits: [{name: a, rate: 9/m}]",
        "identify: [{header: x-a}], limits: [{name: a, rate: 9/m, key: [path, address]}]",
        "identify: [{header: x-a}], limits: [{name: a, rate: 9/m, overrides: [{cidr: 10.0.0.0/8, rate: unlimited}]}]",
    ] {
        assert_eq!(errors(policy), 1, "{policy}");
    }
    for policy in [
        "identify: [{header: x-a}], limits: [{name: a, rate: 9/m}]",
        "identify: [{name: pair, all: [{header: x-a}, {header: x-b}]}], limits: [{name: a, rate: 9/m}]",
        "limits: [{name: a, rate: 9/m, key: [host]}]",
    ] {
        assert_eq!(errors(policy), 0, "{policy}");
    }
}

#[test]
fn each_connection_manager_is_judged_by_itself_and_once() {
    let good = listener("use_remote_address: true,", ALL);
    let two = listener("", ALL).replace("http_filters: [", &format!("http_filters: [{}, ", filter(ALL)));
    let found = findings(&bootstrap(&[good.clone(), two, good, listener("", ALL)]));
    let places: Vec<(Severity, usize)> = found.iter().map(|one| (one.0, one.2)).collect();
    assert_eq!(places, [(Severity::Error, 4), (Severity::Error, 6)], "{found:?}");
}

#[test]
fn a_connection_manager_is_found_at_any_depth() {
    let chain = |name: &str| format!("{{{name}: {{filters: [{}]}}}}", manager("", ALL));
    let inner = manager("use_remote_address: true,", ALL);
    let outer =
        format!("{{typed_config: {{'@type': x/a.v3.HttpConnectionManager, http_filters: [{inner}]}}}}");
    for (text, count) in [
        (bootstrap(&[chain("default_filter_chain")]), 1),
        (bootstrap(&[chain("defaultFilterChain")]), 1),
        (format!("resources:\n- {}\n", listener("", ALL)), 1),
        (
            format!("version_info: 1\nresources:\n- {}\n", listener("", ALL)),
            1,
        ),
        (listener("", ALL), 1),
        (format!("wrapped: {{deeper: {}}}", manager("", ALL)), 1),
        // The nearest one counts.
        (format!("filters: [{outer}]"), 0),
        (
            bootstrap(&[listener("", ALL)]).replace("http_filters", "httpFilters"),
            1,
        ),
    ] {
        assert_eq!(severities(&text).len(), count, "{text}");
    }
}

#[test]
fn what_has_no_connection_manager_is_left_alone() {
    let patch = |operation: &str, value: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, spec: {{configPatches: \
             [{{patch: {{operation: {operation}, value: {value}}}}}]}}}}"
        )
    };
    for (text, count) in [
        (format!("{{{ALL}}}"), 0),
        (format!("http_filters: [{}]", filter(ALL)), 0),
        (patch("INSERT_FIRST", &filter(ALL)), 0),
        // A patch that is merged into a connection manager is only a part of it; a patch that adds one is complete.
        (patch("MERGE", &manager("", ALL)), 0),
        (patch("ADD", &listener("", ALL)), 1),
    ] {
        assert_eq!(severities(&text).len(), count, "{text}");
    }
}

#[test]
fn a_unix_socket_has_no_address() {
    let pipe = "address: {pipe: {path: /run/envoy.sock}}";
    let on_pipe = |fields: &str, more: &str| {
        let listener = listener(fields, ALL);
        let tcp = "address: {socket_address: {address: 0.0.0.0, port_value: 80}}";
        assert!(listener.contains(tcp));
        findings(&bootstrap(&[listener.replace(tcp, &format!("{pipe}{more}"))]))
    };
    let found = on_pipe("use_remote_address: true,", "");
    let [(Severity::Warning, at, 3, message)] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(at, "static_resources.listeners[0]");
    assert!(message.contains("no address"), "{message}");
    assert_eq!(on_pipe("", "").len(), 2, "the error is another matter");
    for (fields, more) in [
        ("use_remote_address: true, xff_num_trusted_hops: 1,", ""),
        ("original_ip_detection_extensions: [{name: custom}],", ""),
        (
            "use_remote_address: true,",
            ", listener_filters: [{name: p, typed_config: {'@type': x/a.v3.ProxyProtocol}}]",
        ),
    ] {
        assert!(on_pipe(fields, more).is_empty(), "{fields}{more}");
    }
    let both = listener("use_remote_address: true,", ALL).replacen(
        '{',
        &format!("{{additional_addresses: [{{{pipe}}}], "),
        1,
    );
    assert_eq!(severities(&bootstrap(&[both])), [Severity::Warning]);
    // Of two filter chains, the one whose address is the connection's.
    let [hops, peer] = ["xff_num_trusted_hops: 1,", "use_remote_address: true,"]
        .map(|fields| format!("{{filters: [{}]}}", manager(fields, ALL)));
    let chains = bootstrap(&[format!("{{{pipe}, filter_chains: [{hops}, {peer}]}}")]);
    assert_eq!(
        severities(&chains),
        [Severity::Warning; 2],
        "the hops and the socket"
    );
}
