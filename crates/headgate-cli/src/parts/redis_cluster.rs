//! The cluster that leads to Redis.

use super::{Names, Part};
use crate::redis_options::{Password, Redis, Tls};
use std::net::IpAddr;

/// A cluster for one Redis or for a Redis Cluster, with TLS, user and password if they are given.
pub fn redis_cluster(names: &Names, redis: &Redis) -> Part {
    let mut fields = vec![("name", Part::text(&names.redis))];
    fields.push(match redis.is_cluster {
        true => ("lb_policy", Part::text("CLUSTER_PROVIDED")),
        false => ("type", Part::text("STRICT_DNS")),
    });
    // With TLS, the timeout is longer than Envoy takes to load the filter: Envoy cannot do the TLS handshake meanwhile.
    let connect_timeout = if redis.tls.is_some() { "2s" } else { "0.5s" };
    fields.push(("dns_lookup_family", Part::text("V4_PREFERRED")));
    fields.push(("connect_timeout", Part::text(connect_timeout)));
    fields.push(("wait_for_warm_on_init", Part::template("false", &[])));
    if let Some(password) = &redis.password {
        fields.push((
            "typed_extension_protocol_options",
            login(redis.user.as_deref(), password),
        ));
    }
    if let Some(tls) = &redis.tls {
        fields.push(("transport_socket", transport_socket(tls)));
    }
    if redis.is_cluster {
        fields.push(("cluster_type", Part::template(CLUSTER_TYPE, &[])));
    }
    fields.push(("load_assignment", load_assignment(names, redis)));
    block(fields)
}

fn block(fields: Vec<(&str, Part)>) -> Part {
    Part::Map {
        fields: fields
            .into_iter()
            .map(|(key, part)| (key.to_owned(), part))
            .collect(),
        is_flow: false,
    }
}

const CLUSTER_TYPE: &str = r#"
name: envoy.clusters.redis
typed_config:
  "@type": type.googleapis.com/envoy.extensions.clusters.redis.v3.RedisClusterConfig
  cluster_refresh_rate: 1s
  cluster_refresh_timeout: 0.5s
  redirect_refresh_interval: 0.2s
  redirect_refresh_threshold: 1
  failure_refresh_threshold: 1
  host_degraded_refresh_threshold: 1
"#;

/// `auth_username` and `auth_password`. Envoy reads the password, so it is not in the configuration.
fn login(user: Option<&str>, password: &Password) -> Part {
    let source = match password {
        Password::Env(name) => ("{environment_variable: $it}", name),
        Password::File(path) => ("{filename: $it}", path),
    };
    let password = Part::template(source.0, &[("it", Part::text(source.1))]);
    let mut fields = vec![("@type", Part::text(PROTOCOL_OPTIONS))];
    if let Some(user) = user {
        let user = Part::template("{inline_string: $it}", &[("it", Part::text(user))]);
        fields.push(("auth_username", user));
    }
    fields.push(("auth_password", password));
    block(vec![("envoy.filters.network.redis_proxy", block(fields))])
}

const PROTOCOL_OPTIONS: &str =
    "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProtocolOptions";

/// TLS to Redis, with its certificate checked. All nodes of a Redis Cluster have the same names in their certificates,
/// because nodes are added and removed by address.
fn transport_socket(tls: &Tls) -> Part {
    let is_address = |name: &str| name.parse::<IpAddr>().is_ok();
    let one = |name: &String| {
        let kind = if is_address(name) { "IP_ADDRESS" } else { "DNS" };
        let fills = [("kind", Part::text(kind)), ("name", Part::text(name))];
        Part::template("{san_type: $kind, matcher: {exact: $name}}", &fills)
    };
    let names = Part::List {
        items: tls.names.iter().map(one).collect(),
        is_flow: true,
    };
    let common = Part::template(
        "validation_context:
  trusted_ca: {filename: $ca}
  match_typed_subject_alt_names: $names
",
        &[("ca", Part::text(&tls.ca)), ("names", names)],
    );
    let mut fields = vec![("@type", Part::text(TLS_CONTEXT))];
    if let Some(name) = tls.names.iter().find(|name| !is_address(name)) {
        fields.push(("sni", Part::text(name)));
    }
    fields.push(("common_tls_context", common));
    block(vec![
        ("name", Part::text("envoy.transport_sockets.tls")),
        ("typed_config", block(fields)),
    ])
}

const TLS_CONTEXT: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

fn load_assignment(names: &Names, redis: &Redis) -> Part {
    let one = |(host, port): &(String, u16)| {
        Part::template(
            "{endpoint: {address: {socket_address: {address: $host, port_value: $port}}}}",
            &[
                ("host", Part::text(host)),
                ("port", Part::number(u64::from(*port))),
            ],
        )
    };
    let endpoints = Part::List {
        items: redis.hosts.iter().map(one).collect(),
        is_flow: redis.hosts.len() == 1,
    };
    Part::template(
        "cluster_name: $name
endpoints:
- lb_endpoints: $endpoints
",
        &[("name", Part::text(&names.redis)), ("endpoints", endpoints)],
    )
}
