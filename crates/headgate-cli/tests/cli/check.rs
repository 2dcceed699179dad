use super::*;
use serde_json::json;

/// The configurations of the unit test, each with the path of its one error.
fn broken() -> Vec<(Value, &'static str)> {
    let lines: Vec<&str> = include_str!("../../../headgate-core/src/config/tests/broken.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let case = |pair: &[&'static str]| {
        let value = serde_yaml_ng::from_str(pair[0]).expect("YAML");
        let (path, _) = pair[1].trim().split_once(" => ").expect("a path");
        (value, if path == "configuration" { "" } else { path })
    };
    lines.chunks(2).map(case).collect()
}

/// The shipped envoy.yaml with another configuration in it, and the line on which that begins.
fn with_policy(policy: &Value) -> (String, usize) {
    let shipped = shipped("envoy");
    let lines: Vec<&str> = shipped.lines().collect();
    let start = lines
        .iter()
        .position(|line| line.trim() == "value:")
        .expect("the policy");
    let end = lines
        .iter()
        .position(|line| line.trim() == "vm_config:")
        .expect("what follows it");
    // Which leaves `no` without quotes: a text for itself, false for Envoy.
    let yaml = serde_yaml_ng::to_string(policy)
        .expect("YAML")
        .replace(": no\n", ": 'no'\n");
    let indented: Vec<String> = yaml
        .lines()
        .map(|line| format!("{}{line}", " ".repeat(20)))
        .collect();
    let text = [
        lines[..=start].join("\n"),
        indented.join("\n"),
        lines[end..].join("\n"),
    ]
    .join("\n");
    (text, start + 2)
}

/// Whether a line of block YAML contains the last step of a path.
fn fits(line: &str, path: &str) -> bool {
    let line = line.trim_start();
    let last = path.rsplit(['.', '[']).next().unwrap_or_default();
    let name = last.trim_end_matches(']').trim_matches('"');
    match path.ends_with(']') && !path.ends_with("\"]") {
        true => line.starts_with("- "),
        false => {
            let line = line.trim_start_matches("- ").trim_start_matches(['\'', '"']);
            line.starts_with(name)
        }
    }
}

#[test]
fn each_mistake_in_an_envoy_yaml_is_reported_at_path_and_line() {
    let mut objects = 0;
    for (policy, path) in broken().into_iter().filter(|(policy, _)| policy.is_object()) {
        let (text, first) = with_policy(&policy);
        let errors = errors(&text);
        let [(line, at, message)] = errors.as_slice() else {
            panic!("{policy}\nat {path}: {errors:?}")
        };
        assert_eq!(at, path, "{policy}\n{message}");
        let shown = text.lines().nth(*line as usize - 1).expect("a line of the file");
        let fits = match message.starts_with("missing: ") {
            true => *line as usize == first,
            false => *line as usize >= first && fits(shown, path) || path.is_empty(),
        };
        assert!(fits, "{policy}\n{path}: line {line}: {shown}");
        objects += 1;
    }
    assert!(objects > 200, "{objects}");
}

#[test]
fn an_error_shows_file_line_path_value_and_remedy() {
    let output = headgate(
        &["check", "-"],
        "identify:\n- address: {}\nlimits:\n- name: a\n  rate: 100/fortnight\n",
    );
    assert_eq!(output.status.code(), Some(1));
    let expected = "-:5:3: error: limits[0].rate: \"100/fortnight\": unknown period \"fortnight\"; use s, m, h or d\n1 error, 0 warnings\n";
    assert_eq!(stdout(&output), expected);
}

/// Every YAML file in a folder and below.
fn yaml_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("a file").path());
    let mut files = Vec::new();
    for path in entries {
        match path.is_dir() {
            true => files.extend(yaml_files(&path)),
            false if path.extension().is_some_and(|extension| extension == "yaml") => files.push(path),
            false => {}
        }
    }
    files
}

#[test]
fn every_shipped_file_is_good_even_strictly() {
    let files = yaml_files(concat!(env!("CARGO_MANIFEST_DIR"), "/../../envoy").as_ref());
    let ours = |path: &&std::path::PathBuf| {
        let text = std::fs::read_to_string(path).expect("a file");
        ["rate: ", "role: redis_call"]
            .iter()
            .any(|word| text.contains(word))
    };
    let ours: Vec<_> = files.iter().filter(ours).collect();
    assert!(ours.len() >= 3, "{files:?}");
    for path in ours {
        // Behind a sidecar's listener an address is a claim as well: no ceiling by it would hold.
        let how: &[&str] = match path.ends_with("istio/sidecar.yaml") {
            true => &["check"],
            false => &["check", "--strict"],
        };
        let shown = good(&[how, &[&path.to_string_lossy()]].concat(), "");
        assert!(shown.contains("good: "), "{}: {shown}", path.display());
    }
}

