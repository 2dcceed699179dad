//! The parts of an Envoy configuration that Headgate needs, with the same values as in the shipped `envoy/*.yaml`.
//!
//! Each function returns one [`Part`], which can be written in block style or as JSON. This module does not decide
//! where a part belongs.

mod part;
mod redis_cluster;
mod written;

pub use part::{Part, Style};
pub use redis_cluster::redis_cluster;
pub use written::written;

/// The names by which the parts refer to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The cluster whose endpoint is the guard: the policy's `redis.cluster`.
    pub redis_call: String,
    /// The guard's listener.
    pub listener: String,
    /// The cluster that leads to Redis.
    pub redis: String,
}

/// The names of the shipped configurations.
impl Default for Names {
    fn default() -> Names {
        Names {
            redis_call: "redis_call".to_owned(),
            listener: "redis_call".to_owned(),
            redis: "redis".to_owned(),
        }
    }
}

/// A module in a file, as `vm_config.code`.
pub fn module_file(path: &str) -> Part {
    Part::template("{local: {filename: $path}}", &[("path", Part::text(path))])
}

/// The HTTP filter: an element of `http_filters`.
pub fn http_filter(policy: Part, code: Part) -> Part {
    Part::template(HTTP_FILTER, &[("policy", policy), ("code", code)])
}

const HTTP_FILTER: &str = r#"
name: headgate
typed_config:
  "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
  config:
    name: headgate
    failure_policy: FAIL_RELOAD
    reload_config: {backoff: {base_interval: 0.1s, max_interval: 5s}}
    configuration:
      "@type": type.googleapis.com/google.protobuf.Struct
      value: $policy
    vm_config:
      vm_id: headgate
      runtime: envoy.wasm.runtime.v8
      code: $code
      environment_variables: {host_env_keys: [HEADGATE_HASH_KEY]}
"#;

/// The guard's network filter, which belongs before `redis_proxy`.
pub fn guard_filter(key_prefix: &str, code: Part) -> Part {
    let prefix = Part::text(key_prefix);
    Part::template(GUARD_FILTER, &[("key_prefix", prefix), ("code", code)])
}

const GUARD_FILTER: &str = r#"
name: headgate-redis-call
typed_config:
  "@type": type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm
  config:
    name: headgate-redis-call
    failure_policy: FAIL_RELOAD
    reload_config: {backoff: {base_interval: 0.1s, max_interval: 5s}}
    configuration:
      "@type": type.googleapis.com/google.protobuf.Struct
      value: {role: redis_call, redis: {key_prefix: $key_prefix}}
    vm_config:
      vm_id: headgate-redis-call
      runtime: envoy.wasm.runtime.v8
      code: $code
"#;

/// The network filter that sends commands to Redis.
pub fn redis_proxy(names: &Names) -> Part {
    Part::template(REDIS_PROXY, &[("redis", Part::text(&names.redis))])
}

const REDIS_PROXY: &str = r#"
name: envoy.filters.network.redis_proxy
typed_config:
  "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
  stat_prefix: headgate
  settings:
    op_timeout: 0.2s
    enable_redirection: true
    dns_cache_config: {name: headgate_redis, dns_lookup_family: V4_PREFERRED}
    enable_hashtagging: true
    max_buffer_size_before_flush: 0
  prefix_routes: {catch_all_route: {cluster: $redis}}
"#;

/// The internal listener with the guard. It belongs before the listeners with the filter.
pub fn guard_listener(names: &Names, key_prefix: &str, code: Part) -> Part {
    Part::template(
        GUARD_LISTENER,
        &[
            ("listener", Part::text(&names.listener)),
            ("guard", guard_filter(key_prefix, code)),
            ("redis_proxy", redis_proxy(names)),
        ],
    )
}

const GUARD_LISTENER: &str = "
name: $listener
internal_listener: {}
filter_chains:
- filters:
  - $guard
  - $redis_proxy
";

/// The cluster through which the filter reaches the guard.
pub fn redis_call_cluster(names: &Names) -> Part {
    let address = "{envoy_internal_address: {server_listener_name: $listener}}";
    let address = Part::template(address, &[("listener", Part::text(&names.listener))]);
    redis_call_cluster_at(names, address)
}

/// The same, with the guard at another address (an `envoy.config.core.v3.Address`).
pub fn redis_call_cluster_at(names: &Names, address: Part) -> Part {
    let name = Part::text(&names.redis_call);
    Part::template(REDIS_CALL, &[("name", name), ("address", address)])
}

