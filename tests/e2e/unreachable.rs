//! Redis that Envoy cannot use: the log line that shows the operator the cause, and how long requests wait.

use crate::harness::*;
use crate::shipped::secured;
use serde_json::{json, Value};
use std::time::{Duration, Instant};

const POLICY: &str = "{redis: {timeout: 300ms}, on_error: allow, limits: [{name: x, rate: 5/hour}]}";

/// The log's text about requests that were not counted.
const UNCOUNTED: &str = "Redis did not count";

/// An Envoy whose requests are not counted, and the line with this text that gives the reason.
struct Uncounted {
    envoy: Envoy,
    line: String,
}

impl Uncounted {
    async fn of(builder: EnvoyBuilder, words: &[&str]) -> Uncounted {
        let envoy = builder.cold().policy(POLICY).start();
        let start = Instant::now();
        loop {
            let response = envoy.get("/").header("x-api-key", "a").send().await;
            assert_eq!(
                (response.status, response.header("x-ratelimit-limit")),
                (200, None)
            );
            let log = envoy.log();
            let fits = |line: &&str| line.contains(UNCOUNTED) && words.iter().all(|word| line.contains(word));
            if let Some(line) = log.lines().find(fits) {
                let line = line.to_owned();
                return Uncounted { envoy, line };
            }
            let ours = log.lines().filter(|line| line.contains("headgate: "));
            let ours: Vec<&str> = ours.collect();
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "no line with {words:?}: {ours:#?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A figure that the line sends an operator to.
    fn moves(&self, figure: &str) {
        assert!(self.line.contains(figure), "{figure} in {}", self.line);
        let full = format!("cluster.redis.{figure}");
        wait_for(&full, Duration::from_secs(10), || {
            (self.envoy.stat(&full) > 0).then_some(())
        });
    }

    /// Redis answered `CLUSTER SLOTS` with an error; Envoy 1.36 counts that as a command that it does not know.
    fn refuses_cluster_slots(&self) {
        assert!(self.line.contains("upstream_commands.*.failure"), "{}", self.line);
        wait_for("a refusal of CLUSTER SLOTS", Duration::from_secs(10), || {
            let failures = self.envoy.stats("cluster.redis.upstream_commands.");
            let of_slots = ["cluster", "unknown"].map(|name| format!("upstream_commands.{name}.failure"));
            let moved =
                |(name, count): (&String, &u64)| *count > 0 && of_slots.iter().any(|of| name.ends_with(of));
            failures.iter().any(moved).then_some(())
        });
    }
}

/// The seeds of the cluster `redis`.
fn at(ports: &[u16]) -> impl Fn(&mut Value) + Send + Sync + 'static {
    let ports = ports.to_vec();
    move |config| config::set_endpoints(config::cluster(config, "redis"), &ports)
}

/// One Redis on this port, or a cluster with this seed.
pub fn each(port: u16) -> [EnvoyBuilder; 2] {
    ["envoy/single-redis.yaml", "envoy/envoy.yaml"].map(|file| Envoy::alone().file(file).edit(at(&[port])))
}

/// Redis by a name that does not resolve.
pub fn unresolvable(config: &mut Value) {
    let endpoint = json!({"address": {"socket_address": {"address": "redis.invalid", "port_value": 6379}}});
    config::cluster(config, "redis")["load_assignment"]["endpoints"] =
        json!([{"lb_endpoints": [{"endpoint": endpoint}]}]);
}

pub fn password(config: &mut Value, password: &str) {
    config::cluster(config, "redis")["typed_extension_protocol_options"] = json!({
        "envoy.filters.network.redis_proxy": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProtocolOptions",
            "auth_password": {"inline_string": password},
        },
    });
}

