//! The counting script: what is sent to Redis for one group of limits, and what comes back.
//!
//! The script decides; this module only encodes calls and decodes replies. The transport sends them.

mod arguments;
mod live;
mod reply;

pub use arguments::{arguments, call, Mode};
pub use live::LiveQuota;
#[cfg(test)]
pub(crate) use reply::packed;
pub use reply::{ReplyError, ScriptReply};

use crate::redis::Script;

/// A script that `build.rs` made or found: its text, and that text's SHA-1.
macro_rules! script {
    ($name:literal) => {
        Script {
            body: include_str!(concat!(env!("OUT_DIR"), "/", $name, ".lua")),
            sha1_hex: include_str!(concat!(env!("OUT_DIR"), "/", $name, ".sha1")),
        }
    };
}

/// `counting.lua` line for line, without comments and indentation: this release's script.
const CURRENT: Script = script!("counting");

/// The script of the release before this one, for the guard: during a rolling upgrade both are in use.
const PREVIOUS: Script = script!("0.1.0");

/// A stand-in for the script of the next release: another body. For tests of upgrades.
const NEXT: Script = script!("next");

/// The scripts that the guard accepts: this release's, which is called, and the previous release's.
pub const ACCEPTED: &[Script] = &[CURRENT, PREVIOUS];

/// The same of the next release: its script, and this release's. For tests of upgrades.
pub const NEXT_ACCEPTED: &[Script] = &[NEXT, CURRENT];

/// The Lua text, for EVAL.
pub fn body() -> &'static str {
    CURRENT.body
}

/// The script's name for EVALSHA: the SHA-1 of its body in 40 lower-case hex digits.
pub fn sha1_hex() -> &'static str {
    CURRENT.sha1_hex
}

/// The commands that the script calls. Redis checks them against the user's ACL as well.
pub const COMMANDS: &[&str] = &[
    "GETRANGE", "HGETALL", "HMGET", "HSET", "PERSIST", "PEXPIRE", "PTTL", "SET", "SETRANGE", "TIME",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::algorithm::{EXACT, LEASE_NEEDS, MAX_LOG};
    use crate::limit::{Algorithm, Charge, Group, Period, Rate, MAX_LIMIT};
    use std::collections::BTreeSet;

    const SOURCE: &str = include_str!("counting.lua");

    /// The commands in the Lua text: every `call('NAME'`.
    fn called() -> BTreeSet<&'static str> {
        body()
            .split("call('")
            .skip(1)
            .filter_map(|rest| rest.split('\'').next())
            .collect()
    }

    /// A group with this many counters of one hash.
    pub(super) fn group(charges: usize) -> Group {
        let period = Period::from_millis(60_000).unwrap();
        Group {
            keys: vec![b"hash".to_vec()],
            charges: (0..charges)
                .map(|limit| Charge {
                    limit,
                    matched: None,
                    key: 0,
                    field: format!("{limit}:counter:60000").into(),
                    algorithm: Algorithm::SlidingWindowCounter,
                    rate: Rate { limit: 10, period },
                    cost: 1,
                    charged_on_response: false,
                    enforced: true,
                    phase_ms: 0,
                    live: None,
                })
                .collect(),
        }
    }

    #[test]
    fn the_list_of_commands_is_what_the_script_calls() {
        assert_eq!(called(), COMMANDS.iter().copied().collect());
        assert!(COMMANDS.is_sorted());
        let every_call = body().matches("call(").count();
        assert_eq!(
            every_call,
            body().matches("call('").count(),
            "a call of a name in a variable"
        );
    }

    #[test]
    fn every_key_that_the_script_touches_is_one_of_its_keys() {
        let elsewhere = |rest: &&str| !rest.starts_with("TIME')") && !rest.contains("', KEYS[");
        let calls = body().split("call('").skip(1);
        let first_lines = calls.filter_map(|rest| rest.lines().next());
        assert_eq!(
            first_lines.filter(elsewhere).collect::<Vec<_>>(),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn the_script_has_the_bounds_of_the_algorithms() {
        for bound in [
            format!("form == LOG and {MAX_LOG} or {MAX_LIMIT}, floor({EXACT} / period)"),
            format!("math.min(level + (skipped + back) * limit, {EXACT})"),
            format!("math.min(2 * full - period, {EXACT})"),
            format!("math.min(count, floor({EXACT} / period))"),
            format!("math.min(current, floor({EXACT} / period))"),
            format!("later == 1 and 1 or {LEASE_NEEDS} * cost"),
        ] {
            assert!(SOURCE.contains(&bound), "{bound}");
        }
    }

    /// Words (with their field's dot), numbers, strings and signs; not spaces and comments.
    fn tokens(line: &str) -> Vec<String> {
        let pattern = r"'[^']*'|--.*|\d[\w.]*|\.\.|\.?\w+|\S";
        let all = regex_lite::Regex::new(pattern).unwrap();
        let all = all.find_iter(line).map(|token| token.as_str().to_owned());
        all.filter(|token| !token.starts_with("--")).collect()
    }

    #[test]
    fn the_body_is_the_source_line_for_line_without_comments() {
        let code = |text: &str| text.lines().map(tokens).collect::<Vec<_>>();
        let source = code(SOURCE);
        assert_eq!(code(body())[..source.len()], source);
        let lines = body().lines().take(source.len());
        let changed = lines.zip(SOURCE.lines()).filter(|(line, of)| !of.contains(line));
        assert_eq!(changed.count(), 0, "but for its ends a line stays as it is");
        assert!(!body().contains("  local ") && !body().contains("--  "));
    }

    #[test]
    fn the_release_before_this_one_is_0_1_0_as_it_was_shipped() {
        let names = ACCEPTED.iter().map(|script| script.sha1_hex);
        let before: Vec<&str> = names.filter(|name| *name != sha1_hex()).collect();
        assert_eq!(before, ["510402e5672f625ef75c23779a2ea46b193b94d0"]);
    }

    #[test]
    fn the_clock_is_read_at_one_place() {
        assert_eq!(body().matches("TIME'").count(), 1);
        assert_eq!(body().matches("redis.call('TIME')").count(), 1);
    }

    #[test]
    fn the_script_leaves_no_globals_and_makes_no_closures() {
        // `local` at every first assignment is Redis's own check; functions would be created by every call.
        assert!(!body().contains("function"));
        assert!(!body().contains("_G"));
    }
}
