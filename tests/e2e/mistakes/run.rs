//! Makes one mistake and looks at what is said about it.

use super::text::changed;
use super::{all, Mistake, Outcome};
use crate::harness::*;
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

pub async fn run(name: &str) {
    let all = all();
    let found = all.iter().find(|mistake| mistake.text("name") == name);
    let mistake = found.expect("a mistake of this name");
    let file = mistake.field("file").unwrap_or("single-redis");
    let path = root().join(format!("envoy/{file}.yaml"));
    let shipped =
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = changed(shipped, &mistake.0["change"]);
    check(mistake, &text);
    let builder = Redis::of(mistake).envoy(text, mistake);
    match mistake.outcome() {
        Outcome::Refuses(reason) => {
            let log = builder.refused();
            assert!(without_double_spaces(&log).contains(reason), "{log}");
        }
        Outcome::Logs(reason) => {
            let envoy = builder.start();
            let response = ask(&envoy, mistake).await;
            envoy.wait_for_log(reason);
            let counts = mistake.0["counts"] == true;
            assert_eq!(
                !envoy.log().contains("did not count") && response.contains("status: 200"),
                counts
            );
            doctor(&envoy, mistake);
        }
        Outcome::Silent(line) => {
            let envoy = builder.start();
            let response = ask(&envoy, mistake).await;
            assert!(
                response.lines().any(|shown| shown == line),
                "{response}\n{}",
                envoy.log()
            );
            let log = envoy.log();
            assert!(
                !log.contains("did not count") && !log.contains("[error]"),
                "{log}"
            );
            doctor(&envoy, mistake);
        }
    }
}

