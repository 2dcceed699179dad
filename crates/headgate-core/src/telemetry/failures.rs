//! Why requests are not counted, as far as the module can know, and where operators find more.
//!
//! Envoy's `redis_proxy` gives no reasons: every failure between it and a node reads `upstream failure` or, if it knows
//! no node, `no upstream host`. The details are in Envoy's admin interface, so the log names the possible causes and
//! the statistics that distinguish them.

use crate::redis::guard::is_refusal;
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
        known(text).map_or(FailureKind::Answer, |(_, _, kind)| *kind)
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

/// Error replies: how they begin, their label in metrics, and their kind.
const ANSWERS: [(&str, &str, FailureKind); 15] = [
    ("NOAUTH", "noauth", FailureKind::Login),
    ("WRONGPASS", "wrongpass", FailureKind::Login),
    ("NOPERM", "noperm", FailureKind::Rights),
    // Redis up to 7.0, of a command or a key of the script.
    (
        "ERR The user executing the script can't",
        "noperm",
        FailureKind::Rights,
    ),
    ("upstream ", "upstream_failure", FailureKind::Connection),
    (NO_UPSTREAM_HOST, "no_upstream_host", FailureKind::NoHost),
    ("MOVED ", "moved", FailureKind::Redirection),
    ("ASK ", "ask", FailureKind::Redirection),
    ("OOM", "oom", FailureKind::Answer),
    ("LOADING", "loading", FailureKind::Answer),
    ("READONLY", "readonly", FailureKind::Answer),
    ("MISCONF", "misconf", FailureKind::Answer),
    ("BUSY", "busy", FailureKind::Answer),
    ("CLUSTERDOWN", "clusterdown", FailureKind::Answer),
    ("MASTERDOWN", "masterdown", FailureKind::Answer),
];
const NO_UPSTREAM_HOST: &str = "no upstream host";

fn known(text: &str) -> Option<&'static (&'static str, &'static str, FailureKind)> {
    ANSWERS.iter().find(|(start, ..)| text.starts_with(start))
}

/// The label of an error reply in `headgate_redis_errors_total`; `None`: the failure is no reply.
pub fn answer_label(error: &GroupError) -> Option<&'static str> {
    let text = match error {
        GroupError::Redis(text) => text,
        GroupError::Call(CallError::TooEarly) => NO_UPSTREAM_HOST,
        GroupError::Call(_) | GroupError::TimedOut => return None,
    };
    Some(match known(text) {
        Some((_, label, _)) => label,
        None if is_refusal(text.as_bytes()) => "refused",
        None => "other",
    })
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
    fn each_error_reply_has_a_label_and_other_failures_have_none() {
        let label = |text: &str| answer_label(&GroupError::Redis(text.into()));
        for (text, expected) in [
            ("NOAUTH Authentication required.", "noauth"),
            ("WRONGPASS invalid username-password pair", "wrongpass"),
            ("NOPERM this user has no permissions", "noperm"),
            (
                "ERR The user executing the script can't run this command or subcommand script: 9b",
                "noperm",
            ),
            ("upstream failure", "upstream_failure"),
            ("no upstream host", "no_upstream_host"),
            ("MOVED 16383 localhost:7001", "moved"),
            ("OOM command not allowed", "oom"),
            (
                "ERR unknown command 'headgate-refused-EVALSHA', with args",
                "refused",
            ),
            ("ERR anything", "other"),
            ("", "other"),
        ] {
            assert_eq!(label(text), Some(expected), "{text}");
        }
        let too_early = GroupError::Call(CallError::TooEarly);
        assert_eq!(answer_label(&too_early), Some("no_upstream_host"));
        for other in [
            GroupError::TimedOut,
            GroupError::Call(CallError::BreakerOpen),
            GroupError::Call(CallError::Lost),
        ] {
            assert_eq!(answer_label(&other), None, "{other:?}");
        }
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