pub fn tls(config: &mut Value) {
    config::cluster(config, "redis")["transport_socket"] = json!({"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}});
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_missing_password_is_named_and_never_shown() {
    const WRONG: &str = "s3cret-and-wrong";
    let redis = Node::start(&["--requirepass", "default"], Some("default"));
    for given in [None, Some(WRONG)] {
        let [single, cluster] = each(redis.port).map(|builder| match given {
            Some(given) => builder.edit(move |config| password(config, given)),
            None => builder,
        });
        let one = Uncounted::of(single, &["NOAUTH", "auth_password", "RedisProtocolOptions"]).await;
        let many = Uncounted::of(cluster, &["no upstream host", "a wrong password"]).await;
        many.refuses_cluster_slots();
        for envoy in [one.envoy, many.envoy] {
            assert!(!envoy.log().contains(WRONG), "{}", envoy.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_of_the_tls_variant_is_named() {
    let dir = new_dir("tls-password");
    let redis = RedisCluster::start_secured(&dir);
    let envoy = secured(&redis, &dir).env("HEADGATE_REDIS_PASSWORD", "wrong");
    let many = Uncounted::of(envoy, &["no upstream host", "a wrong password"]).await;
    many.refuses_cluster_slots();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_rights_is_named() {
    let redis = SingleRedis::start();
    redis.call::<()>(&["ACL", "SETUSER", "default", "-@scripting"]);
    let line = Uncounted::of(Envoy::with(&redis), &["NOPERM", "redis-users.acl"])
        .await
        .line;
    assert!(!line.contains("auth_password"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_where_nothing_listens_is_named() {
    for (builder, words) in each(free_port())
        .into_iter()
        .zip(["upstream failure", "no upstream host"])
    {
        let uncounted = Uncounted::of(builder, &[words, "wrong port", "/clusters"]).await;
        uncounted.moves("upstream_cx_connect_fail");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_a_plain_port_is_named() {
    let redis = SingleRedis::start();
    let [single, cluster] = each(redis.port).map(|builder| builder.edit(tls));
    let one = Uncounted::of(single, &["no reply within redis.timeout", "TLS to a plain port"]).await;
    one.moves("upstream_cx_connect_timeout");
    let many = Uncounted::of(cluster, &["no upstream host", "TLS on one side only"]).await;
    many.moves("upstream_cx_connect_timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tls_to_a_tls_port_is_named() {
    let redis = RedisCluster::start_secured(&new_dir("tls-only"));
    let port = redis.seeds()[0];
    for (builder, words) in each(port)
        .into_iter()
        .zip(["upstream failure", "no upstream host"])
    {
        Uncounted::of(builder, &[words, "TLS on one side only"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_named() {
    let [right, wrong] = ["tls-right", "tls-wrong"].map(new_dir);
    let redis = RedisCluster::start_secured(&right);
    let made = std::process::Command::new(root().join("scripts/certificates.sh"))
        .arg(&wrong)
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    let envoy = secured(&redis, &wrong).env("HEADGATE_REDIS_PASSWORD", "change-me");
    let uncounted = Uncounted::of(envoy, &["a certificate that is not trusted", "ssl.fail_verify_*"]).await;
    uncounted.moves("upstream_cx_connect_fail");
    assert!(uncounted.envoy.stat("cluster.redis.ssl.fail_verify_error") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve_is_named() {
    for builder in each(6379) {
        let builder = builder.edit(unresolvable);
        let uncounted = Uncounted::of(builder, &["no upstream host", "a name that does not resolve"]).await;
        assert!(uncounted.line.contains("membership_total"), "{}", uncounted.line);
        assert_eq!(uncounted.envoy.stat("cluster.redis.membership_total"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_without_an_address_is_logged_with_the_remedy() {
    let redis = Node::start(&["--cluster-enabled", "yes"], None);
    redis.call::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    wait_for("the cluster", Duration::from_secs(10), || {
        let info: String = redis.call(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:ok").then_some(())
    });
    let builder = || Envoy::alone().edit(at(&[redis.port]));
    Uncounted::of(builder(), &["no upstream host", "set cluster-announce-ip"]).await;
    redis.call::<()>(&["CONFIG", "SET", "cluster-announce-ip", "127.0.0.1"]);
    let envoy = builder().start();
    wait_for("Envoy to find Redis", Duration::from_secs(10), || {
        (envoy.stat("cluster.redis.membership_total") == 1).then_some(())
    });
    let counted = envoy.get("/").header("x-api-key", "a").send().await;
    assert!(counted.number("x-ratelimit-remaining").is_some(), "{counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_cluster_that_does_not_exist_is_named() {
    let redis = SingleRedis::start();
    let builder = Envoy::with(&redis).edit(|config| {
        config::headgate(config)["configuration"]["value"]["redis"]["cluster"] = json!("nowhere");
    });
    Uncounted::of(builder, &["\"nowhere\"", "redis.cluster", "/clusters"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_listener_that_does_not_exist_is_named() {
    let redis = SingleRedis::start();
    let builder = Envoy::with(&redis).edit(|config| {
        let endpoint = json!({"address": {"envoy_internal_address": {"server_listener_name": "missing"}}});
        config::cluster(config, "redis_call")["load_assignment"]["endpoints"] =
            json!([{"lb_endpoints": [{"endpoint": endpoint}]}]);
    });
    Uncounted::of(builder, &["gRPC status 14", "\"redis_call\"", "/listeners"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_redis_and_one_that_answers_errors_are_distinct() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis).policy(POLICY).start();
    let call = || envoy.get("/").header("x-api-key", "a").send();
    assert_eq!(call().await.number("x-ratelimit-remaining"), Some(4));
    redis.freeze();
    for _ in 0..10 {
        call().await;
    }
    redis.thaw();
    let line = envoy.wait_for_log(UNCOUNTED);
    let texts = ["no reply within redis.timeout", "upstream failure"];
    assert!(
        texts.iter().any(|text| line.contains(text)) && line.contains("frozen"),
        "{line}"
    );
    envoy.wait_for_log("circuit breaker opened for ");
    while call().await.header("x-ratelimit-remaining").is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    envoy.wait_for_log("circuit breaker closed for ");
}

mod quiet {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(300);
    const BREAKERS: &str = "wasmcustom.headgate_breakers_open;instance=main";

    async fn call(envoy: &Envoy) -> Response {
        envoy.get("/").header("x-api-key", "a").send().await
    }

    /// Redis is down when Envoy starts: requests wait for a count first, and then not at all.
    async fn is_given_up_after_five_seconds(envoy: &Envoy) {
        let start = Instant::now();
        let mut waited = 0;
        while start.elapsed() < Duration::from_secs(4) {
            let response = call(envoy).await;
            assert_eq!(
                (response.status, response.header("x-ratelimit-limit")),
                (200, None)
            );
            assert!(response.elapsed < TIMEOUT * 2, "{:?}", response.elapsed);
            waited += usize::from(response.elapsed >= TIMEOUT);
        }
        assert!(
            waited > 0,
            "in the first seconds a request waits for Envoy to find Redis"
        );
        assert_eq!(envoy.stat(BREAKERS), 0);
        while envoy.stat(BREAKERS) == 0 {
            assert!(
                start.elapsed() < Duration::from_secs(15),
                "no circuit breaker opens: {}",
                envoy.log()
            );
            call(envoy).await;
        }
        let mut took = Vec::new();
        for _ in 0..40 {
            took.push(call(envoy).await.elapsed);
        }
        took.sort();
        assert!(took[20] < Duration::from_millis(50), "{took:?}");
        envoy.wait_for_log("circuit breaker opened for");
    }

    async fn counts_again(envoy: &Envoy) {
        let start = Instant::now();
        while call(envoy).await.number("x-ratelimit-remaining").is_none() {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "not counted again: {}",
                envoy.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        wait_for("the breakers to close", Duration::from_secs(10), || {
            (envoy.stat(BREAKERS) == 0).then_some(())
        });
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_redis_cluster_unreachable_at_start_is_given_up_after_5_s() {
        let redis = RedisCluster::start(3, 0);
        redis.nodes.iter().for_each(Node::kill);
        let envoy = Envoy::with(&redis).concurrency(1).policy(POLICY).start();
        is_given_up_after_five_seconds(&envoy).await;
        redis.nodes.iter().for_each(Node::restart);
        redis.wait_until_ready();
        counts_again(&envoy).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cluster_without_hosts_at_the_start_is_given_up_after_5_s() {
        let [single, _] = each(6379);
        let none = |config: &mut Value| {
            let redis = config::cluster(config, "redis");
            redis["type"] = json!("STATIC");
            redis["load_assignment"]["endpoints"] = json!([]);
        };
        let envoy = single.concurrency(1).policy(POLICY).edit(none).start();
        is_given_up_after_five_seconds(&envoy).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_single_redis_that_is_away_at_the_start_costs_no_waiting() {
        let redis = SingleRedis::start();
        redis.kill();
        let envoy = Envoy::with(&redis).concurrency(1).policy(POLICY).start();
        let start = Instant::now();
        while envoy.stat(BREAKERS) == 0 {
            assert!(call(&envoy).await.elapsed < TIMEOUT * 2);
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "no circuit breaker opens: {}",
                envoy.log()
            );
        }
        let mut took = Vec::new();
        for _ in 0..40 {
            took.push(call(&envoy).await.elapsed);
        }
        took.sort();
        assert!(took[20] < Duration::from_millis(50), "{took:?}");
        redis.restart();
        counts_again(&envoy).await;
    }
}
