//! Contents of the files: several files, existing parts, names in use, shared lists, files that are not Envoy
//! configuration.

use super::super::unpatch;
use super::{manager, out, patched, Try, ROUTER, TYPE};

#[test]
fn shared_lists_are_edited_once_or_refused() {
    let hcm = |name: &str, filters: &str| {
        format!(
            "  - name: {name}\n    filter_chains:\n    - filters:\n      - name: hcm\n        typed_config:\n          \"@type\": {TYPE}\n          \
             access_log: [{{name: x}}]\n          http_filters: {filters}\n"
        )
    };
    let text = format!(
        "static_resources:\n  listeners:\n{}{}  clusters: []\n",
        hcm("a", "&f\n          - name: envoy.filters.http.router"),
        hcm("b", "*f")
    );
    let result = patched(&text);
    assert_eq!(result.matches("filters.http.wasm.v3.Wasm").count(), 1, "{result}");
    assert_eq!(out(&result), text);
    for (name, line) in [("a", 10), ("b", 19)] {
        let asked = Try {
            listeners: vec![name.to_owned()],
            ..Try::default()
        };
        let error = asked.result(&text).unwrap_err();
        assert!(
            error.contains(&format!("x.yaml:{line}: ")) && error.contains("used elsewhere"),
            "{error}"
        );
    }
    let merged = manager(&format!("<<: {{stat_prefix: x}}\n{ROUTER}"));
    let error = Try::default().result(&merged).unwrap_err();
    assert!(error.starts_with("x.yaml:9: a merge key"), "{error}");
}

