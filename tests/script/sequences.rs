//! The script against the model: random limits, calls, costs, clock steps, overrides, give backs and charges; every
//! decision, N, remaining, reset and wait must be the same.
//!
//! 500 sequences for each algorithm; the ignored tests run 10,000.

use crate::server::{text, texts, Client, Server};
use crate::traffic::{
    any_algorithm, asked, fixed, gcra, limit, step, tick, Ask, Limit, Step, Tick, HASH, START_MS,
};
use headgate_core::limit::{Algorithm, Group};
use headgate_core::redis::resp::Value;
use headgate_core::script::{LiveQuota, Mode, ScriptReply};
use headgate_sim::model::{Marks, Model};
use headgate_sim::script::Call;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// What the test knows of the sequence while it runs.
struct Run<'c> {
    client: &'c mut Client,
    sha: &'c str,
    limits: Vec<Limit>,
    clock_us: u64,
    model: Model,
    /// The same counters, counted from the call's own bytes: what the simulated Redis does.
    wire: Model,
    /// Whether N has changed at all: a bucket that drains more slowly than when its expiry was set outlives that.
    changed: bool,
    admitted: Vec<(Group, ScriptReply, Marks)>,
}

impl Run<'_> {
    /// Calls the script; returns its reply and what it did.
    fn call(&mut self, group: &Group, mode: Mode<'_>) -> (Value, Vec<String>) {
        let (s, us) = (self.clock_us / 1_000_000, self.clock_us % 1_000_000);
        self.client
            .add(&["HSET", "clock", "s", &s.to_string(), "us", &us.to_string()]);
        self.client.add(&["DEL", "trace", "expired"]);
        self.client.add_call("EVALSHA", self.sha, group, mode);
        self.client.add(&["LRANGE", "trace", "0", "-1"]);
        self.client.add(&["LRANGE", "expired", "0", "-1"]);
        let replies = self.client.send();
        for key in texts(&replies[4]) {
            let all = asked(&self.limits, &ALL, false).expect("limits");
            let nothing = self.model.expire(key.as_bytes(), &all.charges, self.clock_us);
            assert!(nothing || self.changed, "{key} expired while it mattered");
            self.wire.expire(key.as_bytes(), &all.charges, self.clock_us);
        }
        (replies[2].clone(), texts(&replies[3]))
    }

    /// What the simulated Redis answers.
    fn simulated(&mut self, group: &Group, mode: Mode<'_>) -> ScriptReply {
        let call = Call::of(group, mode).expect("a call");
        let done = call.run(&mut self.wire, self.clock_us);
        decode(group, &Value::Bulk(Some(done.pack())))
    }

    fn set_override(&mut self, field: &str, value: Option<String>) {
        for model in [&mut self.model, &mut self.wire] {
            model.set_override(HASH.as_bytes(), field, value.clone());
        }
    }

    fn step(&mut self, (thousandths, us): Tick, step: &Step) {
        let period_us = i128::from(self.limits[0].period_ms) * 1000;
        let by = period_us * i128::from(thousandths) / 1000 + i128::from(us);
        let clock = i128::from(self.clock_us) + by;
        // Within the years that 16 digits of microseconds can represent.
        self.clock_us = clock.clamp(1_300_000_000_000_000, 5_000_000_000_000_000) as u64;
        match step {
            Step::Call(asks) | Step::Lease(asks) => {
                let lease = matches!(step, Step::Lease(_));
                let Some(group) = asked(&self.limits, asks, !lease) else {
                    return;
                };
                let mode = if lease { Mode::Lease } else { Mode::Count };
                let (value, trace) = self.call(&group, mode);
                let reply = decode(&group, &value);
                let (admitted, verdicts, marks) = self.model.count(&group, self.clock_us, lease);
                assert_eq!(reply.verdicts, verdicts, "{group:?}");
                assert_eq!(reply.admitted, admitted);
                let simulated = self.simulated(&group, mode);
                assert_eq!((simulated.admitted, simulated.verdicts), (admitted, verdicts));
                let wrote = |name: &&String| WRITES.contains(&name.as_str());
                if !admitted || marks.iter().all(Option::is_none) {
                    assert_eq!(trace.iter().filter(wrote).count(), 0, "{trace:?}");
                }
                self.overridden_hash_stays(&group);
                if admitted {
                    self.admitted.push((group, reply, marks));
                }
            }
            Step::Charge(asks) => {
                let Some(group) = asked(&self.limits, asks, false) else {
                    return;
                };
                let (value, _) = self.call(&group, Mode::Charge);
                let verdicts = self.model.charge(&group, self.clock_us);
                assert_eq!(decode(&group, &value).verdicts, verdicts, "{group:?}");
                assert_eq!(self.simulated(&group, Mode::Charge).verdicts, verdicts);
            }
            Step::GiveBack(which) => {
                if self.admitted.is_empty() {
                    return;
                }
                let (group, reply, marks) = self.admitted.remove(which % self.admitted.len());
                let (value, _) = self.call(&group, Mode::GiveBack(&reply));
                assert_eq!(value, Value::Bulk(Some(vec![1])));
                self.model.give_back(&group, self.clock_us, &marks);
                let call = Call::of(&group, Mode::GiveBack(&reply)).expect("a call");
                call.run(&mut self.wire, self.clock_us);
            }
            Step::Change(which, n) => {
                let which = which % self.limits.len();
                self.changed = true;
                self.limits[which].n = *n;
            }
            Step::Override(which, value, persist) => {
                let which = which % self.limits.len();
                let field = format!("l{which}:override");
                self.changed = true;
                match value {
                    Some(value) => {
                        self.client.run(&["HSET", HASH, &field, value]);
                        self.set_override(&field, Some(value.clone()));
                        if *persist {
                            self.client.run(&["HDEL", "expiry", HASH]);
                        }
                    }
                    None => {
                        self.client.run(&["HDEL", HASH, &field]);
                        self.set_override(&field, None);
                    }
                }
            }
        }
    }

    /// A hash with a live override that the call could see does not expire.
    fn overridden_hash_stays(&mut self, group: &Group) {
        let seen = group.charges.iter().filter_map(|charge| charge.live.as_ref());
        let holds = seen
            .filter_map(|live| self.model.live_override(HASH.as_bytes(), &live.field))
            .filter_map(|value| LiveQuota::parse(value.as_bytes()))
            .any(|quota| quota.holds(self.clock_us / 1000));
        if holds {
            assert_eq!(self.client.run(&["HGET", "expiry", HASH]), Value::Bulk(None));
        }
    }
}

