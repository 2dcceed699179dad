//! `check` on parts of an Envoy, on several files, and on files without Headgate: it reports nothing about parts that are elsewhere.

use super::*;

/// Lines that are two spaces less indented.
fn dedented(text: &str) -> String {
    text.lines()
        .map(|line| format!("{}\n", line.get(2..).unwrap_or_default()))
        .collect()
}

/// A list of resources as files for LDS and CDS have it.
fn resources(list: &str, kind: &str) -> String {
    let typed = format!("- \"@type\": type.googleapis.com/envoy.config.{kind}\n  name: ");
    let first = list.replacen("- name: ", &typed, 1);
    let rest = first.replace("\n- name: ", &format!("\n{typed}"));
    format!("resources:\n{rest}")
}

fn strict(files: &[(&str, &str)]) -> (String, Option<i32>) {
    let folder = std::env::temp_dir().join(format!("headgate-check-{}-{}", std::process::id(), files[0].0));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    command.current_dir(&folder).args(["check", "--strict"]);
    for (name, text) in files {
        std::fs::write(folder.join(name), text).expect("a file");
        command.arg(name);
    }
    let output = run(&mut command, "");
    std::fs::remove_dir_all(&folder).expect("the folder's end");
    (stdout(&output) + &stderr(&output), output.status.code())
}

#[test]
fn parts_in_files_of_their_own_are_not_missed() {
    let shipped = shipped("single-redis");
    let (_, rest) = shipped.split_once("\n  listeners:\n").expect("listeners");
    let (listeners, clusters) = rest.split_once("\n  clusters:\n").expect("clusters");
    let [listeners, clusters] = [listeners, clusters].map(dedented);
    let lds = resources(&listeners, "listener.v3.Listener");
    let cds = resources(&clusters, "cluster.v3.Cluster");
    let bootstrap = "node: {id: a, cluster: a}\ndynamic_resources: {lds_config: {path_config_source: {path: lds.yaml}}, cds_config: {path_config_source: {path: cds.yaml}}}\nstatic_resources: {}\n";
    for (name, text) in [
        ("lds.yaml", lds.as_str()),
        ("both.yaml", &format!("{lds}---\n{cds}")),
    ] {
        let (shown, status) = strict(&[(name, text)]);
        assert!(
            status == Some(0) && shown.contains("good: redis_call for ratelimit:; instance main"),
            "{shown}"
        );
    }
    let (shown, status) = strict(&[
        ("bootstrap.yaml", bootstrap),
        ("lds.yaml", &lds),
        ("cds.yaml", &cds),
    ]);
    assert_eq!(status, Some(0), "{shown}");
    for passed_over in [
        "bootstrap.yaml:1:1: note: passed over",
        "cds.yaml:1:1: note: passed over",
    ] {
        assert!(shown.contains(passed_over), "{shown}");
    }
    // What is there is checked all the same.
    let wrong = lds.replace(
        "catch_all_route: {cluster: redis}",
        "catch_all_route: {cluster: redis_call}",
    );
    assert_ne!(wrong, lds);
    let (shown, status) = strict(&[("both.yaml", &format!("{wrong}---\n{cds}"))]);
    assert!(
        status == Some(1) && shown.contains("leads back into this Envoy"),
        "{shown}"
    );
}

#[test]
fn what_comes_by_discovery_is_not_missed() {
    let shipped = shipped("single-redis");
    let cut = |from: &str, until: &str, text: &str| {
        let start = text.find(from).expect("the begin");
        let end = start + text[start..].find(until).expect("the end");
        [&text[..start], &text[end..]].concat()
    };
    let dynamic = |what: &str, text: &str| format!("dynamic_resources: {{{what}: {{ads: {{}}}}}}\n{text}");
    let no_guard = cut(
        "  - name: redis_call\n    internal_listener",
        "  - name: http\n",
        &shipped,
    );
    let no_cluster = cut(
        "  - name: redis_call\n    type: STATIC",
        "  # One name or address",
        &shipped,
    );
    let no_redis = shipped.replace("  - name: redis\n", "  - name: other\n");
    for (text, source, piece) in [
        (&no_guard, "lds_config", "which this file does not have"),
        (&no_cluster, "cds_config", "no such cluster in this file"),
        (
            &no_redis,
            "cds_config",
            "redis_proxy sends commands to the cluster \"redis\"",
        ),
    ] {
        assert_ne!(text, &shipped);
        let (shown, status) = strict(&[("envoy.yaml", text)]);
        assert!(status == Some(1) && shown.contains(piece), "{shown}");
        let (shown, status) = strict(&[("envoy.yaml", &dynamic(source, text))]);
        assert_eq!(status, Some(0), "{source}: {shown}");
    }
}