#[test]
fn a_warning_fails_only_with_the_flag() {
    let policy = "limits: [{name: a, rate: 5/s}]";
    let shown = good(&["check", "-"], policy);
    assert!(
        shown.contains("warning: limits: no ceiling by address"),
        "{shown}"
    );
    assert_eq!(
        headgate(&["check", "--strict", "-"], policy).status.code(),
        Some(1)
    );
}

#[test]
fn a_written_identify_without_tokens_is_a_warning() {
    let shipped = shipped("envoy");
    let token = "- {name: token, header: authorization";
    let kept = shipped.lines().filter(|line| !line.trim().starts_with(token));
    let text = kept.map(|line| format!("{line}\n")).collect::<String>();
    let (list, status) = findings(&text);
    let [warning] = list.as_slice() else {
        panic!("{list:?}")
    };
    assert_eq!((status, &warning["severity"]), (0, &"warning".into()));
    assert_eq!(warning["path"], "identify");
    let message = warning["message"].as_str().expect("text");
    assert!(message.contains("Authorization: Bearer"), "{message}");
}

#[test]
fn an_access_log_field_that_no_instance_writes_is_a_warning() {
    let shipped = shipped("envoy");
    let with = |line: &str| {
        let field = "on_ambiguous_client: deny";
        let indent = " ".repeat(20);
        shipped.replacen(field, &format!("{line}\n{indent}{field}"), 1)
    };
    let (list, status) = findings(&with("filter_state: [ratelimit_client, ratelimit_limit]"));
    let [warning] = list.as_slice() else {
        panic!("{list:?}")
    };
    assert_eq!((status, &warning["severity"]), (0, &"warning".into()));
    assert_eq!(warning["path"], "filter_state");
    let message = warning["message"].as_str().expect("text");
    let names = "prints ratelimit_by, ratelimit_name, ratelimit_retry_after, ratelimit_shadow, ratelimit_redis_us, which";
    assert!(message.contains(names), "{message}");
    assert_eq!(findings(&with("filter_state: all")).0.len(), 0);
}

#[test]
fn the_two_roles_and_the_envoy_around_them_must_fit() {
    let shipped = shipped("envoy");
    for (what, with, piece, on) in [
        (
            "key_prefix: ratelimit",
            "key_prefix: other",
            "counts under \"ratelimit\"",
            "key_prefix: other",
        ),
        (
            "vm_id: headgate-redis-call",
            "vm_id: headgate",
            "two VMs, or every request hangs",
            "role: redis_call",
        ),
        (
            "  - name: redis_call\n    type: STATIC",
            "  - name: elsewhere\n    type: STATIC",
            "no such cluster",
            "identify:",
        ),
        (
            "lb_policy: CLUSTER_PROVIDED",
            "lb_policy: ROUND_ROBIN",
            "come back as MOVED",
            "- name: redis",
        ),
        (
            "enable_hashtagging: true",
            "enable_hashtagging: false",
            "lie on several nodes",
            "op_timeout",
        ),
    ] {
        let text = shipped.replacen(what, with, 1);
        assert_ne!(text, shipped, "{what}");
        let errors = errors(&text);
        let [(line, _, message)] = errors.as_slice() else {
            panic!("{what}: {errors:?}")
        };
        assert!(message.contains(piece), "{what}: {message}");
        let shown = text.lines().nth(*line as usize - 1).expect("a line of the file");
        assert!(shown.contains(on), "{what}: line {line}: {shown}");
    }
    let text = shipped.replacen(
        "environment_variables: {host_env_keys: [HEADGATE_HASH_KEY]}",
        "{}",
        1,
    );
    let text = text.replacen("                  {}", "", 1);
    let (list, status) = findings(&text);
    assert_eq!((list.len(), status), (1, 0), "{list:?}");
    assert!(list[0]["message"]
        .as_str()
        .expect("text")
        .contains("HEADGATE_HASH_KEY is not passed on"));
}

#[test]
fn a_configuration_for_the_other_role_is_an_error() {
    let shipped = shipped("envoy");
    let guard = "value: {role: redis_call, redis: {key_prefix: ratelimit}}";
    assert!(shipped.contains(guard));
    let network = |value: &str| shipped.replacen(guard, &format!("value: {value}"), 1);
    for sound in ["{redis: {key_prefix: ratelimit}}", "{role: redis_call}"] {
        assert!(errors(&network(sound)).is_empty(), "{sound} is the guard's");
    }
    let (http, first) = with_policy(&json!({"redis": {"key_prefix": "ratelimit"}}));
    let (written, second) = with_policy(&json!({"role": "redis_call"}));
    let line = 1 + shipped
        .lines()
        .position(|line| line.contains(guard))
        .expect("the guard");
    for (text, line, path, piece) in [
        (
            network("{limits: [{rate: 5/s}]}"),
            line,
            "limits",
            "would close every connection",
        ),
        (
            network("{role: filter, limits: [{rate: 5/s}]}"),
            line,
            "limits",
            "write role: redis_call",
        ),
        (
            http,
            first,
            "role",
            "would answer every request with 503; write limits",
        ),
        (
            written,
            second,
            "role",
            "would answer every request with 503; write limits",
        ),
    ] {
        let errors = errors(&text);
        let [(at, found, message)] = errors.as_slice() else {
            panic!("{errors:?}")
        };
        assert_eq!((*at as usize, found.as_str()), (line, path), "{message}");
        assert!(message.contains(piece), "{message}");
    }
}