const WRITES: [&str; 4] = ["HSET", "SET", "SETRANGE", "PEXPIRE"];

const ALL: [Ask; 4] = [const {
    Ask {
        matches: true,
        cost: 0,
        cheap: true,
        charged_on_response: false,
        enforced: true,
    }
}; 4];

fn decode(group: &Group, value: &Value) -> ScriptReply {
    ScriptReply::decode(group, value).unwrap_or_else(|error| match value {
        Value::Error(_) => panic!("{}", text(value)),
        _ => panic!("{error}: {value:?}"),
    })
}

/// Runs sequences whose first limit counts by the algorithm; the others by any.
fn script_and_model_agree(algorithm: impl Strategy<Value = Algorithm>, cases: u32) {
    let server = Server::start();
    let client = std::cell::RefCell::new(server.client());
    let body = include_str!("virtual_time.lua").to_owned() + headgate_core::script::body();
    let sha = text(&client.borrow_mut().run(&["SCRIPT", "LOAD", &body]));
    // The largest logs, larger: a search for what is over then goes over several reads.
    let large = |mut limit: Limit| {
        let is_large = limit.algorithm == Algorithm::SlidingWindowLog && limit.n == 40;
        limit.n = if is_large { 300 } else { limit.n };
        limit
    };
    let limits = (
        limit(algorithm).prop_map(large),
        prop::collection::vec(limit(any_algorithm()).prop_map(large), 0..4),
    );
    let steps = prop::collection::vec((tick(), step()), 1..40);
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&(limits, steps), |((first, others), steps)| {
        let mut client = client.borrow_mut();
        client.run(&["FLUSHALL"]);
        let mut run = Run {
            client: &mut client,
            sha: &sha,
            limits: [vec![first], others].concat(),
            clock_us: START_MS * 1000,
            model: Model::default(),
            wire: Model::default(),
            changed: false,
            admitted: Vec::new(),
        };
        for (tick, step) in &steps {
            run.step(*tick, step);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn fixed_windows_agree_with_their_model() {
    script_and_model_agree(fixed(), 500);
}

#[test]
#[ignore = "slow"]
fn fixed_windows_agree_with_their_model_in_10_000_sequences() {
    script_and_model_agree(fixed(), 10_000);
}

#[test]
fn sliding_window_counters_agree_with_their_model() {
    script_and_model_agree(Just(Algorithm::SlidingWindowCounter), 500);
}

#[test]
#[ignore = "slow"]
fn window_counters_agree_with_their_model_in_10_000_sequences() {
    script_and_model_agree(Just(Algorithm::SlidingWindowCounter), 10_000);
}

#[test]
fn sliding_window_logs_agree_with_their_model() {
    script_and_model_agree(Just(Algorithm::SlidingWindowLog), 500);
}

#[test]
#[ignore = "slow"]
fn window_logs_agree_with_their_model_in_10_000_sequences() {
    script_and_model_agree(Just(Algorithm::SlidingWindowLog), 10_000);
}

#[test]
fn gcra_buckets_agree_with_their_model() {
    script_and_model_agree(gcra(), 500);
}

#[test]
#[ignore = "slow"]
fn gcra_buckets_agree_with_their_model_in_10_000_sequences() {
    script_and_model_agree(gcra(), 10_000);
}
