//! Starts envoyproxy/ratelimit, the usual service behind Envoy's `ratelimit` filter, with the settings that its README
//! recommends for speed: a pipeline window of 150 µs, a local cache of descriptors that are over their limit, and no
//! statistics. The client gets no headers. `tests/mesh/build.sh` builds it if Go is installed.

use crate::catalogue::Store;
use crate::harness::{free_port, listens, new_dir, root, wait_for, Process};
use serde_json::{json, Value};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// A fixed window: its unit, and the requests that each client has in it.
pub type Quota = (&'static str, u32);

/// Quotas that no caller reaches, as in the setups of Headgate that they are compared with.
pub const ONE: &[Quota] = &[("hour", 10_000_000)];
pub const FOUR: &[Quota] = &[
    ("second", 1_000_000),
    ("minute", 1_000_000),
    ("hour", 10_000_000),
    ("day", 100_000_000),
];
/// A quota that each client has used up after its first request.
pub const SPENT: &[Quota] = &[("day", 1)];

/// The Redis command for each descriptor. `EXPIRE` is sent with it, in the same write.
pub const COUNTED: &str = "incrby";

/// The `rate_limits` of the filter: a descriptor for each quota.
pub fn rate_limits(quotas: &[Quota]) -> Value {
    let client = json!({"request_headers": {"header_name": "x-api-key", "descriptor_key": "api_key"}});
    let of = |(unit, _): &Quota| {
        let window = json!({"generic_key": {"descriptor_key": "window", "descriptor_value": unit}});
        json!({"actions": [window, client]})
    };
    quotas.iter().map(of).collect()
}

/// Starts the service, which counts in the Redis with these ports. Returns it and its own port. An error contains the
/// reason.
pub fn start(store: Store, redis: &[u16], quotas: &[Quota]) -> Result<(Process, u16), String> {
    let binary = root().join(".tools/mesh/bin/ratelimit");
    if !binary.exists() {
        return Err("not built: it needs Go (tests/mesh/build.sh ratelimit)".to_owned());
    }
    let dir = new_dir("ratelimit");
    let config = dir.join("config");
    let written = fs::create_dir_all(&config).and_then(|()| {
        let text = json!({"domain": "bench", "descriptors": descriptors(quotas)}).to_string();
        fs::write(config.join("bench.yaml"), text)
    });
    written.map_err(|error| format!("{}: {error}", config.display()))?;
    let addresses: Vec<String> = redis.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let port = free_port();
    let mut command = Command::new(binary);
    command
        .envs(["HOST", "GRPC_HOST", "DEBUG_HOST"].map(|name| (name, "127.0.0.1")))
        .envs(["PORT", "DEBUG_PORT"].map(|name| (name, free_port().to_string())))
        .env("GRPC_PORT", port.to_string())
        .env("RUNTIME_ROOT", &dir)
        .env("RUNTIME_SUBDIRECTORY", "")
        .env("RUNTIME_WATCH_ROOT", "false")
        .env("REDIS_SOCKET_TYPE", "tcp")
        .env("REDIS_URL", addresses.join(","))
        .env("REDIS_PIPELINE_WINDOW", "150us")
        .env("LOCAL_CACHE_SIZE_IN_BYTES", "67108864")
        .env("USE_STATSD", "false")
        .env("DISABLE_STATS", "true");
    if store == Store::Cluster {
        command.env("REDIS_TYPE", "CLUSTER");
    }
    let service = Process::start(command, &dir);
    wait_for("envoyproxy/ratelimit", Duration::from_secs(20), || {
        (listens(port) || service.exited().is_some()).then_some(())
    });
    match service.exited() {
        None => Ok((service, port)),
        Some(code) => {
            let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
            Err(format!("it ends with {code}: {log}"))
        }
    }
}

fn descriptors(quotas: &[Quota]) -> Value {
    let of = |(unit, requests): &Quota| {
        let limit = json!({"unit": unit, "requests_per_unit": requests});
        json!({"key": "window", "value": unit, "descriptors": [{"key": "api_key", "rate_limit": limit}]})
    };
    quotas.iter().map(of).collect()
}
