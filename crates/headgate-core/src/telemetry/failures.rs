//! Why requests are not counted, as far as the module can know, and where operators find more.
//!
//! Envoy's `redis_proxy` gives no reasons: every failure between it and a node reads `upstream failure` or, if it knows
//! no node, `no upstream host`. The details are in Envoy's admin interface, so the log names the possible causes and
//! the statistics that distinguish them.

use crate::redis::CallError;
use crate::results::GroupError;

/// The kinds of failures. Each has its own log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Redis requires a password, or another one.
    Login,
    /// The user's ACL does not allow what the script does.
    Rights,
    /// Envoy's connection to a node fails.
    Connection,
    /// Envoy knows no node.
    NoHost,
    /// A redirection that was not followed.
    Redirection,
    /// Any other error from Redis.
    Answer,
    /// The reply did not arrive within `redis.timeout`.
    Silence,
    /// The circuit breaker is open: a consequence of earlier failures.
    BreakerOpen,
    /// `redis.max_in_flight` is reached.
    TooManyInFlight,
    /// Envoy does not open the stream.
    NoCluster,
    /// The stream does not stay open.
    Stream,
    /// Envoy's shared data cannot be written.
    Local,
}

impl FailureKind {
    /// The kind of this error.
    pub fn of(error: &GroupError) -> FailureKind {
        match error {
            GroupError::Redis(text) => FailureKind::of_answer(text),
            GroupError::TimedOut => FailureKind::Silence,
            GroupError::Call(error) => match error {
                CallError::TooManyInFlight => FailureKind::TooManyInFlight,
                CallError::BreakerOpen => FailureKind::BreakerOpen,
                CallError::TooEarly => FailureKind::NoHost,
                CallError::NoCluster => FailureKind::NoCluster,
                CallError::Unavailable | CallError::Lost | CallError::Closed(_) => FailureKind::Stream,
                CallError::Unintelligible => FailureKind::Answer,
            },
        }
    }

    fn of_answer(text: &str) -> FailureKind {
        const KINDS: [(&str, FailureKind); 8] = [
            ("NOAUTH", FailureKind::Login),
            ("WRONGPASS", FailureKind::Login),
            ("NOPERM", FailureKind::Rights),
            ("upstream ", FailureKind::Connection),
            ("no upstream host", FailureKind::NoHost),
            ("MOVED ", FailureKind::Redirection),
            ("ASK ", FailureKind::Redirection),
            ("", FailureKind::Answer),
        ];
        let fits = |(start, _): &&(&str, FailureKind)| text.starts_with(start);
        KINDS
            .iter()
            .find(fits)
            .map_or(FailureKind::Answer, |(_, kind)| *kind)
    }

    /// What to check; empty: the error is enough. `cluster`: the cluster of the stream, as in the policy; `None` for
    /// another transport, as the advice is about streams and `redis_proxy`.
    pub fn advice(self, cluster: Option<&str>) -> String {
        let Some(cluster) = cluster else {
            return String::new();
        };
        match self {
            FailureKind::Login => LOGIN.to_owned(),
            FailureKind::Rights => RIGHTS.to_owned(),
            FailureKind::Connection => format!("{CONNECTION}; {FIGURES}, upstream_rq_timeout"),
            FailureKind::NoHost => format!(
                "{NO_HOST}; {FIGURES}, upstream_commands.*.failure, membership_total; and Envoy's own warnings in \
                 this log"
            ),
            FailureKind::Redirection => REDIRECTION.to_owned(),
            FailureKind::Silence => format!("{SILENCE}; {FIGURES}"),
            FailureKind::NoCluster => format!(
                "redis.cluster names the upstream cluster {cluster:?}, which this Envoy does not have; /clusters in its admin \
                 interface lists the ones that it has"
            ),
            FailureKind::Stream => format!(
                "see the upstream cluster {cluster:?}, its internal listener and the filter headgate-redis-call there: \
                 /clusters and /listeners in Envoy's admin interface, and errors above in this log"
            ),
            FailureKind::Answer | FailureKind::BreakerOpen | FailureKind::TooManyInFlight | FailureKind::Local => String::new(),
        }
    }
}

const LOGIN: &str = "Envoy sends no password or a wrong one: see auth_username and auth_password in the \
                     RedisProtocolOptions of the cluster behind redis_proxy";
const RIGHTS: &str = "the user of auth_username lacks a right: envoy/redis-users.acl has all that it needs";
const CONNECTION: &str =
    "Envoy's connection to the node fails: Redis is down or frozen, a wrong port, TLS on one side \
                          only, or a certificate that is not trusted";
const NO_HOST: &str = "Envoy knows no node of Redis: it is unreachable, a wrong port, a name that does not resolve, TLS \
                       on one side only, a certificate that is not trusted, a wrong password, a Redis that is no cluster, \
                       or a Redis Cluster that announces no address (of one node: set cluster-announce-ip)";
const REDIRECTION: &str =
    "redis_proxy does not follow it: it needs enable_redirection and, where the nodes announce \
                           names (cluster-announce-hostname), dns_cache_config";
const SILENCE: &str =
    "Redis or the network is slow or frozen, packets are dropped, or Envoy speaks TLS to a plain port";
const FIGURES: &str = "in Envoy's admin interface see /clusters, and in /stats the Redis cluster's \
                       upstream_cx_connect_fail, upstream_cx_connect_timeout, ssl.connection_error, ssl.fail_verify_*";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_redis_and_its_proxy_are_classified_by_prefix() {
        for (text, kind) in [
            ("NOAUTH Authentication required.", FailureKind::Login),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                FailureKind::Login,
            ),
            (
                "NOPERM User headgate has no permissions to run the 'hget' command",
                FailureKind::Rights,
            ),
            ("upstream failure", FailureKind::Connection),
            ("no upstream host", FailureKind::NoHost),
            ("MOVED 16383 localhost:7001", FailureKind::Redirection),
            ("ASK 1 localhost:7001", FailureKind::Redirection),
            ("OOM command not allowed", FailureKind::Answer),
            ("", FailureKind::Answer),
        ] {
            assert_eq!(FailureKind::of(&GroupError::Redis(text.into())), kind, "{text}");
        }
        assert_eq!(FailureKind::of(&GroupError::TimedOut), FailureKind::Silence);
        assert_eq!(
            FailureKind::of(&GroupError::Call(CallError::Closed(14))),
            FailureKind::Stream
        );
    }

    #[test]
    fn advice_names_the_policys_cluster() {
        for kind in [FailureKind::NoCluster, FailureKind::Stream] {
            assert!(
                kind.advice(Some("somewhere")).contains("\"somewhere\""),
                "{kind:?}"
            );
            assert_eq!(kind.advice(None), "", "{kind:?}");
        }
    }
}