const REDIS_CALL: &str = r#"
name: $name
type: STATIC
connect_timeout: 0.25s
upstream_config:
  name: envoy.upstreams.http.tcp
  typed_config: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.tcp.v3.TcpConnectionPoolProto}
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http2_protocol_options: {}}
circuit_breakers:
  thresholds: [{max_connections: 65536, max_pending_requests: 65536, max_requests: 65536}]
load_assignment:
  cluster_name: $name
  endpoints:
  - lb_endpoints: [{endpoint: {address: $address}}]
"#;

/// An element of `bootstrap_extensions`, without which Envoy has no internal listeners.
pub fn internal_listeners() -> Part {
    Part::template(INTERNAL_LISTENERS, &[])
}

const INTERNAL_LISTENERS: &str = r#"
name: envoy.bootstrap.internal_listener
typed_config: {"@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener}
"#;

/// The labels of Headgate's metrics.
pub const STATS_LABELS: [&str; 7] = [
    "instance", "limit", "outcome", "by", "decision", "endpoint", "client",
];

/// An element of `stats_config.stats_tags` for one of [`STATS_LABELS`].
pub fn stats_tag(label: &str) -> Part {
    let regex = Part::Scalar {
        text: format!(r"^wasmcustom\..*?(;{label}=([^;]+))"),
        style: saphyr_parser::ScalarStyle::SingleQuoted,
    };
    let fills = [("label", Part::text(label)), ("regex", regex)];
    Part::template("{tag_name: $label, regex: $regex}", &fills)
}

/// The prefix of the histogram for [`histogram_buckets`].
pub const HISTOGRAM: &str = "wasmcustom.headgate_redis_wait";

/// An element of `stats_config.histogram_bucket_settings`.
pub fn histogram_buckets() -> Part {
    Part::template(
        "match: {prefix: $prefix}
buckets: [100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 1000000]",
        &[("prefix", Part::text(HISTOGRAM))],
    )
}

/// The runtime setting in [`runtime_layer`].
pub const RUNTIME_KEY: &str = "redis.drain_close_enabled";

/// A layer of `layered_runtime`, without which `redis_proxy` closes the connection after every reply while Envoy
/// drains.
pub fn runtime_layer() -> Part {
    Part::template(
        "{name: headgate, static_layer: {redis.drain_close_enabled: 0}}",
        &[],
    )
}

/// The fields with Headgate's values for an access log in JSON.
pub fn log_fields() -> Vec<(String, Part)> {
    LOG_NAMES
        .iter()
        .map(|name| (format!("ratelimit_{name}"), log_text(&log_command(name))))
        .collect()
}

/// The values of filter state for the access log, without `ratelimit_`.
const LOG_NAMES: [&str; 10] = [
    "decision",
    "by",
    "name",
    "limit",
    "remaining",
    "reset",
    "retry_after",
    "client",
    "shadow",
    "redis_us",
];

fn log_command(name: &str) -> String {
    format!("%FILTER_STATE(wasm.ratelimit_{name}:PLAIN)%")
}

fn log_text(text: &str) -> Part {
    Part::Scalar {
        text: text.to_owned(),
        style: saphyr_parser::ScalarStyle::DoubleQuoted,
    }
}

/// The same for an access log in text, as `name=value`.
pub fn log_figures() -> String {
    let figures: Vec<String> = LOG_NAMES
        .iter()
        .map(|name| format!("{name}={}", log_command(name)))
        .collect();
    figures.join(" ")
}

/// The beginning and the end of [`log_figures`].
pub fn log_figures_ends() -> (String, String) {
    let command = |name: Option<&&str>| {
        let name = name.copied().unwrap_or_default();
        format!("{name}={}", log_command(name))
    };
    (command(LOG_NAMES.first()), command(LOG_NAMES.last()))
}

/// An element of `access_log`: JSON with Headgate's values, written to Envoy's standard output.
pub fn access_logger() -> Part {
    let mut format = Part::template(LOG_REQUEST, &[]);
    if let Part::Map { fields, .. } = &mut format {
        fields.extend(log_fields());
    }
    Part::template(ACCESS_LOGGER, &[("format", format)])
}

const ACCESS_LOGGER: &str = r#"
name: envoy.access_loggers.stdout
typed_config:
  "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
  log_format:
    json_format: $format
"#;

const LOG_REQUEST: &str = r#"
time: "%START_TIME%"
method: "%REQ(:METHOD)%"
path: "%PATH(NQ)%"
status: "%RESPONSE_CODE%"
duration_ms: "%DURATION%"
"#;

#[cfg(test)]
mod tests;
