//! The options that describe the Redis in which Envoy counts, for the subcommands that write Envoy's configuration.
//!
//! A password is never an option: Envoy reads it from its environment or from a file. This module opens no connections.

use super::Failure;
use percent_encoding::percent_decode_str;
use std::net::IpAddr;

const DEFAULT_PORT: u16 = 6379;

/// Where Envoy counts.
#[derive(clap::Args)]
pub struct RedisOptions {
    /// The Redis that counts, as redis://[USER@]HOST[:PORT], or rediss:// for TLS; with --cluster one or several nodes
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    redis: Vec<String>,
    /// Redis is a Redis Cluster: Envoy finds the other nodes through those in --redis
    #[arg(long, requires = "redis")]
    cluster: bool,
    /// The Redis user; overrides the user in the URL
    #[arg(long, value_name = "NAME", requires = "redis")]
    redis_user: Option<String>,
    /// The variable in Envoy's environment that holds the password
    #[arg(
        long,
        value_name = "NAME",
        requires = "redis",
        conflicts_with = "redis_password_file"
    )]
    redis_password_env: Option<String>,
    /// The path of the password file on the machine where Envoy runs; the file must not end with a line feed
    #[arg(long, value_name = "PATH", requires = "redis")]
    redis_password_file: Option<String>,
    /// For rediss://: the path of the certificate authority (PEM) that signed Redis's certificate, on the machine where
    /// Envoy runs
    #[arg(long, value_name = "PATH", requires = "redis")]
    ca: Option<String>,
    /// For rediss://: the name in Redis's certificate [default: the URL's host]
    #[arg(long, value_name = "NAME", requires = "redis")]
    redis_server_name: Option<String>,
}

/// A Redis, or nodes of a Redis Cluster through which Envoy finds the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// Never empty; exactly one node, unless it is a Redis Cluster.
    pub hosts: Vec<(String, u16)>,
    pub is_cluster: bool,
    pub tls: Option<Tls>,
    pub user: Option<String>,
    pub password: Option<Password>,
}

/// How Redis's certificate is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub ca: String,
    /// The certificate must have one of these names: DNS names or IP addresses. Never empty.
    pub names: Vec<String>,
}

/// Where Envoy finds the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    Env(String),
    File(String),
}

struct ParsedAddress {
    is_tls: bool,
    user: Option<String>,
    host: String,
    port: u16,
}

impl RedisOptions {
    /// The Redis that the options describe; `None` without `--redis`.
    ///
    /// # Errors
    /// If Envoy has no setting for a part of the URL, if the URL has a password, or if options contradict each other.
    pub fn read(&self) -> Result<Option<Redis>, Failure> {
        let addresses: Vec<ParsedAddress> = self
            .redis
            .iter()
            .map(|url| address(url))
            .collect::<Result<_, _>>()
            .map_err(|message| Failure::new(format!("--redis: {message}")))?;
        let Some(first) = addresses.first() else {
            return Ok(None);
        };
        if addresses.len() > 1 && !self.cluster {
            return Err(Failure::new(
                "--redis: several addresses, of which each would hold a part of the counters; give one, or add --cluster \
                 for the nodes of a Redis Cluster",
            ));
        }
        if addresses.iter().any(|one| one.is_tls != first.is_tls) {
            return Err(Failure::new(
                "--redis: redis:// and rediss:// for one cluster; write one of them for all nodes",
            ));
        }
        let user = self.redis_user.clone();
        let user = user.or_else(|| addresses.iter().find_map(|one| one.user.clone()));
        let password = match (&self.redis_password_env, &self.redis_password_file) {
            (Some(name), _) => Some(Password::Env(variable(name)?)),
            (None, Some(file)) => Some(Password::File(file.clone())),
            (None, None) => None,
        };
        if let (Some(user), None) = (&user, &password) {
            return Err(Failure::new(format!(
                "the Redis user {user} without a password, so that Envoy would not log in; add --redis-password-env NAME \
                 or --redis-password-file PATH"
            )));
        }
        Ok(Some(Redis {
            tls: self.tls(first.is_tls, &addresses)?,
            hosts: addresses.into_iter().map(|one| (one.host, one.port)).collect(),
            is_cluster: self.cluster,
            user,
            password,
        }))
    }

    fn tls(&self, is_tls: bool, addresses: &[ParsedAddress]) -> Result<Option<Tls>, Failure> {
        if !is_tls {
            let option = match (&self.ca, &self.redis_server_name) {
                (Some(_), _) => "--ca",
                (None, Some(_)) => "--redis-server-name",
                (None, None) => return Ok(None),
            };
            return Err(Failure::new(format!(
                "{option} is for TLS; write --redis rediss://…"
            )));
        }
        let Some(ca) = self.ca.clone() else {
            return Err(Failure::new(
                "rediss:// without --ca FILE: Envoy would accept every certificate; name the authority that signed \
                 Redis's, or the system's, such as /etc/ssl/certs/ca-certificates.crt",
            ));
        };
        let mut names: Vec<String> = match &self.redis_server_name {
            Some(name) => vec![name.clone()],
            None => addresses.iter().map(|one| one.host.clone()).collect(),
        };
        names.dedup();
        Ok(Some(Tls { ca, names }))
    }
}

/// Whether a text is a valid name of an environment variable.
fn variable(name: &str) -> Result<String, Failure> {
    let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match is_name {
        true => Ok(name.to_owned()),
        // Not shown: it may be the password.
        false => Err(Failure::new(
            "--redis-password-env: not the name of a variable, but perhaps a password; write its name, such as \
             HEADGATE_REDIS_PASSWORD",
        )),
    }
}

/// Reads a URL. Error messages never show a part that may be a password.
fn address(url: &str) -> Result<ParsedAddress, String> {
    const FORM: &str = "write redis://HOST:PORT or rediss://HOST:PORT";
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(format!("no redis:// in it; {FORM}"));
    };
    let is_tls = match scheme.to_ascii_lowercase().as_str() {
        "redis" => false,
        "rediss" => true,
        other => return Err(format!("{other}:// is not known; {FORM}")),
    };
    // A password may contain slashes.
    let (login, place) = rest.rsplit_once('@').unwrap_or(("", rest));
    if login.contains(':') {
        return Err(
            "a password in the URL, which would be in Envoy's configuration and its /config_dump; leave it out, and add \
             --redis-password-env NAME or --redis-password-file PATH"
                .to_owned(),
        );
    }
    let (place, tail) = place.split_once(['/', '?', '#']).unwrap_or((place, ""));
    if !["", "0"].contains(&tail) {
        return Err(format!(
            "{tail:?} behind the port: Envoy's Redis proxy knows database 0 only, and no parameters; {FORM}"
        ));
    }
    let bad_port = |port: &str| format!("{port:?} is not a port; {FORM}");
    let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err(bad_port(port)),
            Ok(port) => port,
        },
    };
    let is_name = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if !is_name && host.parse::<IpAddr>().is_err() {
        return Err(format!("{host:?} is not a host; {FORM}"));
    }
    let user = percent_decode_str(login).decode_utf8_lossy().into_owned();
    Ok(ParsedAddress {
        is_tls,
        user: Some(user).filter(|user| !user.is_empty()),
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
#[path = "redis_options_tests.rs"]
mod tests;
