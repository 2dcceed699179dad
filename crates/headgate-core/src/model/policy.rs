//! The validated policy: what the rest of the core works with. Everything in it is valid.

use super::{FilterState, KeyPart, Limit, Match, Percent};
use crate::identify::{Source, SourceKind};
use std::time::Duration;

/// The role of a configuration. Whether it is used in that role is known when the host calls: headers need the HTTP
/// filter, a new connection the guard.
#[derive(Debug, Clone, PartialEq)]
pub enum Plugin {
    /// The HTTP filter, with its policy.
    Filter(Box<Policy>),
    /// The guard in front of Redis.
    RedisCall {
        /// What keys must begin with, without the colon.
        key_prefix: String,
    },
}

/// The HTTP role's whole configuration; defaults are in the contract and in [`crate::config`].
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// `false`: requests pass as if the filter were absent.
    pub enabled: bool,
    /// The name of this instance in keys and metrics.
    pub instance: String,
    /// Where counters are stored.
    pub store: Store,
    /// How Redis is reached.
    pub redis: RedisSettings,
    /// Bounds of the counters in Envoy's memory.
    pub local: LocalSettings,
    /// Never empty.
    pub identify: Vec<Source>,
    /// What happens to a request that no source identifies.
    pub on_no_client: OnNoClient,
    /// What happens to a request with several values for a source.
    pub on_ambiguous_client: OnAmbiguousClient,
    /// Requests that fit one of these are neither limited nor counted.
    pub exempt: Vec<Match>,
    /// Never empty.
    pub limits: Vec<Limit>,
    /// What a refused caller gets, and which headers others get.
    pub response: ResponseSettings,
    /// Bounds of the verdict cache.
    pub verdict_cache: VerdictCacheSettings,
    /// Log lines of denials.
    pub log: LogSettings,
    /// The metrics.
    pub metrics: MetricsSettings,
    /// Which values of filter state are written.
    pub filter_state: FilterState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
/// Where counters are stored.
pub enum Store {
    /// In Redis.
    Redis,
    /// In Envoy's memory, shared by its workers.
    Local,
}

#[derive(Debug, Clone, PartialEq)]
/// How Redis is reached.
pub struct RedisSettings {
    /// The Envoy cluster that leads to the guard.
    pub cluster: String,
    /// What keys begin with, without the colon.
    pub key_prefix: String,
    /// How long a request may wait for its count; 1 ms to 10 s.
    pub timeout: Duration,
    /// The largest number of calls in flight, for each worker.
    pub max_in_flight: usize,
    /// Used instead of the cluster, on Higress.
    pub native: Option<NativeSettings>,
}

/// Redis by the gateway's own client.
#[derive(Debug, Clone, PartialEq)]
pub struct NativeSettings {
    /// The gateway's name for the service.
    pub cluster: String,
    /// Empty: the default user.
    pub username: String,
    /// The environment variable that holds the password.
    pub password_env: Option<String>,
    /// The number of the database, 0 to 9,999.
    pub database: u32,
}

#[derive(Debug, Clone, PartialEq)]
/// Bounds of the counters in Envoy's memory.
pub struct LocalSettings {
    /// The share of each quota that this Envoy grants without Redis.
    pub share: Percent,
    /// The largest number of counters, 1 to 10,000,000. Beyond it counters are evicted.
    pub max_counters: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
/// What happens to a request that no source identifies, if a limit with the client in its key would apply.
pub enum OnNoClient {
    /// Such limits do not apply.
    Allow,
    /// The request is refused with 403.
    Deny,
}

/// What happens to a request with several values for a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnAmbiguousClient {
    /// The source is skipped, and the next one decides.
    Next,
    /// The answer is 400 if a limit with the client in its key applies.
    Deny,
}

#[derive(Debug, Clone, PartialEq)]
/// What a refused caller gets, and which headers others get.
pub struct ResponseSettings {
    /// The HTTP status of a denial.
    pub status: u16,
    /// The HTTP status if a request is refused because it could not be counted.
    pub error_status: u16,
    /// With `{limit}`, `{remaining}`, `{retry_after}`, `{name}`.
    pub body: String,
    /// The format of the body.
    pub format: BodyFormat,
    /// Whether X-RateLimit-* are sent.
    pub x_ratelimit: bool,
    /// Whether the headers of the IETF draft are sent.
    pub ietf: bool,
    /// The form of X-RateLimit-Reset.
    pub reset: ResetForm,
    /// The largest random addition to Retry-After, as a share of it.
    pub retry_after_jitter: Percent,
    /// What happens to quota headers of the upstream.
    pub upstream_headers: UpstreamHeaders,
    /// Of the body; `None`: by its format.
    pub content_type: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
/// The format of the body of a refusal.
pub enum BodyFormat {
    /// The body as configured.
    Text,
    /// RFC 9457.
    ProblemJson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
/// The form of X-RateLimit-Reset.
pub enum ResetForm {
    /// Unix time, in seconds.
    Unix,
    /// Seconds from now.
    Delta,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
/// What happens to X-RateLimit-* in the upstream's response.
pub enum UpstreamHeaders {
    /// The filter's own replace them.
    Replace,
    /// They reach the caller.
    Keep,
}

#[derive(Debug, Clone, PartialEq)]
/// Bounds of the verdict cache.
pub struct VerdictCacheSettings {
    /// How long a denial is cached at most; 0: not at all.
    pub max_age: Duration,
    /// The largest number of denials, for each worker; 0: none.
    pub entries: usize,
}

#[derive(Debug, Clone, PartialEq)]
/// Log lines of denials.
pub struct LogSettings {
    /// The largest number of lines a second, for each limit; 0: none.
    pub denials_per_second: u32,
}

#[derive(Debug, Clone, PartialEq)]
/// The metrics.
pub struct MetricsSettings {
    /// Whether metrics are exported.
    pub enabled: bool,
    /// The clients with their own series. All others are `other`.
    pub clients: Vec<NamedClient>,
}

/// A client with its own series.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedClient {
    /// The client's name in metrics.
    pub name: String,
    /// The source that identifies it.
    pub source: String,
    /// The value of the source.
    pub value: NamedClientValue,
}

#[derive(Debug, Clone, PartialEq)]
/// How a client with its own series is identified.
pub enum NamedClientValue {
    /// By the value of a plain source.
    Value(String),
    /// By the hash of the value, as `headgate hash` prints it.
    Hash(crate::identify::Digest),
}

impl Policy {
    /// Whether a request with several values for a source is refused.
    pub fn refuses_ambiguous(&self) -> bool {
        self.on_ambiguous_client == OnAmbiguousClient::Deny
    }

    /// Whether values that may be secret are hashed: those of sources that are not plain, and those of headers, queries
    /// and cookies in keys.
    pub fn holds_secrets(&self) -> bool {
        let keyed =
            |part: &KeyPart| matches!(part, KeyPart::Header(_) | KeyPart::Query(_) | KeyPart::Cookie(_));
        let secret = |source: &Source| !source.plain && !matches!(source.kind, SourceKind::Address { .. });
        self.identify.iter().any(secret) || self.limits.iter().flat_map(|limit| &limit.key).any(keyed)
    }
}
