//! The harness of all end-to-end tests: real Envoy, real Redis, an upstream in the test process.
//!
//! ```ignore
//! #[tokio::test(flavor = "multi_thread")]
//! async fn the_third_call_of_two_is_denied() {
//!     let redis = RedisCluster::shared();                       // or RedisCluster::start(3, 3), SingleRedis::start()
//!     let envoy = Envoy::with(redis).policy("limits: [{rate: 2/minute}]").start();
//!     for expected in [200, 200, 429] {
//!         let response = envoy.get("/").header("x-api-key", "a").send().await;
//!         assert_eq!(response.status, expected, "{response:?}");
//!     }
//!     assert_eq!(envoy.upstream.requests(), 2);
//! }
//! ```
//! - The policy is put into the shipped `envoy/envoy.yaml` (`envoy/single-redis.yaml` for a [`SingleRedis`]), of
//!   which only ports, paths and the access log's file are changed: what ships is what is tested. Anything else is
//!   a line: [`EnvoyBuilder::edit`].
//! - A builder has a key prefix of its own, so tests may share a cluster. Start one builder twice for two Envoys
//!   that count together. Counts of a node (`INFO commandstats`) are exact on a cluster of one's own only.
//! - The upstream answers with the request as it came, as JSON ([`Response::upstream_header`]), or as configured
//!   ([`Upstream::answer`], or in the request's header `x-test-answer`).
//! - Outside of `mod quiet` a request waits 5 s for its count unless the policy has a `redis.timeout`: on a busy
//!   machine 100 ms pass without a fault anywhere.
//! - Starting and stopping block, requests are async: use `flavor = "multi_thread"`.
//! - Whatever a test starts ends with it, also when it fails, and with the test process, also when that is killed.
//!   Logs and configurations stay in `target/tmp/e2e-<pid>` until the next run.
//! - A test that measures time or throughput goes into a `mod quiet`: those run one by one after all others
//!   (`make test`). One that takes over 10 s is `#[ignore = "slow"]` and runs in `make test-all`.
//!
//! Needs `make setup build`: Envoy in `.tools/envoy-<version>/envoy` (or `ENVOY=path` for the default version,
//! which is `ENVOY_VERSION`, else the newest; a test of what an older one cannot do asks [`envoy_has`]),
//! `redis-server` and `redis-cli` in the PATH, the filter in `target/headgate.wasm` (or `HEADGATE_WASM=path`).
#![allow(dead_code, unused_imports)] // not every helper is in use at every time

mod artifacts;
mod body;
pub mod config;
mod envoy;
mod http;
pub mod jwt;
mod load;
mod node;
mod process;
mod redis;
mod upstream;

pub use self::artifacts::{
    default_envoy, envoy_binary, envoy_has, envoy_versions, filter_module, Capability,
};
pub use self::body::{digest, Body};
pub use self::envoy::{Envoy, EnvoyBuilder, Place};
pub use self::http::{limits_named_in, passes, Client, RawConnection, Request, Response};
pub use self::load::{Load, Report};
pub use self::node::Node;
pub use self::process::{free_port, listens, native_command, new_dir, root, Process};
pub use self::redis::{Redis, RedisCluster, SingleRedis};
pub use self::upstream::Upstream;

use std::time::{Duration, Instant};

/// As they are written in a policy.
pub const ALGORITHMS: [&str; 4] = [
    "fixed_window",
    "sliding_window_log",
    "sliding_window_counter",
    "gcra",
];

/// Waits until the clock's minute has this much time left. The shipped limits weight the minute before, so a test that
/// compares exact figures makes all of its calls in one minute.
pub async fn minute_with(left: Duration) {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock after 1970");
    let rest = Duration::from_millis(60_000 - (now.as_millis() % 60_000) as u64);
    if rest < left {
        tokio::time::sleep(rest + Duration::from_millis(20)).await;
    }
}

/// Asks every 20 ms until there is an answer; panics with `what` after `timeout`.
pub fn wait_for<T>(what: &str, timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < timeout, "{what}: not within {timeout:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The same for async tests that have other work under way.
pub async fn eventually<T>(what: &str, timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < timeout, "{what}: not within {timeout:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
