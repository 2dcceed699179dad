//! Tests of the new text: each configuration shows one behaviour. Random ones are in `property`.

use super::*;
use plan::Wish;
use rewrite::rewrite;

#[path = "file_tests.rs"]
mod file;
#[path = "property_tests.rs"]
mod property;
#[path = "random_tests.rs"]
mod random;

pub fn redis(port: u16) -> Redis {
    Redis {
        hosts: vec![("127.0.0.1".to_owned(), port)],
        is_cluster: false,
        tls: None,
        user: None,
        password: None,
    }
}

pub const EDGE: Settings = Settings {
    proxies: 0,
    keeps_paths: false,
    keeps_underscores: false,
};

/// The new text, the exit status and the report.
pub type Tried = (String, u8, Vec<(usize, String)>);

/// What is asked for, with defaults.
pub struct Try<'t> {
    pub policy: &'t str,
    pub port: u16,
    pub settings: Option<Settings>,
    pub listeners: Vec<String>,
}

impl Default for Try<'_> {
    fn default() -> Self {
        Try {
            policy: "limits: [{rate: 100/minute}]",
            port: 6379,
            settings: Some(EDGE),
            listeners: Vec::new(),
        }
    }
}

impl Try<'_> {
    pub fn files(&self, files: &[(&str, &str)]) -> std::result::Result<rewrite::Rewritten, String> {
        let node = document::parse(self.policy).unwrap().remove(0);
        let Ok(Plugin::Filter(policy)) = find::find(self.policy, false).unwrap().found[0].parse() else {
            panic!("{}", self.policy)
        };
        let redis = redis(self.port);
        let wish = Wish {
            policy: &policy,
            written: parts::written(self.policy, &node),
            redis: Some(&redis),
            module: "target/headgate.wasm",
            listeners: &self.listeners,
            settings: self.settings,
            keeps_access_log: false,
        };
        let texts = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        rewrite(texts, wish).map_err(|Failure(message)| message)
    }

    /// The new text, the exit status and the report of one file.
    pub fn result(&self, text: &str) -> std::result::Result<Tried, String> {
        let mut rewritten = self.files(&[("x.yaml", text)])?;
        let one = rewritten.results.remove(0);
        Ok((one.new, rewritten.status, one.lines))
    }

    pub fn text(&self, text: &str) -> String {
        self.result(text)
            .unwrap_or_else(|error| panic!("{error}\n{text}"))
            .0
    }
}

pub fn out(text: &str) -> String {
    unpatch::unpatch(text, &|_| true)
        .unwrap_or_else(|wrong| panic!("{wrong:?}\n{text}"))
        .text
}

pub fn patched(text: &str) -> String {
    Try::default().text(text)
}

pub const TYPE: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// A file with one listener, and these lines in its connection manager.
pub fn manager(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("          {line}\n")).collect();
    format!(
        "static_resources:\n  listeners:\n  - name: front\n    filter_chains:\n    - filters:\n      - name: hcm\n        \
         typed_config:\n          \"@type\": {TYPE}\n{lines}  clusters: []\n"
    )
}

pub const ROUTER: &str = "http_filters:\n- name: envoy.filters.http.router";

fn order(text: &str) -> Vec<String> {
    let node = document::parse(text).unwrap().remove(0);
    let listeners = node.at(&["static_resources", "listeners"]).unwrap().items();
    let manager = |listener: &Node| {
        let filter = &listener.get("filter_chains")?.items()[0].get("filters")?.items()[0];
        let filters = filter.at(&["typed_config", "http_filters"])?.items().to_vec();
        Some(
            filters
                .iter()
                .map(|filter| filter.get("name").unwrap().text().unwrap().to_owned())
                .collect(),
        )
    };
    listeners.iter().find_map(manager).unwrap_or_default()
}

/// The filters of a chain, by their short names.
fn chain(names: &str) -> String {
    let filters: String = names
        .split(' ')
        .map(|name| format!("- name: envoy.filters.http.{name}\n"))
        .collect();
    manager(&format!("http_filters:\n{filters}"))
}

#[test]
fn the_filter_is_before_authentication_and_behind_cors() {
    for (names, index) in [
        ("router", 0),
        ("cors router", 1),
        ("jwt_authn router", 0),
        ("cors jwt_authn router", 1),
        ("jwt_authn cors router", 0),
        ("grpc_web cors health_check lua router", 3),
        ("ext_authz health_check router", 0),
        ("buffer router", 0),
    ] {
        let order = order(&patched(&chain(names)));
        assert_eq!(
            order.iter().position(|name| name == "headgate"),
            Some(index),
            "{names}: {order:?}"
        );
    }
}

