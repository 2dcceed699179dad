//! What the requests so far show.

use super::*;
use serde_json::json;

const KEY: (&str, &str) = ("HEADGATE_HASH_KEY", "a-secret-of-the-test");

#[tokio::test(flavor = "multi_thread")]
async fn without_traffic_it_is_1_and_with_a_counted_request_0() {
    for version in envoy_versions() {
        let redis = RedisCluster::shared();
        let builder = Envoy::with(redis).version(version).concurrency(1);
        let envoy = builder.env(KEY.0, KEY.1).start();
        let report = doctor(&envoy);
        let curl = format!("curl -i http://127.0.0.1:{}/", envoy.port);
        report
            .status(1)
            .has("no-traffic", "error", &[&curl])
            .only(&["no-traffic"]);
        let report = until_counted(&envoy).await;
        assert!(report.findings().is_empty(), "{version}: {}", report.text);
        assert!(report.text.contains("requests are counted:"), "{}", report.text);
        let instance = &report.json["envoys"][0]["instances"][0];
        assert_eq!(instance["state"], "counted");
        assert!(instance["by_redis"].as_u64() > Some(0), "{instance}");
        assert!(report.text.contains(version), "{}", report.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_hash_key_and_an_idle_worker_are_warnings() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis).concurrency(4).start();
    let counted = envoy.get("/").header("x-api-key", "a").send().await;
    assert!(counted.number("x-ratelimit-remaining").is_some());
    let counts = || (doctor(&envoy).status == 0).then_some(());
    wait_for("doctor", Duration::from_secs(10), counts);
    let report = doctor(&envoy);
    report
        .status(0)
        .has("idle-worker", "warning", &["3 of 4 workers"]);
    report.has(
        "hash-key-missing",
        "warning",
        &["Envoy's environment", "openssl rand"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_key_in_the_configuration_is_a_warning_and_not_shown() {
    let envoy = Envoy::local()
        .concurrency(1)
        .edit(|config| {
            config::headgate(config)["vm_config"]["environment_variables"] =
                json!({"key_values": {(KEY.0): KEY.1}});
        })
        .start();
    let report = until_counted(&envoy).await;
    report
        .has("hash-key-shown", "warning", &["host_env_keys"])
        .has_not(&["hash-key-missing"]);
    assert!(!report.text.contains(KEY.1), "{}", report.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_do_not_reach_the_filter_are_a_finding() {
    let abort = "{name: envoy.filters.http.fault, typed_config: {\"@type\": \
                 type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {http_status: 418, \
                 percentage: {numerator: 100}}}}";
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis).before(abort).start();
    assert_eq!(envoy.get("/").send().await.status, 418);
    let report = doctor(&envoy);
    report.status(1).has(
        "filter-not-reached",
        "error",
        &["downstream_rq_total", "disabled"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_limit_are_a_finding() {
    let redis = SingleRedis::start();
    let policy = "{exempt: [{path: /**}], limits: [{name: x, rate: 9/hour}]}";
    let envoy = Envoy::with(&redis).policy(policy).start();
    let report = until_found(&envoy, "nothing-to-count").await;
    report
        .status(1)
        .has("nothing-to-count", "error", &["headgate explain", "exempt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_shard_is_partly_counted_until_it_is_back() {
    let redis = RedisCluster::start(3, 0);
    let policy = "{redis: {timeout: 300ms}, on_error: allow, limits: [{name: x, rate: 900/hour}]}";
    let envoy = Envoy::with(&redis).concurrency(1).policy(policy).start();
    until_counted(&envoy).await;
    redis.nodes[0].kill();
    let gone = format!("127.0.0.1:{}", redis.nodes[0].port);
    let mut clients = 0;
    let report = loop {
        for _ in 0..20 {
            clients += 1;
            envoy
                .get("/")
                .header("x-api-key", format!("client-{clients}"))
                .send()
                .await;
        }
        let report = doctor(&envoy);
        let found = |id: &str| report.findings().iter().any(|finding| finding["id"] == id);
        if found("partly-counted") && found("breaker-open") {
            break report;
        }
        assert!(clients < 800, "{}", report.text);
    };
    report.status(1).has("connection-refused", "error", &[&gone]);
    redis.nodes[0].restart();
    drop(report);
}

#[tokio::test(flavor = "multi_thread")]
async fn counted_again_after_a_failure_is_a_warning() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis).concurrency(1).policy(POLICY).start();
    until_counted(&envoy).await;
    redis.kill();
    until_found(&envoy, "connection-refused").await;
    redis.restart();
    let report = until_counted(&envoy).await;
    report
        .has("counted-again", "warning", &["upstream_failure"])
        .has_not(&["connection-refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_whose_clock_is_far_away_is_a_warning() {
    let dir = new_dir("clock");
    let library = dir.join("clock.so");
    let source = root().join("tests/e2e/doctor/clock.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source)
        .status();
    assert!(built.is_ok_and(|status| status.success()), "cc");
    let port = free_port();
    let mut server = Command::new(std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".into()));
    server
        .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()])
        .env("LD_PRELOAD", &library)
        .current_dir(&dir);
    let _redis = Process::start(server, &dir);
    wait_for("Redis", Duration::from_secs(10), || listens(port).then_some(()));
    for algorithm in ALGORITHMS {
        let [single, _] = crate::unreachable::each(port);
        let policy = format!("{{limits: [{{name: x, rate: 50/hour, algorithm: {algorithm}}}]}}");
        let envoy = single.concurrency(1).policy(&policy).start();
        let report = until_found(&envoy, "redis-clock").await;
        report
            .status(0)
            .has("redis-clock", "warning", &["ahead of", "NTP"]);
        let shown = report.text.contains("is 3599 s ahead") || report.text.contains("is 3600 s ahead");
        assert!(shown, "{algorithm}: {}", report.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_is_draining_is_named() {
    let envoy = Envoy::local().start();
    until_counted(&envoy).await;
    envoy.admin_post("/healthcheck/fail");
    doctor(&envoy).status(0).has("not-live", "warning", &["DRAINING"]);
}
