//! The validated policy: what the rest of the core works with. Everything in it is valid.

use super::{FilterState, KeyPart, Limit, Match, Percent};
use crate::identify::{Source, SourceKind};
use std::time::Duration;

/// The role of a configuration. Whether it is used in that role is known when the host calls: headers need the HTTP
/// filter, a new connection the guard.
#[derive(Debug, Clone, PartialEq)]
pub enum Plugin {
    Filter(Box<Policy>),
    RedisCall { key_prefix: String },
}

/// The HTTP role's whole configuration; defaults are in the contract and in [`crate::config`].
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub enabled: bool,
    pub instance: String,
    pub store: Store,
    pub redis: RedisSettings,
    pub local: LocalSettings,
    /// Never empty.
    pub identify: Vec<Source>,
    pub on_no_client: OnNoClient,
    pub on_ambiguous_client: OnAmbiguousClient,
    pub exempt: Vec<Match>,
    /// Never empty.
    pub limits: Vec<Limit>,
    pub response: ResponseSettings,
    pub verdict_cache: VerdictCacheSettings,
    pub log: LogSettings,
    pub metrics: MetricsSettings,
    pub filter_state: FilterState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Redis,
    Local,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RedisSettings {
    pub cluster: String,
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
    pub database: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LocalSettings {
    pub share: Percent,
    pub max_counters: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnNoClient {
    Allow,
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
pub struct ResponseSettings {
    pub status: u16,
    pub error_status: u16,
    /// With `{limit}`, `{remaining}`, `{retry_after}`, `{name}`.
    pub body: String,
    pub format: BodyFormat,
    pub x_ratelimit: bool,
    pub ietf: bool,
    pub reset: ResetForm,
    pub retry_after_jitter: Percent,
    pub upstream_headers: UpstreamHeaders,
    /// Of the body; `None`: by its format.
    pub content_type: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFormat {
    Text,
    ProblemJson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetForm {
    Unix,
    Delta,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamHeaders {
    Replace,
    Keep,
}

#[derive(Debug, Clone, PartialEq)]
pub struct VerdictCacheSettings {
    pub max_age: Duration,
    pub entries: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LogSettings {
    pub denials_per_second: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct MetricsSettings {
    pub enabled: bool,
    pub clients: Vec<NamedClient>,
}

/// A client with its own series.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedClient {
    pub name: String,
    pub source: String,
    pub value: NamedClientValue,
}

#[derive(Debug, Clone, PartialEq)]
pub enum NamedClientValue {
    Value(String),
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
