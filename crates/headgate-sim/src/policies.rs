//! The policies of random histories: every algorithm, every `on_error`, every kind of cost, and one or several hash
//! tags.
//!
//! Callers send `x-api-key`, `x-cost`, and paths `/a`, `/b` and `/free`; responses have `x-tokens`.

use headgate_core::identify::Hasher;
use headgate_core::limit::Planner;
use headgate_core::model::Policy;
use std::rc::Rc;

/// The windows are short, so that a few seconds of traffic reach every edge case.
const ALL: &[&str] = &[
    r#"{"limits": [{"name": "log", "rate": "6/s"}]}"#,
    r#"{"limits": [{"name": "fixed", "rate": "8/2s", "algorithm": "fixed_window"}], "on_error": "deny"}"#,
    r#"{"limits": [{"name": "first", "rate": "5/s", "algorithm": "fixed_window", "align": "first_call"},
                   {"name": "phase", "rate": "12/3s", "algorithm": "fixed_window", "align": "client"}]}"#,
    r#"{"limits": [{"name": "counter", "rate": "10/2s", "algorithm": "sliding_window_counter"}], "on_error": "allow"}"#,
    r#"{"limits": [{"name": "bucket", "rate": "20/4s", "algorithm": "gcra", "burst": 4}]}"#,
    // Two hash tags: if one denies, the charge of the other is refunded.
    r#"{"limits": [{"name": "client", "rate": "7/s"}, {"name": "ceiling", "rate": "12/2s", "key": ["address"],
                    "algorithm": "fixed_window"}]}"#,
    r#"{"limits": [{"name": "client", "rate": "20/4s", "algorithm": "gcra", "burst": 6},
                   {"name": "ceiling", "rate": "9/s", "key": ["address"], "on_error": "deny"},
                   {"name": "host", "rate": "40/s", "key": ["host"], "algorithm": "sliding_window_counter"}]}"#,
    // Several keys with one hash tag, which need several calls while a slot moves.
    r#"{"limits": [{"name": "hash", "rate": "12/2s", "algorithm": "fixed_window"}, {"name": "log", "rate": "8/s"},
                   {"name": "path", "rate": "5/s", "key": ["client", "path"], "on_error": "deny"}]}"#,
    r#"{"limits": [{"name": "shadow", "rate": "3/s", "enforce": false}, {"name": "hidden", "rate": "9/s", "expose": false},
                   {"name": "half", "rate": "6/s", "enforce": "50%", "on_error": "allow"}], "exempt": [{"path": "/free"}]}"#,
    // Leases.
    r#"{"limits": [{"name": "fixed", "rate": "200/2s", "algorithm": "fixed_window", "lease": "20%"}]}"#,
    r#"{"limits": [{"name": "log", "rate": "100/2s", "algorithm": "sliding_window_log", "lease": "25%"}]}"#,
    r#"{"limits": [{"name": "counter", "rate": "150/2s", "algorithm": "sliding_window_counter", "lease": "10%"}],
        "on_error": "deny"}"#,
    r#"{"limits": [{"name": "bucket", "rate": "100/2s", "algorithm": "gcra", "burst": 60, "lease": "20%"},
                   {"name": "ceiling", "rate": "500/s", "key": ["address"], "algorithm": "fixed_window", "lease": "10%"}]}"#,
    r#"{"limits": [{"name": "mixed", "rate": "120/2s", "algorithm": "fixed_window", "lease": "20%"},
                   {"name": "path", "rate": "30/s", "key": ["client", "path"], "match": {"path": "/b"}}]}"#,
    // Costs.
    r#"{"limits": [{"name": "cost", "rate": "20/2s", "algorithm": "fixed_window",
                    "cost": {"header": "x-cost", "max": 20}}, {"name": "log", "rate": "9/s", "cost": 2}]}"#,
    r#"{"limits": [{"name": "tokens", "rate": "30/2s", "algorithm": "sliding_window_counter",
                    "cost": {"response_header": "x-tokens", "max": 30}}]}"#,
    r#"{"limits": [{"name": "tokens", "rate": "30/2s", "algorithm": "gcra", "burst": 10, "on_error": "deny",
                    "cost": {"response_header": "x-tokens", "min": 1, "max": 10}},
                   {"name": "ceiling", "rate": "15/s", "key": ["address"]}]}"#,
    r#"{"limits": [{"name": "tokens", "rate": "40/2s", "algorithm": "fixed_window",
                    "cost": {"response_header": "x-tokens", "max": 9}},
                   {"name": "calls", "rate": "10/s"}], "local": {"share": "50%"}}"#,
    // Bounds of a worker: calls in flight, timeout, cache and local counters.
    r#"{"limits": [{"name": "log", "rate": "9/s"}], "redis": {"max_in_flight": 3}}"#,
    r#"{"limits": [{"name": "log", "rate": "9/s", "on_error": "deny"}], "redis": {"timeout": "20ms"},
        "verdict_cache": {"max_age": "0s"}}"#,
    r#"{"limits": [{"name": "fixed", "rate": "9/2s", "algorithm": "fixed_window"}], "redis": {"timeout": "400ms"},
        "verdict_cache": {"max_age": "200ms", "entries": 2}, "local": {"max_counters": 4}}"#,
    // Live overrides, refusals, and counters without Redis.
    r#"{"limits": [{"name": "live", "rate": "10/2s", "overrides": [{"from": "redis"}]},
                   {"name": "free", "rate": "unlimited", "overrides": [{"from": "redis"}, {"cidr": "192.0.2.1/32", "rate": "4/s"}]}]}"#,
    r#"{"limits": [{"name": "user", "rate": "6/s"}], "identify": [{"header": "x-api-key"}], "on_no_client": "deny",
        "on_ambiguous_client": "deny"}"#,
    r#"{"limits": [{"name": "all", "rate": "9/s"}, {"name": "b", "rate": "4/s", "match": {"path": "/b"}, "replaces": "all"}]}"#,
    r#"{"limits": [{"name": "local", "rate": "7/s"}, {"name": "path", "rate": "5/2s", "key": ["client", "path"]}], "store": "local"}"#,
];

/// A policy and its planner.
#[derive(Clone)]
pub struct CompiledPolicy {
    /// The policy.
    pub policy: Rc<Policy>,
    /// Its planner.
    pub planner: Rc<Planner>,
}

thread_local! {
    static COMPILED: Vec<CompiledPolicy> = ALL.iter().map(|json| compile(json)).collect();
}

fn compile(json: &str) -> CompiledPolicy {
    let policy = Rc::new(headgate_core::fixtures::policy(json));
    let planner = Rc::new(Planner::new(&policy, Hasher::new(None).remembering()));
    CompiledPolicy { policy, planner }
}

/// The number of policies.
pub const COUNT: usize = ALL.len();

/// The policy with this index, modulo [`COUNT`].
pub fn policy(index: usize) -> Rc<Policy> {
    COMPILED.with(|all| Rc::clone(&all[index % COUNT].policy))
}

/// The planner of a policy. It is created if the policy is not one of these.
pub fn planner(policy: &Rc<Policy>) -> Rc<Planner> {
    let known = COMPILED.with(|all| {
        let is = |compiled: &&CompiledPolicy| Rc::ptr_eq(&compiled.policy, policy);
        all.iter().find(is).map(|compiled| Rc::clone(&compiled.planner))
    });
    known.unwrap_or_else(|| Rc::new(Planner::new(policy, Hasher::new(None).remembering())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_valid() {
        for index in 0..COUNT {
            assert!(!policy(index).limits.is_empty());
        }
    }
}
