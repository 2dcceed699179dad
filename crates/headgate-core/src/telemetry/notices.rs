//! The log lines of what a transport to Redis notices.

use crate::redis::Notice;

/// The line of a notice, with what it means for requests.
pub fn notice_line(notice: &Notice) -> String {
    match notice {
        Notice::BreakerOpened { .. } => {
            format!("headgate: {notice}; on_error decides for its callers until it answers again")
        }
        Notice::BreakerClosed { .. } => format!("headgate: {notice}: it counts again"),
        Notice::GuardRefuses => {
            "headgate: the redis_call guard refuses this filter's calls, and on_error decides for every caller: the \
             guard is of another release, or has another redis.key_prefix; update the listener redis_call first"
                .to_owned()
        }
    }
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
            notice_line(&opened),
            "headgate: circuit breaker opened for 127.0.0.1:7001 after 5 failure(s), the last: \"upstream failure\"; \
             on_error decides for its callers until it answers again"
        );
        assert_eq!(
            notice_line(&Notice::BreakerClosed { shard }),
            "headgate: circuit breaker closed for 127.0.0.1:7001: it counts again"
        );
        let refuses = notice_line(&Notice::GuardRefuses);
        assert!(refuses.starts_with("headgate: the redis_call guard refuses this filter's calls"));
    }
}
