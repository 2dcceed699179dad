use super::*;
use crate::find::find;

const POLICY: &str = "redis: {cluster: to-redis}, limits: [{rate: 9/m}]";

/// A file with a policy and a route with this action. The policy is on line 3, the action on line 4.
fn file(policy: &str, action: &str) -> String {
    format!(
        "static_resources:\n  listeners:\n  - {{typed_config: {{'@type': x/envoy.extensions.filters.http.wasm.v3.Wasm, \
         config: {{name: headgate, configuration: {{'@type': x/Struct, value: {{{policy}}}}}}}}}}}\n  - {action}\n"
    )
}

/// The paths, lines and messages of the findings, which are all errors.
fn errors(text: &str) -> Vec<(String, usize, String)> {
    let file = find(text, false).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    let parsed = file.found.iter().map(|found| {
        let plugin = found.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
        (found, plugin)
    });
    let mut report = Report::default();
    check(&file, &parsed.collect::<Vec<_>>(), &mut report);
    assert_eq!(report.count(Severity::Error), report.findings.len());
    let all = report.findings.into_iter();
    all.map(|one| (one.at, one.place.line, one.message)).collect()
}

#[test]
fn what_sends_callers_to_the_cluster_is_an_error_in_its_place() {
    for (action, path) in [
        ("{route: {cluster: to-redis}}", "route.cluster"),
        ("{route: {cluster_header: x-cluster}}", "route.cluster_header"),
        ("{route: {clusterHeader: x-cluster}}", "route.clusterHeader"),
        (
            "{route: {weighted_clusters: {clusters: [{name: a, weight: 9}, {name: to-redis, weight: 1}]}}}",
            "route.weighted_clusters.clusters[1].name",
        ),
        (
            "{route: {weightedClusters: {clusters: [{clusterHeader: x, weight: 1}]}}}",
            "route.weightedClusters.clusters[0].clusterHeader",
        ),
        (
            "{route: {cluster: a, request_mirror_policies: [{cluster: b}, {cluster: to-redis}]}}",
            "route.request_mirror_policies[1].cluster",
        ),
        (
            "{route: {cluster: a, requestMirrorPolicies: [{cluster_header: x-mirror}]}}",
            "route.requestMirrorPolicies[0].cluster_header",
        ),
        (
            "{typed_config: {'@type': x/a.tcp_proxy.v3.TcpProxy, cluster: to-redis}}",
            "typed_config.cluster",
        ),
        (
            "{typed_config: {'@type': x/a.tcp_proxy.v3.TcpProxy, weighted_clusters: {clusters: [{name: to-redis}]}}}",
            "typed_config.weighted_clusters.clusters[0].name",
        ),
    ] {
        let found = errors(&file(POLICY, action));
        let [(at, line, message)] = found.as_slice() else {
            panic!("{action}: {found:?}")
        };
        assert_eq!(*at, format!("static_resources.listeners[1].{path}"), "{action}");
        assert_eq!(*line, 4, "{action}");
        assert!(message.contains("\"to-redis\"") && message.contains("other callers' quotas"));
    }
}

#[test]
fn other_clusters_and_the_cluster_itself_are_not_reported() {
    for action in [
        "{route: {cluster: upstream}}",
        "{route: {weighted_clusters: {clusters: [{name: a, weight: 1}]}}}",
        "{clusters: [{name: to-redis, type: STATIC}]}",
    ] {
        assert_eq!(errors(&file(POLICY, action)), [], "{action}");
    }
}

#[test]
fn without_redis_calls_there_is_nothing_to_reach() {
    for policy in [
        "store: local, limits: [{rate: 9/m}]",
        "redis: {native: {service: redis.dns:6379}}, limits: [{rate: 9/m}]",
    ] {
        assert_eq!(
            errors(&file(policy, "{route: {cluster_header: x}}")),
            [],
            "{policy}"
        );
    }
}