/// Envoy's protobuf library doubles spaces in its messages at random, so that no program relies on them.
fn without_double_spaces(text: &str) -> String {
    text.split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// One request by a client of its own, and the response as lines.
async fn ask(envoy: &Envoy, mistake: &Mistake) -> String {
    let path = mistake.field("path").unwrap_or("/");
    let request = envoy.get(path).header("x-api-key", mistake.text("name"));
    let response = request.send().await;
    let mut lines = format!("status: {}\n", response.status);
    for name in ["x-ratelimit-limit", "x-ratelimit-remaining"] {
        if let Some(value) = response.header(name) {
            lines += &format!("{name}: {value}\n");
        }
    }
    lines
}

/// What `headgate check` says, with and without `--strict`.
fn check(mistake: &Mistake, text: &str) {
    let run = |arguments: &[&str]| {
        let mut child = Command::new(native_command())
            .arg("check")
            .args(arguments)
            .arg("-")
            .current_dir(root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command headgate");
        let written = child
            .stdin
            .take()
            .expect("its standard input")
            .write_all(text.as_bytes());
        written.expect("a file to check");
        let output = child.wait_with_output().expect("its output");
        let shown = String::from_utf8(output.stdout).expect("UTF-8");
        (shown, output.status.code().expect("a status"))
    };
    let (shown, status) = run(&["--strict"]);
    match mistake.field("check") {
        Some(reason) => {
            assert!(shown.contains(reason), "{shown}");
            assert_eq!(status, 1, "{shown}");
            assert!(!run(&[]).0.contains("good"), "{shown}");
        }
        None => assert_eq!(status, 0, "{} is no longer unseen: {shown}", mistake.text("name")),
    }
}

/// What `headgate doctor` finds, or that it finds nothing. Metrics reach Envoy four times a second.
fn doctor(envoy: &Envoy, mistake: &Mistake) {
    let reason = mistake.field("doctor");
    let is_expected = |shown: &str| match reason {
        Some(reason) => [' ', ':']
            .iter()
            .any(|end| shown.contains(&format!(" {reason}{end}"))),
        None => {
            let is_finding = |line: &str| {
                ["error ", "warning "]
                    .iter()
                    .any(|word| line.trim_start().starts_with(word))
            };
            shown.contains("requests are counted") && !shown.lines().any(is_finding)
        }
    };
    let mut shown = String::new();
    for _ in 0..30 {
        let output = Command::new(native_command())
            .args(["doctor", &format!("http://127.0.0.1:{}", envoy.admin_port)])
            .output()
            .expect("the command headgate");
        shown = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
        if is_expected(&shown) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    panic!("not {reason:?} in\n{shown}\n{}", envoy.log());
}

/// What Envoy counts in; each is started once.
struct Redis {
    /// The shipped ports, and those in their place.
    ports: Vec<(u16, u16)>,
    /// With the certificates.
    dir: Option<PathBuf>,
}

impl Redis {
    fn of(mistake: &Mistake) -> Redis {
        let single = |redis: &SingleRedis| Redis {
            ports: vec![(6379, redis.port)],
            dir: None,
        };
        let cluster = |redis: &RedisCluster| {
            let seeds = crate::harness::Redis::seeds(redis);
            (7001..).zip(seeds).collect()
        };
        match mistake.field("redis").unwrap_or("single") {
            "single" => {
                static SINGLE: LazyLock<SingleRedis> = LazyLock::new(SingleRedis::start);
                single(&SINGLE)
            }
            "password" => {
                static LOCKED: LazyLock<SingleRedis> = LazyLock::new(|| {
                    let redis = SingleRedis::start();
                    redis.call::<()>(&["CONFIG", "SET", "requirepass", "secret"]);
                    redis
                });
                single(&LOCKED)
            }
            "acl" => {
                static FEW: LazyLock<SingleRedis> = LazyLock::new(|| {
                    let redis = SingleRedis::start();
                    redis.call::<()>(&["ACL", "SETUSER", "few", "on", ">few", "~*", "+ping"]);
                    redis
                });
                single(&FEW)
            }
            "cluster" => Redis {
                ports: cluster(RedisCluster::shared()),
                dir: None,
            },
            "tls" => {
                static SECURED: LazyLock<(PathBuf, RedisCluster)> = LazyLock::new(|| {
                    let dir = new_dir("mistakes-tls");
                    let redis = RedisCluster::start_secured(&dir);
                    (dir, redis)
                });
                Redis {
                    ports: cluster(&SECURED.1),
                    dir: Some(SECURED.0.clone()),
                }
            }
            other => panic!("{}: no redis {other}", mistake.text("name")),
        }
    }

    /// An Envoy with this text as its configuration, in which ports and paths are the test's.
    fn envoy(self, text: String, mistake: &Mistake) -> EnvoyBuilder {
        let mut builder = Envoy::alone()
            .cold()
            .concurrency(1)
            .env("HEADGATE_REDIS_PASSWORD", "change-me");
        if mistake.text("name") != "hash_key_not_set" {
            builder = builder.env("HEADGATE_HASH_KEY", "secret");
        }
        builder.text(move |place| {
            let own = [
                (9901, place.admin_port),
                (10_000, place.port),
                (8080, place.upstream),
            ];
            let mut text = text.clone();
            for (shipped, port) in own.iter().chain(&self.ports) {
                text = text.replace(
                    &format!("port_value: {shipped}}}"),
                    &format!("port_value: {port}}}"),
                );
            }
            if let Some(dir) = &self.dir {
                text = text.replace(".run/tls/ca.pem", &dir.join("ca.pem").to_string_lossy());
            }
            text.replace("target/headgate.wasm", &filter_module().to_string_lossy())
        })
    }
}

#[test]
fn a_value_of_the_policy_is_what_the_page_says() {
    let values: Vec<Value> = all().into_iter().map(|mistake| mistake.0).collect();
    let known = [
        "name", "mistake", "file", "redis", "change", "check", "blind", "refuses", "logs", "silent",
        "counts", "path", "doctor", "remedy",
    ];
    for value in values {
        let fields = value.as_object().expect("an object");
        let unknown = fields.keys().find(|field| !known.contains(&field.as_str()));
        assert_eq!(unknown, None, "{value}");
    }
}
