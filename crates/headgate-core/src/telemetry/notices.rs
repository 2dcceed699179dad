//! Log texts for the notices of a transport to Redis: what happened, and the remedy in the terms of the configuration.

use crate::redis::{Notice, Refusal};

/// The text of a notice and its effect on requests.
pub fn notice_text(notice: &Notice) -> String {
    let text = match notice {
        Notice::BreakerOpened { .. } => {
            return format!("{notice}; applying on_error until it answers again")
        }
        Notice::BreakerClosed { .. } => return format!("{notice}; it answers again"),
        Notice::Refused(refusal) => return refusal_text(*refusal),
        Notice::GuardRefuses => {
            "the redis_call guard refuses this filter's calls; applying on_error to every request. The guard is of \
             another release or has another redis.key_prefix; update the listener redis_call first"
        }
        Notice::Redirected => {
            "Redis answers MOVED: it is a Redis Cluster, and Higress's own call goes to any node and follows no redirection. \
             Load headgate.wasm in place of headgate-higress.wasm (Higress 2.2 and later), or put a proxy in front of the \
             cluster; until then on_error applies to most clients"
        }
        Notice::PasswordMissing => "Redis answers NOAUTH: it requires a password; write redis.native.password: {env: NAME}",
        Notice::NotOneCommand => "a call that was not one command has not been sent; this is a bug",
    };
    text.to_owned()
}

/// Why Higress's client refuses a call, and what to do.
pub fn refusal_text(refusal: Refusal) -> String {
    let text = match refusal {
        Refusal::UnknownCluster => {
            "the gateway has no cluster for redis.native.service. It is asked again; if it stays so, compare the name and \
             port with the service source, and a Kubernetes service that no route names needs \
             global.onlyPushRouteCluster: false"
        }
        Refusal::NoHost => {
            "redis.native.service has no host. It is asked again; if it stays so, check its endpoints, and for a Redis \
             Cluster load headgate.wasm"
        }
        Refusal::Unimplemented => "this proxy does not implement a Redis call; load headgate.wasm",
        Refusal::BadMemory => "the gateway's Redis call returned status 6; this is a bug",
        Refusal::Other(_) => return refusal.to_string(),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breakers_line_names_the_shard_the_reason_and_what_follows() {
        let shard = "127.0.0.1:7001".to_owned();
        let opened = Notice::BreakerOpened {
            shard: shard.clone(),
            failures: 5,
            reason: "\"upstream failure\"".to_owned(),
        };
        assert_eq!(
            notice_text(&opened),
            "circuit breaker opened for 127.0.0.1:7001 after 5 failures (last: \"upstream failure\"); applying \
             on_error until it answers again"
        );
        assert_eq!(
            notice_text(&Notice::BreakerClosed { shard }),
            "circuit breaker closed for 127.0.0.1:7001; it answers again"
        );
    }

    #[test]
    fn what_is_wrong_for_good_has_its_remedy() {
        for (notice, remedy) in [
            (Notice::GuardRefuses, "update the listener redis_call first"),
            (
                Notice::Redirected,
                "Load headgate.wasm in place of headgate-higress.wasm",
            ),
            (
                Notice::PasswordMissing,
                "write redis.native.password: {env: NAME}",
            ),
            (Notice::NotOneCommand, "not one command"),
            (Notice::Refused(Refusal::UnknownCluster), "onlyPushRouteCluster"),
            (Notice::Refused(Refusal::NoHost), "has no host"),
            (Notice::Refused(Refusal::Unimplemented), "load headgate.wasm"),
            (Notice::Refused(Refusal::Other(7)), "status 7"),
        ] {
            let text = notice_text(&notice);
            assert!(text.contains(remedy), "{notice:?}: {text}");
        }
    }
}
