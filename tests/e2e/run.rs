//! `make run`: it reports success once a call was counted, and otherwise the reason.

use crate::harness::*;
use std::path::PathBuf;
use std::process::{Command, Output};

/// The example on ports of its own; ended when dropped.
struct Example {
    dir: PathBuf,
    variant: &'static str,
    port: u16,
    admin_port: u16,
    upstream_port: u16,
    /// The first of three.
    redis_port: u16,
}

impl Example {
    fn new(variant: &'static str) -> Example {
        let [port, admin_port, upstream_port] = [(); 3].map(|()| free_port());
        // Three in a row, none of which another test gets.
        let redis_port = loop {
            let [first, second, third] = [(); 3].map(|()| free_port());
            if (second, third) == (first + 1, first + 2) {
                break first;
            }
        };
        let dir = new_dir("run");
        Example {
            dir,
            variant,
            port,
            admin_port,
            upstream_port,
            redis_port,
        }
    }

    fn run(&self, command: &str, environment: &[(&str, &str)]) -> Output {
        let ports = [
            ("PORT", self.port),
            ("ADMIN_PORT", self.admin_port),
            ("UPSTREAM_PORT", self.upstream_port),
            ("REDIS_PORT", self.redis_port),
        ];
        Command::new(root().join("scripts/run.sh"))
            .arg(command)
            .env("RUN", &self.dir)
            .env("VARIANT", self.variant)
            .env("ENVOY", envoy_binary(default_envoy()))
            .env("HEADGATE", native_command())
            .envs(ports.map(|(name, port)| (name, port.to_string())))
            .envs(environment.iter().copied())
            .output()
            .expect("scripts/run.sh")
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        self.run("stop", &[]);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_is_up_once_a_call_was_counted() {
    for (variant, by) in [("single-redis", "redis"), ("local", "local")] {
        let example = Example::new(variant);
        let output = example.run("start", &[]);
        let (out, errors) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{variant}: {out}{errors}");
        assert!(
            out.contains(&format!("http://127.0.0.1:{}", example.port)),
            "{out}"
        );
        assert!(out.contains("main: requests are counted"), "{out}");
        let response = Client::http1(example.port)
            .get("/")
            .header("x-api-key", "a")
            .send()
            .await;
        assert_eq!(response.number("x-ratelimit-remaining"), Some(99), "{variant}");
        let log = example.dir.join("envoy.log");
        let counted = format!("\"ratelimit_by\":\"{by}\"");
        wait_for(&counted, std::time::Duration::from_secs(10), || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            log.contains(&counted).then_some(())
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let example = Example::new("local");
    let _taken = std::net::TcpListener::bind(("127.0.0.1", example.port)).expect("a free port");
    let output = example.run("start", &[]);
    assert!(!output.status.success());
    let expected = format!(
        "port {} is in use; choose another one: make run PORT=",
        example.port
    );
    assert!(
        text(&output.stderr).contains(&expected),
        "{}",
        text(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow"]
async fn an_example_that_redis_does_not_count_fails_with_the_reason() {
    let example = Example::new("tls-auth");
    let output = example.run("start", &[("HEADGATE_REDIS_PASSWORD", "wrong")]);
    let errors = text(&output.stderr);
    assert!(!output.status.success(), "{errors}");
    for words in [
        "none was counted within",
        "headgate: Redis did not count",
        "wrongpass",
        "WRONGPASS invalid username-password pair",
    ] {
        assert!(errors.contains(words), "{words} in {errors}");
    }
    assert!(!listens(example.port), "everything has ended");
}