#[test]
fn files_that_are_not_envoys_are_refused_by_name() {
    for (text, words) in [
        ("", "the file is empty"),
        ("services: {envoy: {}}", "not a configuration of Envoy"),
        (
            "apiVersion: v1\nkind: ConfigMap\ndata: {}",
            "a Kubernetes ConfigMap",
        ),
        (
            "static_resources: {listeners: []}",
            "nothing to put Headgate into",
        ),
        ("a: [1\nb", "not YAML"),
        ("resources: []", "nothing to put Headgate into"),
    ] {
        let error = Try::default().result(text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
    let old = manager(ROUTER).replace(
        TYPE,
        "type.googleapis.com/envoy.config.filter.network.http_connection_manager.v2.HttpConnectionManager",
    );
    let error = Try::default().result(&old).unwrap_err();
    assert!(error.contains("API v2"), "{error}");
}

#[test]
fn a_cluster_of_the_users_own_is_left_alone() {
    let text = manager(ROUTER).replace("clusters: []", "clusters:\n  - name: redis\n    type: STATIC");
    let result = patched(&text);
    assert!(
        result.contains("catch_all_route: {cluster: headgate_redis}"),
        "{result}"
    );
    assert_eq!(out(&result), text);
    for (name, words) in [
        ("redis_call", "the cluster redis_call is not Headgate's"),
        ("headgate_redis", "rename it"),
    ] {
        let text = manager(ROUTER).replace("clusters: []", &format!("clusters: [{{name: {name}}}]"));
        let error = Try::default().result(&text).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let listener = manager(ROUTER).replace("name: front", "name: redis_call");
    assert!(patched(&listener).contains("\"server_listener_name\": \"headgate_redis_call\""));
}

#[test]
fn parts_written_by_hand_are_recognised_and_left() {
    for file in [
        "envoy.yaml",
        "single-redis.yaml",
        "tls-auth.yaml",
        "cors.yaml",
        "two-stage.yaml",
        "local.yaml",
    ] {
        let path = format!("{}/../../envoy/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let (same, status, lines) = Try {
            settings: None,
            ..Try::default()
        }
        .result(&text)
        .unwrap();
        assert!(same == text && status == 0, "{file}: {lines:?}");
        assert!(
            lines.iter().any(|(_, line)| line.contains("written by hand")),
            "{file}: {lines:?}"
        );
        assert_eq!(out(&text), text, "{file}");
    }
    let path = format!("{}/../../envoy/envoy.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path)
        .unwrap()
        .replace("use_remote_address: true", "use_remote_address: false");
    let begin = text.find("bootstrap_extensions:").unwrap();
    let end = text.find("# Bounds of memory").unwrap();
    let less = format!("{}{}", &text[..begin], &text[end..]);
    let (result, _, lines) = Try::default().result(&less).unwrap();
    assert_eq!(
        result.matches("bootstrap_extensions").count(),
        1,
        "what is missing is added"
    );
    assert!(
        result.contains("use_remote_address: true  # headgate patch: was false (--edge)"),
        "{lines:?}"
    );
    assert_eq!(out(&result), less);
}

#[test]
fn several_files_get_what_belongs_to_them() {
    let listener = format!(
        "resources:\n- \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n  name: a\n  filter_chains:\n  - filters:\n    - name: hcm\n      \
         typed_config:\n        \"@type\": {TYPE}\n        http_filters:\n        - name: envoy.filters.http.router\n"
    );
    let clusters =
        "resources:\n- \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: up\n";
    let bootstrap =
        "dynamic_resources:\n  lds_config: {path_config_source: {path: /etc/lds.yaml}}\nadmin: {}\n";
    let asked = Try::default();
    let files = [
        ("lds.yaml", listener.as_str()),
        ("cds.yaml", clusters),
        ("envoy.yaml", bootstrap),
    ];
    let rewritten = asked.files(&files).unwrap();
    let new: Vec<&str> = rewritten
        .results
        .iter()
        .map(|result| result.new.as_str())
        .collect();
    assert!(
        new[0].contains("name: redis_call") && new[0].contains("filters.http.wasm"),
        "{}",
        new[0]
    );
    assert!(
        new[1].contains("name: headgate_redis")
            && new[1].contains(
                "\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: redis_call"
            ),
        "{}",
        new[1]
    );
    assert!(
        new[2].contains("bootstrap_extensions")
            && new[2].contains("stats_tags")
            && !new[2].contains("clusters:"),
        "{}",
        new[2]
    );
    for ((_, old), result) in files.iter().zip(&rewritten.results) {
        assert_eq!(&out(&result.new), old);
        assert!(
            !result.lines.iter().any(|(_, line)| line.contains("still needed")),
            "{:?}",
            result.lines
        );
    }
    let alone = |name: &str, text: &str| asked.files(&[(name, text)]).unwrap().results.remove(0);
    let lds = alone("lds.yaml", &listener);
    assert_eq!(lds.new, new[0]);
    assert_eq!(
        lds.lines
            .iter()
            .filter(|(_, line)| line.starts_with("still needed"))
            .count(),
        2,
        "{:?}",
        lds.lines
    );
    assert_eq!(alone("cds.yaml", clusters).new, new[1]);
    let boot = alone("envoy.yaml", bootstrap);
    assert!(boot.new.contains("name: headgate_redis"), "{}", boot.new);
    assert!(
        boot.lines.iter().any(|(_, line)| line.contains("/etc/lds.yaml")),
        "{:?}",
        boot.lines
    );
}

#[test]
fn broken_comments_are_reported_with_their_line() {
    let text = patched(&manager(ROUTER));
    let line = text
        .lines()
        .position(|line| line.trim() == "# headgate patch: end")
        .unwrap()
        + 1;
    let cut = text.replacen("# headgate patch: end\n", "", 1);
    let wrong = unpatch::unpatch(&cut, &|_| true).err().unwrap();
    assert!(wrong.0 == 1 && wrong.1.contains("without its end"), "{wrong:?}");
    let begin = text.lines().next().unwrap();
    let cut = text.replacen(&format!("{begin}\n"), "", 1);
    let wrong = unpatch::unpatch(&cut, &|_| true).err().unwrap();
    assert!(
        wrong.0 == line - 1 && wrong.1.contains("without its begin"),
        "{wrong:?}"
    );
}

#[test]
fn another_policy_and_redis_replace_the_parts() {
    let text = manager(ROUTER);
    let other = Try {
        policy: "redis: {key_prefix: other}\nlimits: [{rate: 7/s}]",
        port: 7777,
        ..Try::default()
    };
    assert_eq!(other.text(&patched(&text)), other.text(&text));
    let local = Try {
        policy: "store: local\nlimits: [{rate: 7/s}]",
        ..Try::default()
    };
    let result = local.text(&patched(&text));
    assert_eq!(result, local.text(&text));
    assert!(
        !result.contains("redis_call") && !result.contains("internal_listener"),
        "{result}"
    );
}

#[test]
fn a_route_by_header_ends_with_status_3() {
    let routes = "route_config: {virtual_hosts: [{routes: [{route: {cluster_header: x}}]}]}";
    let (_, status, lines) = Try::default()
        .result(&manager(&format!("{routes}\n{ROUTER}")))
        .unwrap();
    assert_eq!(status, 3, "callers would reach Redis: {lines:?}");
    assert!(
        lines
            .iter()
            .any(|(_, line)| line.contains("a header names the cluster")),
        "{lines:?}"
    );
}