#[test]
fn another_redis_proxy_is_left_alone() {
    let shipped = shipped("single-redis");
    let other = "  - name: cache\n    address: {socket_address: {address: 127.0.0.1, port_value: 6380}}\n    filter_chains:\n    - filters:\n      - name: envoy.filters.network.redis_proxy\n        typed_config:\n          \"@type\": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy\n          stat_prefix: cache\n          settings: {op_timeout: 1s}\n          downstream_auth_passwords: [{inline_string: x}]\n          prefix_routes: {catch_all_route: {cluster: upstream}}\n";
    let text = shipped.replacen("  - name: http\n", &format!("{other}  - name: http\n"), 1);
    assert_ne!(text, shipped);
    let (list, status) = findings(&text);
    assert_eq!((list.len(), status), (0, 0), "{list:?}");
}

#[test]
fn files_without_headgate_are_passed_over_and_named() {
    let policy = "limits: [{name: a, rate: 5/s}, {name: ceiling, rate: 9/s, key: [address]}]";
    let compose = "services: {web: {image: nginx, deploy: {resources: {limits: {cpus: '1'}}}}}";
    let (shown, status) = strict(&[
        ("policy.yaml", policy),
        ("compose.yaml", compose),
        ("notes.txt", "a: b: c"),
    ]);
    assert_eq!(status, Some(0), "{shown}");
    assert_eq!(shown.matches("note: passed over").count(), 2, "{shown}");
    for (files, piece) in [
        (&[("compose.yaml", compose)][..], "services: unknown field"),
        (
            &[("compose.yaml", compose), ("other.yaml", "x: 1")],
            "no Headgate configuration found in any of these files",
        ),
        (
            &[("envoy.yaml", "static_resources: {}")],
            "no Headgate configuration found: no wasm filter",
        ),
        (
            &[("policy.yaml", policy), ("other.yaml", "limits: 5")],
            "limits: 5: wrong type",
        ),
        (
            &[("policy.yaml", policy), ("broken.yaml", "limits:\n\t- a")],
            "not YAML",
        ),
    ] {
        let (shown, status) = strict(files);
        assert!(status == Some(1) && shown.contains(piece), "{shown}");
        assert!(
            !shown
                .lines()
                .any(|line| line.starts_with(&format!("{}: good", files[files.len() - 1].0))),
            "{shown}"
        );
    }
}

#[test]
fn good_is_said_of_files_without_any_finding_alone() {
    let (shown, _) = strict(&[("policy.yaml", "limits: [{name: a, rate: 5/s}]")]);
    assert!(
        shown.contains("policy.yaml: valid, with 1 warning: instance main with 1 limit"),
        "{shown}"
    );
    assert!(!shown.contains("good"), "{shown}");
}

#[test]
fn a_filter_in_a_typed_struct_is_found() {
    let shipped = shipped("single-redis");
    let kind =
        "\"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n              config:\n";
    let wrapped = "\"@type\": type.googleapis.com/udpa.type.v1.TypedStruct\n              type_url: type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n              value:\n               config:\n";
    let text = shipped
        .replacen(kind, wrapped, 1)
        .replace("rate: 100/minute", "rate: 100/fortnight");
    assert_ne!(text, shipped);
    let errors = errors(&text);
    assert!(errors.len() == 1 && errors[0].1 == "limits[0].rate", "{errors:?}");
}

#[test]
fn claims_in_istios_authentication_phase_are_an_error() {
    let plugin = |phase: &str| {
        format!("{{apiVersion: extensions.istio.io/v1alpha1, kind: WasmPlugin, metadata: {{name: headgate}}, spec: {{{phase}vmConfig: {{env: [{{name: HEADGATE_HASH_KEY, valueFrom: HOST}}]}}, pluginConfig: {{identify: [{{name: user, metadata: [envoy.filters.http.jwt_authn, payload, sub]}}], limits: [{{name: a, rate: 5/s}}]}}}}}}")
    };
    let found = errors(&plugin("phase: AUTHN, "));
    assert!(
        found.len() == 1 && found[0].2.contains("write phase: AUTHZ"),
        "{found:?}"
    );
    for phase in ["phase: AUTHZ, ", "phase: STATS, ", ""] {
        assert_eq!(errors(&plugin(phase)), [], "{phase}");
    }
}
