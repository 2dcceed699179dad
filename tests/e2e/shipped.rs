//! What ships in `envoy/`: each configuration starts unchanged on every supported Envoy, and limits.

mod edge;

use crate::harness::*;
use headgate_core::model::StateName;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// The shipped policy: 100 a minute for each API key.
async fn limits_by_api_key(builder: EnvoyBuilder) {
    let envoy = builder.start();
    minute_with(Duration::from_secs(10)).await;
    for key in ["alice", "bob"] {
        let responses = envoy
            .at_once(120, |_| envoy.get("/").header("x-api-key", key))
            .await;
        assert_eq!(passes(&responses), 100, "{key}; Envoy's log:\n{}", envoy.log());
    }
    let denied = envoy.get("/").header("x-api-key", "alice").send().await;
    assert_eq!(denied.number("x-ratelimit-limit"), Some(100));
    assert_eq!(denied.number("x-ratelimit-remaining"), Some(0));
    assert!(
        denied
            .number("retry-after")
            // What the last window still counts takes a moment of the next to fade.
            .is_some_and(|seconds| (1..=61).contains(&seconds)),
        "{denied:?}"
    );
    let log = envoy.access_log(241);
    let by_redis = log.iter().find(|entry| entry["ratelimit_decision"] == "allowed");
    assert_eq!(
        by_redis.map(|entry| &entry["ratelimit_by"]),
        Some(&json!("redis"))
    );
    let entry = log.last().cloned().unwrap_or_default();
    for (field, value) in [("decision", "denied"), ("name", "per-client"), ("remaining", "0")] {
        assert_eq!(entry[format!("ratelimit_{field}")], value, "{entry:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_variant_limits_on_every_supported_envoy() {
    for version in envoy_versions() {
        limits_by_api_key(Envoy::with(RedisCluster::shared()).version(version)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_single_redis_variant_limits_on_every_supported_envoy() {
    let redis = SingleRedis::start();
    for version in envoy_versions() {
        limits_by_api_key(Envoy::with(&redis).version(version)).await;
    }
}

/// TLS and a user who may only count; the certificate authority's place is the only change besides ports.
pub fn secured(redis: &RedisCluster, dir: &std::path::Path) -> EnvoyBuilder {
    let ca = dir.join("ca.pem");
    Envoy::with(redis)
        .file("envoy/tls-auth.yaml")
        .key_prefix("ratelimit")
        .edit(move |config| {
            let tls = &mut config::cluster(config, "redis")["transport_socket"]["typed_config"]
                ["common_tls_context"];
            tls["validation_context"]["trusted_ca"]["filename"] = json!(ca);
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tls_variant_limits_as_a_user_who_may_only_count() {
    let dir = new_dir("tls");
    let redis = RedisCluster::start_secured(&dir);
    let forbidden = |user: &str, command: &[&str]| {
        let verdict: String = redis.nodes[0].call(&[&["ACL", "DRYRUN", user], command].concat());
        assert_ne!(verdict, "OK", "{command:?} as {user}");
    };
    for command in [
        &["FLUSHALL"][..],
        &["KEYS", "*"],
        &["CONFIG", "GET", "*"],
        &["SCRIPT", "FLUSH"],
    ] {
        forbidden("headgate", command);
    }
    forbidden("headgate", &["EVAL", "return 1", "1", "someone:else"]);
    for version in envoy_versions() {
        redis
            .masters()
            .iter()
            .for_each(|node| node.call::<()>(&["FLUSHALL"]));
        let envoy = secured(&redis, &dir).env("HEADGATE_REDIS_PASSWORD", "change-me");
        limits_by_api_key(envoy.version(version)).await;
        assert_eq!(redis.errors("NOPERM"), 0, "the shipped user lacks a right");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_wrong_password_nothing_is_counted_and_requests_pass() {
    let dir = new_dir("tls-wrong");
    let redis = RedisCluster::start_secured(&dir);
    let envoy = secured(&redis, &dir)
        .env("HEADGATE_REDIS_PASSWORD", "wrong")
        .cold()
        .impatient()
        .start();
    let response = envoy.get("/").header("x-api-key", "alice").send().await;
    assert_eq!(response.status, 200);
    assert!(response.elapsed < Duration::from_secs(1), "{response:?}");
    assert_eq!(redis.keys("*"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_serves_without_redis_and_counts_once_it_is_there() {
    let single = SingleRedis::start();
    let cluster = RedisCluster::start(3, 0);
    let nodes = || cluster.nodes.iter().chain([&*single]);
    nodes().for_each(Node::kill);
    let builders: [EnvoyBuilder; 2] = [Envoy::with(&single), Envoy::with(&cluster)];
    let envoys = builders.map(|builder| {
        builder
            .policy("{redis: {timeout: 100ms}, on_error: allow, limits: [{rate: 5/minute}]}")
            .start()
    });
    for envoy in &envoys {
        let response = envoy.get("/").header("x-api-key", "a").send().await;
        assert_eq!(
            (response.status, response.header("x-ratelimit-limit")),
            (200, None),
            "{response:?}"
        );
        assert!(response.elapsed < Duration::from_secs(1), "{response:?}");
    }
    nodes().for_each(Node::restart);
    cluster.wait_until_ready();
    for envoy in &envoys {
        let mut denied = 0;
        for _ in 0..100 {
            denied += usize::from(envoy.get("/").header("x-api-key", "a").send().await.status == 429);
            tokio::time::sleep(Duration::from_millis(if denied == 0 { 100 } else { 1 })).await;
        }
        assert!(denied > 0, "never counted again; Envoy's log:\n{}", envoy.log());
    }
}

/// The variants are copies, so that each starts by itself; this keeps the copies together.
#[test]
fn the_variants_differ_from_the_main_file_only_in_redis() {
    let mut main = config::load(&root().join("envoy/envoy.yaml"));
    config::cluster(&mut main, "redis").take();
    for variant in ["single-redis", "tls-auth"] {
        let mut other = config::load(&root().join(format!("envoy/{variant}.yaml")));
        config::cluster(&mut other, "redis").take();
        assert_eq!(other, main, "envoy/{variant}.yaml");
    }
}

/// The recipes change who is asked, not how Redis is reached.
#[test]
fn the_recipes_differ_only_in_http_filters_and_virtual_host() {
    let rest = |file: &str| {
        let mut config = config::load(&root().join(file));
        let manager = config::hcm(&mut config);
        manager["http_filters"].take();
        let host = &mut manager["route_config"]["virtual_hosts"][0];
        host.as_object_mut()
            .expect("a host")
            .remove("typed_per_filter_config");
        config
    };
    for recipe in ["two-stage", "cors"] {
        let file = format!("envoy/{recipe}.yaml");
        assert_eq!(rest(&file), rest("envoy/envoy.yaml"), "{file}");
    }
}

/// On the oldest promised Envoy, whose handling of filter state and of cors might differ; the newest runs them in
/// `instances` and `cors`.
#[tokio::test(flavor = "multi_thread")]
async fn the_recipes_also_limit_on_the_oldest_envoy() {
    let redis = RedisCluster::shared();
    let oldest = |file: &str| Envoy::with(redis).file(file).version("1.36.2");
    let pages = oldest("envoy/cors.yaml").start();
    let call = || {
        pages
            .get("/")
            .header("x-api-key", "a")
            .header("origin", "https://app.example.com")
    };
    let responses = pages.at_once(101, |_| call()).await;
    let denied: Vec<_> = responses
        .iter()
        .filter(|response| response.status == 429)
        .collect();
    assert_eq!(denied.len(), 1);
    assert_eq!(
        denied[0].header("access-control-allow-origin").as_deref(),
        Some("https://app.example.com")
    );
    let stages = oldest("envoy/two-stage.yaml")
        .edit(|config| {
            let first = config::headgate(config).clone();
            let filters = &mut config::hcm(config)["http_filters"];
            let second = &mut config::named(filters, "headgate-user")["typed_config"]["config"];
            second["vm_config"]["code"] = first["vm_config"]["code"].clone();
            let policy = &mut second["configuration"]["value"];
            policy["redis"] = first["configuration"]["value"]["redis"].clone();
            policy["identify"] = json!([{"name": "user", "header": "x-user"}]);
        })
        .start();
    let call = || stages.get("/").header("x-user", "u");
    minute_with(Duration::from_secs(5)).await;
    let responses = stages.at_once(101, |_| call()).await;
    assert_eq!(passes(&responses), 100);
    let denied = call().send().await;
    assert_eq!(
        (denied.status, denied.number("x-ratelimit-limit")),
        (429, Some(100))
    );
}

#[test]
fn the_variant_without_redis_is_the_main_file_minus_redis() {
    let mut main = config::load(&root().join("envoy/envoy.yaml"));
    let plugin = &mut config::headgate(&mut main)["configuration"]["value"];
    plugin["store"] = json!("local");
    let limit = plugin["limits"][0].as_object_mut().expect("a limit");
    assert_eq!(limit.remove("overrides"), Some(json!([{"from": "redis"}])));
    let top = main.as_object_mut().expect("a configuration");
    top.remove("bootstrap_extensions");
    top.remove("layered_runtime"); // of redis_proxy
    for (list, way) in [
        ("listeners", &["redis_call"][..]),
        ("clusters", &["redis_call", "redis"][..]),
    ] {
        let elements = main["static_resources"][list].as_array_mut().expect("a list");
        elements.retain(|element| !way.iter().any(|name| element["name"] == *name));
    }
    assert_eq!(config::load(&root().join("envoy/local.yaml")), main);
}

#[test]
fn the_shipped_redis_user_may_run_only_what_the_script_calls() {
    let script = std::fs::read_to_string(root().join("crates/headgate-core/src/script/counting.lua"))
        .expect("the script");
    // redis.call('X', …), or call('X', …) where it is a local
    let quoted = script
        .split("call('")
        .skip(1)
        .filter_map(|rest| rest.split('\'').next());
    let mut needed: BTreeSet<String> = quoted.map(str::to_lowercase).collect();
    needed.extend(["eval", "evalsha", "cluster|slots", "asking"].map(String::from));
    let users = std::fs::read_to_string(root().join("envoy/redis-users.acl")).expect("the users");
    let user = users
        .lines()
        .find(|line| line.starts_with("user headgate "))
        .expect("the user headgate");
    let may: BTreeSet<String> = user
        .split(' ')
        .filter_map(|word| word.strip_prefix('+'))
        .map(String::from)
        .collect();
    assert_eq!(may, needed);
}

/// A value that one of the files has in a place where the limiter's promises hang on it.
#[test]
fn the_settings_that_faults_are_survived_by_are_all_there() {
    let mut main = config::load(&root().join("envoy/envoy.yaml"));
    let redis = config::cluster(&mut main, "redis").clone();
    assert_eq!(
        (&redis["lb_policy"], &redis["connect_timeout"]),
        (&json!("CLUSTER_PROVIDED"), &json!("0.5s"))
    );
    let refresh = &redis["cluster_type"]["typed_config"];
    let expected = json!({
        "@type": "type.googleapis.com/envoy.extensions.clusters.redis.v3.RedisClusterConfig",
        "cluster_refresh_rate": "1s", "cluster_refresh_timeout": "0.5s", "redirect_refresh_interval": "0.2s",
        "redirect_refresh_threshold": 1, "failure_refresh_threshold": 1, "host_degraded_refresh_threshold": 1,
    });
    assert_eq!(refresh, &expected);
    let settings = &config::redis_proxy(&mut main)["settings"];
    let names = json!({"name": "headgate_redis", "dns_lookup_family": "V4_PREFERRED"});
    let expected = json!({"op_timeout": "0.2s", "enable_redirection": true, "enable_hashtagging": true,
        "dns_cache_config": names, "max_buffer_size_before_flush": 0});
    assert_eq!(settings, &expected);
    assert_eq!(
        redis["dns_lookup_family"], names["dns_lookup_family"],
        "of seeds and of redirections"
    );
}

mod quiet {
    use super::*;

    #[test]
    fn envoy_knows_a_redis_behind_tls_as_soon_as_it_takes_requests() {
        let dir = new_dir("tls-cold");
        let redis = RedisCluster::start_secured(&dir);
        let builder = secured(&redis, &dir).env("HEADGATE_REDIS_PASSWORD", "change-me");
        let envoy = builder.cold().start();
        wait_for("Envoy to find Redis", Duration::from_millis(600), || {
            (envoy.stat("cluster.redis.membership_total") == 3).then_some(())
        });
    }
}

/// The access-log formats; the shipped files contain one of them.
#[tokio::test(flavor = "multi_thread")]
async fn both_access_log_formats_show_every_figure() {
    let formats = config::load(&root().join("envoy/access-log.yaml"));
    let mut shipped = config::load(&root().join("envoy/envoy.yaml"));
    let json = &formats["json"];
    assert_eq!(
        json,
        &config::hcm(&mut shipped)["access_log"][0]["typed_config"]["log_format"]
    );
    // All that the filter sets, but for what only a tracer reads.
    let figures = StateName::ALL
        .into_iter()
        .filter(|name| *name != StateName::Error);
    let figures: BTreeSet<&str> = figures.map(StateName::as_str).collect();
    assert_eq!(figures.len(), 10, "{figures:?}");
    let text = formats["text"].to_string();
    for figure in &figures {
        let read = format!("%FILTER_STATE(wasm.{figure}:PLAIN)%");
        assert_eq!(json["json_format"][*figure], read);
        assert!(
            text.contains(&format!("{}={read}", &figure["ratelimit_".len()..])),
            "{figure}"
        );
    }
    let text_format = formats["text"].clone();
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(
            "{limits: [{name: one, rate: 1/minute}, {name: quiet, rate: 1/minute, enforce: false}], \
             verdict_cache: {max_age: 30s}}",
        )
        .concurrency(1)
        .edit(move |config| {
            config::hcm(config)["access_log"][0]["typed_config"]["log_format"] = text_format.clone();
        })
        .start();
    for _ in 0..3 {
        envoy
            .get("/a?key=secret")
            .header("x-api-key", "secret")
            .send()
            .await;
    }
    let lines = envoy.access_log_text(3);
    let fields = |line: &str| -> Vec<(String, String)> {
        let pairs = line.split(' ').filter_map(|word| word.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    for (n, line) in lines.iter().enumerate() {
        let fields = fields(line);
        assert_eq!(fields.len(), figures.len(), "{line}");
        let known: Vec<&str> = fields
            .iter()
            .filter(|(_, value)| value != "-")
            .map(|(name, _)| name.as_str())
            .collect();
        let expected = match n {
            0 => "decision by name limit remaining reset client redis_us",
            1 => "decision by name limit remaining reset retry_after client shadow redis_us",
            _ => "decision by name limit remaining reset retry_after client",
        };
        assert_eq!(known.join(" "), expected, "{line}");
        assert!(
            line.starts_with("127.0.0.1 - - [") && !line.contains("secret"),
            "{line}"
        );
    }
    assert!(
        lines[0].contains("\"GET /a HTTP/1.1\" 200 ") && lines[1].contains(" 429 "),
        "{lines:?}"
    );
}
