//! `headgate patch` on configurations of several shapes: the result starts in a real Envoy, counts in Redis, and the
//! 101st request of a minute is denied. `headgate unpatch` gives the file back.

use crate::harness::*;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// An Envoy with a patched configuration.
struct Patched {
    dir: PathBuf,
    upstream: Upstream,
    port: u16,
    process: Process,
}

const POLICY: &str = "redis: {key_prefix: PREFIX, timeout: 5s}\nlimits:\n- {name: per-client, rate: 100/minute}   # two lines\n";

/// Files of `shapes` with ports of their own, in a folder of their own.
fn files(names: &[&str]) -> (PathBuf, Upstream, [u16; 2]) {
    let dir = new_dir("patch");
    let upstream = Upstream::start();
    let ports = [free_port(), free_port()];
    for name in names {
        let path = root().join("tests/e2e/patch/shapes").join(name);
        let text = std::fs::read_to_string(&path).expect("a shape");
        let text = text
            .replace("ADMIN_PORT", &ports[1].to_string())
            .replace("UPSTREAM_PORT", &upstream.port.to_string())
            .replace("PORT", &ports[0].to_string())
            .replace("DIR", &dir.display().to_string());
        std::fs::write(dir.join(name), text).expect("a file");
    }
    (dir, upstream, ports)
}

fn headgate(dir: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(native_command())
        .args(arguments)
        .current_dir(dir)
        .output();
    output.expect("the command headgate")
}

/// Patches the files in place, and starts Envoy with the first.
fn start(names: &[&str], prefix: &str, redis: &[&str], environment: &[(&str, &str)]) -> Patched {
    let (dir, upstream, [port, _]) = files(names);
    std::fs::write(dir.join("policy.yaml"), POLICY.replace("PREFIX", prefix)).expect("a policy");
    let read = || {
        names
            .iter()
            .map(|name| std::fs::read_to_string(dir.join(name)).expect("a file"))
            .collect::<Vec<_>>()
    };
    let module = filter_module();
    let module = module.to_string_lossy();
    let options = [
        "--policy",
        "policy.yaml",
        "--module",
        &module,
        "--edge",
        "--in-place",
    ];
    let patch = [&["patch"], names, &options, redis].concat();
    let before = read();
    for _ in 0..2 {
        let output = headgate(&dir, &patch);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let patched = read();
    let undo = headgate(&dir, &[&["unpatch", "--in-place"], names].concat());
    assert!(undo.status.success() && read() == before, "{undo:?}");
    assert!(headgate(&dir, &patch).status.success() && read() == patched);
    let mut command = Command::new(envoy_binary(default_envoy()));
    command
        .arg("-c")
        .arg(dir.join(names[0]))
        .args(["--disable-hot-restart", "--concurrency", "2"])
        .env("HEADGATE_HASH_KEY", "test")
        .envs(environment.iter().copied());
    let process = Process::start(command, &dir);
    wait_for("Envoy takes requests", Duration::from_secs(60), || {
        assert_eq!(
            process.exited(),
            None,
            "{}",
            std::fs::read_to_string(dir.join("log")).unwrap_or_default()
        );
        listens(port).then_some(())
    });
    Patched {
        dir,
        upstream,
        port,
        process,
    }
}

impl Patched {
    /// 100 requests of one client pass and the next one is denied, all counted in Redis.
    async fn limits(&self, keys: impl Fn() -> usize) {
        let client = Client::http1(self.port);
        let begin = std::time::Instant::now();
        while keys() == 0 {
            client.get("/").header("x-api-key", "first").send().await;
            let log = || std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "nothing is counted in Redis: {}",
                log()
            );
        }
        let before = self.upstream.requests();
        for number in 1..=101 {
            let response = client.get("/").header("x-api-key", "second").send().await;
            let expected = if number <= 100 { 200 } else { 429 };
            assert_eq!(response.status, expected, "request {number}: {response:?}");
        }
        assert_eq!(self.upstream.requests() - before, 100);
        assert_eq!(self.process.exited(), None);
    }

    /// The access log has Headgate's decision.
    fn logs(&self, decision: &str) {
        wait_for("the access log", Duration::from_secs(20), || {
            let log = std::fs::read_to_string(self.dir.join("log")).ok()?;
            log.contains(decision).then_some(())
        });
    }
}

async fn one_redis(names: &[&str], decision: &str) {
    let redis = SingleRedis::start();
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let envoy = start(names, "ratelimit", &["--redis", &url], &[]);
    envoy
        .limits(|| redis.call::<Vec<String>>(&["KEYS", "ratelimit:*"]).len())
        .await;
    envoy.logs(decision);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_file_limits() {
    one_redis(&["plain.yaml"], " decision=denied by=").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_in_yaml_and_camel_case_limit() {
    one_redis(&["json.yaml"], "\"ratelimit_decision\":\"denied\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anchors_own_layers_and_own_names_limit() {
    one_redis(&["shared.yaml"], "429 decision=denied by=").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_lds_and_cds_limit() {
    one_redis(
        &["bootstrap.yaml", "lds.yaml", "cds.yaml"],
        "\"ratelimit_decision\":\"denied\"",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_cluster_counts() {
    let redis = RedisCluster::shared();
    let urls: Vec<String> = redis
        .seeds()
        .iter()
        .map(|port| format!("redis://127.0.0.1:{port}"))
        .collect();
    let prefix = format!("patch-{}", std::process::id());
    let envoy = start(&["plain.yaml"], &prefix, &["--cluster", "--redis", &urls[0]], &[]);
    envoy.limits(|| redis.keys(&format!("{prefix}:*")).len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_tls_and_a_user_counts() {
    let dir = new_dir("patch-tls");
    let redis = RedisCluster::start_secured(&dir);
    let ca = dir.join("ca.pem");
    let password = dir.join("password");
    std::fs::write(&password, "change-me").expect("a password");
    let urls: Vec<String> = redis
        .seeds()
        .iter()
        .map(|port| format!("rediss://127.0.0.1:{port}"))
        .collect();
    let urls = urls.join(",");
    let (ca, password) = (ca.to_string_lossy(), password.to_string_lossy());
    let common = [
        "--cluster",
        "--redis",
        &urls,
        "--ca",
        &ca,
        "--redis-server-name",
        "redis.internal",
        "--redis-user",
        "headgate",
    ];
    for (login, environment) in [
        (
            ["--redis-password-env", "PATCH_PASSWORD"],
            &[("PATCH_PASSWORD", "change-me")][..],
        ),
        (["--redis-password-file", &password], &[]),
    ] {
        redis
            .masters()
            .iter()
            .for_each(|node| node.call::<()>(&["FLUSHALL"]));
        let envoy = start(
            &["plain.yaml"],
            "ratelimit",
            &[&common[..], &login].concat(),
            environment,
        );
        envoy.limits(|| redis.keys("ratelimit:*").len()).await;
        let text = std::fs::read_to_string(envoy.dir.join("plain.yaml")).expect("the file");
        assert!(!text.contains("change-me"), "{text}");
    }
}
