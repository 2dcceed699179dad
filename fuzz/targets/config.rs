//! The configuration: any bytes are a sound policy or an error that is short and fit for a log line.

use super::is_header_value;
use headgate_core::config::{parse, Plugin};
use headgate_core::identify::Hasher;
use headgate_core::limit::Planner;

/// In bytes: 50 errors of some 600, each with its path.
const LONGEST: usize = 64 << 10;

pub fn run(data: &[u8]) {
    match parse(data) {
        Err(errors) => {
            assert!(errors.iter().next().is_some(), "an error without a reason");
            let text = errors.to_string();
            assert!(text.len() <= LONGEST, "{} bytes", text.len());
            for line in text.lines() {
                assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
        Ok(Plugin::RedisCall { key_prefix }) => check_prefix(&key_prefix),
        Ok(Plugin::Filter(policy)) => {
            check_prefix(&policy.redis.key_prefix);
            for limit in &policy.limits {
                assert!(is_header_value(&limit.name), "{:?}", limit.name);
                assert!(!limit.name.contains(['"', '\\']), "{:?}", limit.name);
            }
            super::plan::check(&Planner::new(&policy, Hasher::new(None)), &policy, data);
        }
    }
}

fn check_prefix(prefix: &str) {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
    assert!(!prefix.is_empty() && prefix.bytes().all(fit), "{prefix:?}");
}