#[test]
fn the_filter_is_behind_the_one_whose_metadata_it_reads() {
    let policy = |namespace: &str| {
        format!("identify: [{{name: u, metadata: [{namespace}, sub]}}]\nlimits: [{{rate: 1/s}}]")
    };
    for (names, namespace, index) in [
        (
            "cors jwt_authn ext_authz router",
            "envoy.filters.http.jwt_authn",
            2,
        ),
        (
            "jwt_authn ext_authz lua router",
            "envoy.filters.http.ext_authz",
            2,
        ),
        ("cors jwt_authn router", "other", 1),
    ] {
        let asked = Try {
            policy: &policy(namespace),
            ..Try::default()
        };
        let (text, _, lines) = asked.result(&chain(names)).unwrap();
        assert_eq!(
            order(&text).iter().position(|name| name == "headgate"),
            Some(index),
            "{names}"
        );
        let warned = lines
            .iter()
            .any(|(_, line)| line.contains("which no filter before the router writes"));
        assert_eq!(warned, namespace == "other", "{lines:?}");
    }
    // A filter that writes metadata of a name in its configuration.
    let text = manager(
        "http_filters:\n- name: a\n  typed_config: {metadata_namespace: mine}\n- name: b\n- name: envoy.filters.http.router",
    );
    let asked = Try {
        policy: &policy("mine"),
        ..Try::default()
    };
    assert_eq!(order(&asked.text(&text))[1], "headgate");
}

#[test]
fn every_chain_of_every_listener_is_patched() {
    let hcm = format!("{{name: hcm, typed_config: {{\"@type\": {TYPE}, http_filters: [{{name: envoy.filters.http.router}}]}}}}");
    let text = format!(
        "static_resources:\n  listeners:\n  - name: a\n    filter_chains:\n    - filters: [{hcm}]\n    - filters:\n      - {hcm}\n    \
         default_filter_chain:\n      filters: [{hcm}]\n  - {{name: b, filter_chains: [{{filters: {hcm}}}]}}\n  - name: inner\n    \
         internal_listener: {{}}\n    filter_chains: [{{filters: [{hcm}]}}]\n"
    );
    let filters = |text: &str| text.matches("filters.http.wasm.v3.Wasm").count();
    let (all, _, lines) = Try::default().result(&text).unwrap();
    assert_eq!(filters(&all), 4, "{all}");
    assert!(
        lines.iter().any(|(_, line)| line.contains("--listener inner")),
        "{lines:?}"
    );
    assert_eq!(out(&all), text);
    let one = |name: &str| Try {
        listeners: vec![name.to_owned()],
        ..Try::default()
    };
    assert_eq!(filters(&one("a").text(&text)), 3);
    assert_eq!(filters(&one("inner").text(&text)), 1);
    let error = one("c").result(&text).unwrap_err();
    assert!(
        error.contains("no such listener; there are a, b, inner"),
        "{error}"
    );
    // A run for a second listener does not remove the parts of the first one.
    let both = one("b").text(&one("a").text(&text));
    assert_eq!(both.matches("filters.http.wasm.v3.Wasm").count(), 4);
    assert_eq!(out(&both), text);
}

#[test]
fn settings_are_set_only_when_told() {
    let text = manager(&format!(
        "use_remote_address: false   # old\nxff_num_trusted_hops: 2\n{ROUTER}"
    ));
    let silent = Try {
        settings: None,
        ..Try::default()
    };
    let (same, status, lines) = silent.result(&text).unwrap();
    assert_eq!(status, 0, "the number of hops decides the address: {lines:?}");
    assert!(
        same.contains("use_remote_address: false   # old\n") && !same.contains("normalize_path"),
        "{same}"
    );
    let (bare, status, lines) = silent.result(&manager(ROUTER)).unwrap();
    assert_eq!(status, 3);
    assert!(!bare.contains("use_remote_address"));
    for missing in [
        "missing: use_remote_address",
        "missing: normalize_path",
        "missing: headers_with_underscores_action",
    ] {
        assert!(
            lines.iter().any(|(_, line)| line.contains(missing)),
            "{missing}: {lines:?}"
        );
    }
    let edge = patched(&text);
    assert!(
        edge.contains("use_remote_address: true   # old  # headgate patch: was false (--edge)\n"),
        "{edge}"
    );
    assert!(
        edge.contains("xff_num_trusted_hops: 0  # headgate patch: was 2 (--edge)\n"),
        "{edge}"
    );
    assert!(
        edge.contains("headers_with_underscores_action: REJECT_REQUEST"),
        "{edge}"
    );
    let settings = Settings {
        proxies: 3,
        keeps_paths: true,
        keeps_underscores: true,
    };
    let behind = Try {
        settings: Some(settings),
        ..Try::default()
    }
    .text(&manager(ROUTER));
    assert!(
        behind.contains("use_remote_address: true\n") && behind.contains("xff_num_trusted_hops: 3\n"),
        "{behind}"
    );
    assert!(
        !behind.contains("normalize_path") && !behind.contains("underscores_action"),
        "{behind}"
    );
    for result in [&edge, &behind] {
        let again = silent.result(result).unwrap();
        assert_eq!(
            (&again.0, again.1),
            (result, 0),
            "a second run keeps what the first one was told"
        );
    }
}

