//! The parts are compared with the configurations that are shipped.

use super::*;
use crate::document::{self, Node, Reader};
use crate::redis_options::{Password, Redis, Tls};
use serde_json::Value;

fn shipped(file: &str) -> Node {
    let path = format!("{}/../../envoy/{file}", env!("CARGO_MANIFEST_DIR"));
    document::parse(&std::fs::read_to_string(path).unwrap())
        .unwrap()
        .remove(0)
}

fn at(node: &Node, keys: &[&str]) -> Node {
    keys.iter()
        .fold(node.clone(), |node, key| match key.parse::<usize>() {
            Ok(index) => node.items()[index].clone(),
            Err(_) => node.get(key).unwrap_or_else(|| panic!("{key}")).clone(),
        })
}

fn value(node: &Node, keys: &[&str]) -> Value {
    at(node, keys).value(Reader::Envoy)
}

fn named(node: &Node, list: &str, name: &str) -> Value {
    let list = at(node, &["static_resources", list]);
    let found = list
        .items()
        .iter()
        .find(|item| item.get("name").and_then(Node::text) == Some(name));
    found.unwrap_or_else(|| panic!("{name}")).value(Reader::Envoy)
}

const MANAGER: [&str; 8] = [
    "static_resources",
    "listeners",
    "1",
    "filter_chains",
    "0",
    "filters",
    "0",
    "typed_config",
];

fn redis(hosts: &[(&str, u16)], is_cluster: bool) -> Redis {
    Redis {
        hosts: hosts
            .iter()
            .map(|(host, port)| ((*host).to_owned(), *port))
            .collect(),
        is_cluster,
        tls: None,
        user: None,
        password: None,
    }
}

const NODES: [(&str, u16); 3] = [("127.0.0.1", 7001), ("127.0.0.1", 7002), ("127.0.0.1", 7003)];

#[test]
fn every_part_is_that_of_the_shipped_file() {
    let file = shipped("envoy.yaml");
    let names = Names::default();
    let code = module_file("target/headgate.wasm");
    let filter = at(&file, &[&MANAGER[..], &["http_filters", "0"]].concat());
    let policy = at(&filter, &["typed_config", "config", "configuration", "value"]);
    let policy = Part::Written {
        lines: Vec::new(),
        node: policy,
    };
    assert_eq!(
        http_filter(policy, code.clone()).value(),
        filter.value(Reader::Envoy)
    );
    assert_eq!(
        guard_listener(&names, "ratelimit", code).value(),
        named(&file, "listeners", "redis_call")
    );
    assert_eq!(
        redis_call_cluster(&names).value(),
        named(&file, "clusters", "redis_call")
    );
    assert_eq!(
        internal_listeners().value(),
        value(&file, &["bootstrap_extensions", "0"])
    );
    let tags: Value = STATS_LABELS
        .iter()
        .map(|label| stats_tag(label).value())
        .collect();
    assert_eq!(tags, value(&file, &["stats_config", "stats_tags"]));
    let buckets = value(&file, &["stats_config", "histogram_bucket_settings", "0"]);
    assert_eq!(histogram_buckets().value(), buckets);
    assert_eq!(
        runtime_layer().value(),
        value(&file, &["layered_runtime", "layers", "0"])
    );
    let RuntimeKey(key) = RuntimeKey::of(&runtime_layer().value());
    assert_eq!(key, RUNTIME_KEY);
    let logger = value(&file, &[&MANAGER[..], &["access_log", "0"]].concat());
    assert_eq!(access_logger().value(), logger);
}

struct RuntimeKey(String);

impl RuntimeKey {
    fn of(layer: &Value) -> RuntimeKey {
        RuntimeKey(
            layer["static_layer"]
                .as_object()
                .unwrap()
                .keys()
                .next()
                .unwrap()
                .clone(),
        )
    }
}

#[test]
fn the_figures_in_text_are_those_of_the_shipped_format() {
    let format = at(
        &shipped("access-log.yaml"),
        &["text", "text_format_source", "inline_string"],
    );
    let shipped = format.text().unwrap().trim_end().to_owned();
    assert!(shipped.ends_with(&log_figures()), "{shipped}\n{}", log_figures());
}

#[test]
fn the_cluster_of_redis_is_that_of_the_shipped_files() {
    let names = Names::default();
    let one = redis_cluster(&names, &redis(&[("127.0.0.1", 6379)], false));
    assert_eq!(
        one.value(),
        named(&shipped("single-redis.yaml"), "clusters", "redis")
    );
    let cluster = redis(&NODES, true);
    assert_eq!(
        redis_cluster(&names, &cluster).value(),
        named(&shipped("envoy.yaml"), "clusters", "redis")
    );
    let secured = Redis {
        tls: Some(Tls {
            ca: ".run/tls/ca.pem".to_owned(),
            names: vec!["redis.internal".to_owned()],
        }),
        user: Some("headgate".to_owned()),
        password: Some(Password::Env("HEADGATE_REDIS_PASSWORD".to_owned())),
        ..cluster
    };
    assert_eq!(
        redis_cluster(&names, &secured).value(),
        named(&shipped("tls-auth.yaml"), "clusters", "redis")
    );
}

#[test]
fn a_certificate_by_address_and_a_password_in_a_file() {
    let secured = Redis {
        tls: Some(Tls {
            ca: "ca.pem".to_owned(),
            names: vec!["10.0.0.1".to_owned(), "::1".to_owned()],
        }),
        password: Some(Password::File("/run/secrets/redis".to_owned())),
        ..redis(&[("10.0.0.1", 6379), ("::1", 6379)], true)
    };
    let text = redis_cluster(&Names::default(), &secured).block(Style::default(), 0);
    for line in [
        "{san_type: IP_ADDRESS, matcher: {exact: 10.0.0.1}}",
        "{san_type: IP_ADDRESS, matcher: {exact: \"::1\"}}",
        "auth_password: {filename: /run/secrets/redis}",
        "{address: \"::1\", port_value: 6379}",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(
        !text.contains("sni:") && !text.contains("auth_username"),
        "{text}"
    );
}

#[test]
fn a_written_policy_keeps_its_comments() {
    let text = "# mine\n---\n# two\nlimits:   # here\n\n- rate: 5/minute\n  name: \"a\\\n    b\"\n...\n";
    let node = document::parse(text).unwrap().remove(0);
    let part = written(text, &node);
    assert_eq!(
        part.block(Style::default(), 2),
        "  # two\n  limits:   # here\n\n  - rate: 5/minute\n    name: \"a\\\n      b\"\n"
    );
    assert_eq!(part.value(), node.value(Reader::Envoy));
}

#[test]
fn a_policy_that_cannot_be_moved_is_written_anew() {
    for text in [
        "x: &a {rate: 1/s}\nlimits: [*a]\n",
        "{limits: [{rate: 1/s,\n  name: b}]}",
        "limits: []\nbody: |+\n  x\n\n\n",
        "--- {limits: [on, \"on\", 1.5, 5000000000, ~]}",
    ] {
        let node = document::parse(text).unwrap().remove(0);
        let part = written(text, &node);
        let block = part.block(Style::default(), 4);
        let again = document::parse(&block).unwrap().remove(0);
        assert_eq!(again.value(Reader::Envoy), node.value(Reader::Envoy), "{block}");
        assert!(!block.contains('&'), "{block}");
    }
}