#[test]
fn a_route_that_leads_callers_to_redis_is_an_error() {
    let shipped = shipped("envoy");
    let route = "route: {cluster: upstream}";
    for (with, what) in [
        (
            "route: {cluster: redis_call}",
            "\"redis_call\" is Headgate's way to Redis",
        ),
        ("route: {cluster_header: x-cluster}", "a header names the cluster"),
        (
            "route: {cluster: upstream, request_mirror_policies: [{cluster: redis_call}]}",
            "\"redis_call\" is Headgate's way to Redis",
        ),
    ] {
        let text = shipped.replacen(route, with, 1);
        assert_ne!(text, shipped, "{with}");
        let errors = errors(&text);
        let [(line, _, message)] = errors.as_slice() else {
            panic!("{with}: {errors:?}")
        };
        assert!(message.starts_with(what), "{with}: {message}");
        let shown = text.lines().nth(*line as usize - 1).expect("a line of the file");
        assert!(shown.contains(with), "{with}: line {line}: {shown}");
    }
}

#[test]
fn two_instances_of_one_chain_need_two_names() {
    let one = "- typed_config:\n    '@type': x.filters.http.wasm.v3.Wasm\n    config: {name: headgate, configuration: {'@type': y.Struct, value: {INSTANCE limits: [{rate: 5/s}]}}}\n";
    let both = |a: &str, b: &str| {
        format!(
            "http_filters:\n{}{}",
            one.replace("INSTANCE", a),
            one.replace("INSTANCE", b)
        )
    };
    assert!(errors(&both("instance: edge,", "instance: user,")).is_empty());
    let same = errors(&both("instance: edge,", "instance: edge,"));
    assert_eq!(same.len(), 1, "{same:?}");
    assert_eq!((same[0].0, same[0].1.as_str()), (7, "instance"), "{same:?}");
}

/// The findings of `check` about the shipped envoy.yaml with this in place of `use_remote_address: true`, and the exit
/// status.
fn with_addresses(fields: &str) -> (Vec<Value>, i32) {
    let shipped = shipped("envoy");
    let text = shipped.replacen("use_remote_address: true", fields, 1);
    assert_ne!(text, shipped);
    findings(&text)
}

#[test]
fn an_address_that_callers_choose_is_an_error_at_its_manager() {
    let (list, status) = with_addresses("use_remote_address: false");
    let [error] = list.as_slice() else {
        panic!("{list:?}")
    };
    assert_eq!((status, &error["severity"]), (1, &"error".into()));
    let at = "static_resources.listeners[1].filter_chains[0].filters[0].typed_config";
    assert_eq!(error["at"], at);
    let line = error["line"].as_u64().expect("a line") as usize;
    let shipped = shipped("envoy");
    let shown = shipped.lines().nth(line - 1).expect("a line of the file");
    assert!(shown.ends_with("HttpConnectionManager"), "line {line}: {shown}");
}

#[test]
fn trusted_hops_alone_are_a_warning() {
    let (list, status) = with_addresses("xff_num_trusted_hops: 2");
    let [warning] = list.as_slice() else {
        panic!("{list:?}")
    };
    assert_eq!((status, &warning["severity"]), (0, &"warning".into()));
    let message = warning["message"].as_str().expect("text");
    assert!(message.contains("3 proxies of your own"), "{message}");
    let (none, status) = with_addresses("original_ip_detection_extensions: [{name: custom}]");
    assert_eq!((none.len(), status), (0, 0), "{none:?}");
}

#[test]
fn a_unix_socket_is_a_warning() {
    let shipped = shipped("envoy");
    let tcp = "{socket_address: {address: 127.0.0.1, port_value: 10000}}";
    let text = shipped.replacen(tcp, "{pipe: {path: /run/envoy.sock}}", 1);
    assert_ne!(text, shipped);
    let (list, status) = findings(&text);
    let [warning] = list.as_slice() else {
        panic!("{list:?}")
    };
    assert_eq!((status, &warning["severity"]), (0, &"warning".into()));
    assert_eq!(warning["at"], "static_resources.listeners[1]");
}

#[test]
fn a_file_that_cannot_be_read_is_another_exit_status() {
    let output = headgate(&["check", "/nowhere.yaml"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("headgate: /nowhere.yaml: "));
}

#[test]
fn a_file_without_headgate_is_an_error() {
    let errors = errors("static_resources: {listeners: []}");
    assert!(
        errors[0].2.contains("no Headgate configuration found"),
        "{errors:?}"
    );
}