#[test]
fn settings_that_are_as_good_stay() {
    let lines = "useRemoteAddress: true\nnormalizePath: true\nmergeSlashes: \"true\"\npath_with_escaped_slashes_action: REJECT_REQUEST\n\
                 common_http_protocol_options:\n  headers_with_underscores_action: DROP_HEADER\n";
    let text = manager(&format!("{lines}{ROUTER}"));
    let result = patched(&text);
    assert!(
        !result.contains("(--edge)") && !result.contains("settings, --edge"),
        "{result}"
    );
    assert_eq!(
        Try {
            settings: None,
            ..Try::default()
        }
        .result(&text)
        .unwrap()
        .1,
        0
    );
    let detected = manager(&format!(
        "original_ip_detection_extensions: [{{name: x}}]\n{ROUTER}"
    ));
    let result = patched(&detected);
    assert!(
        !result.contains("use_remote_address") && result.contains("normalize_path: true"),
        "{result}"
    );
}

#[test]
fn access_logs_get_the_figures_and_lose_them_again() {
    let logger = |format: &str| {
        manager(&format!(
            "access_log:\n- name: x\n  typed_config:\n    \"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog\n    path: /dev/stdout\n{format}\n{ROUTER}"
        ))
    };
    for format in [
        "    log_format: {text_format_source: {inline_string: \"a %START_TIME%\\n\"}}",
        "    log_format:\n      text_format_source:\n        inline_string: \"a %START_TIME%\\n\"   # mine",
        "    log_format:\n      text_format_source:\n        inline_string: |\n          a %START_TIME%",
        "    log_format:\n      text_format_source:\n        inline_string: >-\n          a\n          %START_TIME% ",
        "    log_format:\n      text_format_source:\n        inline_string: 'a''b'",
        "    log_format:\n      text_format_source:\n        inline_string: \"a\n          b\\n\"",
        "    format: a %START_TIME%",
        "    log_format:\n      json_format:\n        a: b",
        "    log_format: {json_format: {a: b}}",
        "    log_format: {}",
        "",
    ] {
        let text = logger(format);
        let result = patched(&text);
        assert!(result.contains("FILTER_STATE(wasm.ratelimit_decision:PLAIN)"), "{result}");
        assert_eq!(out(&result), text);
        assert_eq!(patched(&result), result);
    }
    let json = logger("    format: '{\"a\": \"%START_TIME%\"}'");
    let (result, _, lines) = Try::default().result(&json).unwrap();
    assert!(!result.contains("ratelimit_decision:PLAIN"));
    assert!(
        lines.iter().any(|(_, line)| line.contains("looks like JSON")),
        "{lines:?}"
    );
}

#[test]
fn forms_of_writing_survive() {
    let base = manager(&format!("stat_prefix: x\n{ROUTER}"));
    let value = document::parse(&base).unwrap()[0].value(document::Reader::Envoy);
    for text in [
        base.clone(),
        base.trim_end().to_owned(),
        base.replace('\n', "\r\n"),
        base.trim_end().replace('\n', "\r\n"),
        format!("---\n{base}---\nother: 1\n"),
        format!("# begin\n\n--- # document\n{base}...\n"),
        base.replace("  clusters: []\n", "  clusters:\n"),
        base.replace("  clusters: []\n", "  clusters:"),
        base.replace("  clusters: []\n", "  clusters: [ ]\n"),
        base.replace("  clusters: []\n", ""),
        format!("\u{feff}{base}"),
        format!("admin: {{}}\nstats_config:\n{base}"),
        format!("stats_config: {{}}\nlayered_runtime: {{}}\nbootstrap_extensions: []\n{base}"),
        value.to_string(),
        format!("{value:#}"),
        format!("{value:#}\n"),
    ] {
        let result = patched(&text);
        assert!(result.contains("filters.http.wasm.v3.Wasm"), "{result}");
        assert_eq!(out(&result), text, "{result}");
        assert_eq!(patched(&result), result);
    }
}
