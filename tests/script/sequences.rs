//! The script against the model: random limits, calls, costs, clock steps, overrides, give backs and charges; every
//! decision, N, remaining, reset and wait must be the same.
//!
//! 500 sequences for each algorithm; the ignored tests run 10,000.

use crate::model::{Marks, Model};
use crate::server::{text, texts, Client, Server};
use headgate::limit::algorithm::EXACT;
use headgate::limit::{Algorithm, Align, Charge, Group, LiveOverride, Period, Rate};
use headgate::redis::resp::Value;
use headgate::redis::HashSlot;
use headgate::script::{LiveQuota, Mode, Reply};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const HASH: &str = "ratelimit:main:{api_key:k}";

#[derive(Debug, Clone)]
struct Limit {
    algorithm: Algorithm,
    n: u64,
    period_ms: u64,
    phase_ms: u64,
    /// In a hash of its own.
    own_key: bool,
    /// `Some(true)`: unlimited without a live override.
    live: Option<bool>,
}

/// What one call asks of one limit.
#[derive(Debug, Clone)]
struct Ask {
    matches: bool,
    /// In 256ths of N + 1, so that it fits any N.
    cost: u8,
    cheap: bool,
    later: bool,
    enforced: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Call(Vec<Ask>),
    Charge(Vec<Ask>),
    /// Of which admitted call; each is given back once.
    GiveBack(usize),
    /// Which limit, and what its N becomes.
    Change(usize, u64),
    /// Of which limit, to what; and whether the hash is made to stay, as the command does it, or that is left to the
    /// script.
    Override(usize, Option<String>, bool),
}

/// How the clock moves before a step, in thousandths of the first limit's period, and in µs besides.
type Tick = (i64, i64);

fn limit(algorithm: impl Strategy<Value = Algorithm>) -> impl Strategy<Value = Limit> {
    // Small numbers, where every edge is met, and the largest that arithmetic has to bear.
    let rate = prop_oneof![
        4 => (0_u64..7, prop_oneof![Just(1_000_u64), Just(1_001), Just(1_500), Just(3_000), Just(60_000)]),
        1 => (1_000_u64..=366 * 86_400_000, 0_u64..3)
            .prop_map(|(period, below)| ((EXACT / period).min(1_000_000_000) - below, period)),
    ];
    (
        algorithm,
        rate,
        0_u64..1_000,
        prop::bool::weighted(0.2),
        prop_oneof![3 => Just(None), 1 => Just(Some(false)), 1 => Just(Some(true))],
    )
        .prop_map(|(algorithm, (n, period_ms), phase_ms, own_key, live)| Limit {
            algorithm: match algorithm {
                Algorithm::Gcra { burst } if period_ms > 60_000 => Algorithm::Gcra {
                    burst: burst.min(EXACT / period_ms),
                },
                other => other,
            },
            n: if algorithm == Algorithm::SlidingWindowLog {
                n.min(40)
            } else {
                n
            },
            period_ms,
            phase_ms,
            own_key,
            live,
        })
}

fn any_algorithm() -> impl Strategy<Value = Algorithm> {
    prop_oneof![
        fixed(),
        Just(Algorithm::SlidingWindowCounter),
        Just(Algorithm::SlidingWindowLog),
        gcra()
    ]
}

fn fixed() -> impl Strategy<Value = Algorithm> {
    prop_oneof![Just(Align::Epoch), Just(Align::FirstCall), Just(Align::Client)]
        .prop_map(|align| Algorithm::FixedWindow { align })
}

fn gcra() -> impl Strategy<Value = Algorithm> {
    (0_u64..6).prop_map(|burst| Algorithm::Gcra { burst })
}

fn ask() -> impl Strategy<Value = Ask> {
    (
        prop::bool::weighted(0.9),
        any::<u8>(),
        prop::bool::weighted(0.7),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.8),
    )
        .prop_map(|(matches, cost, cheap, later, enforced)| Ask {
            matches,
            cost,
            cheap,
            later,
            enforced,
        })
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    prop::collection::vec(ask(), 4)
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![
        2 => Just(None),
        4 => (0_u64..8).prop_map(|n| Some(n.to_string())),
        2 => Just(Some("unlimited".to_owned())),
        1 => Just(Some("99999999999999999999".to_owned())),
        2 => (0_u64..8, 0_u64..4).prop_map(|(n, s)| Some(format!("{n} {}", START_MS + s * 1_000))),
        1 => prop::sample::select(vec!["", "-1", "x", "5 ", "5 6 7", "0x9", "1e2", "unlimited now"])
            .prop_map(|text| Some(text.to_owned())),
    ];
    prop_oneof![
        16 => asks().prop_map(Step::Call),
        1 => asks().prop_map(Step::Charge),
        2 => any::<usize>().prop_map(Step::GiveBack),
        1 => (any::<usize>(), 0_u64..9).prop_map(|(limit, n)| Step::Change(limit, n)),
        1 => (any::<usize>(), value, any::<bool>())
            .prop_map(|(limit, value, persist)| Step::Override(limit, value, persist)),
    ]
}

fn tick() -> impl Strategy<Value = Tick> {
    let thousandths = prop_oneof![
        6 => Just(0_i64),
        6 => 0_i64..400,
        3 => prop::sample::select(vec![1_000_i64, 2_000, 3_000, -1_000, 500]),
        2 => 0_i64..2_500,
        2 => -1_200_i64..0,
        1 => -90_000_i64..90_000,
    ];
    let us =
        prop_oneof![6 => Just(0_i64), 2 => Just(1), 1 => Just(-1), 2 => 0_i64..3_000, 1 => -1_500_i64..0];
    (thousandths, us)
}

const START_MS: u64 = 1_700_000_000_000;

/// What the test knows of the sequence while it runs.
struct Run<'c> {
    client: &'c mut Client,
    sha: &'c str,
    limits: Vec<Limit>,
    clock_us: u64,
    model: Model,
    /// Whether N has changed at all: a bucket that drains more slowly than when its expiry was set outlives that.
    changed: bool,
    admitted: Vec<(Group, Reply, Marks)>,
}

fn field(at: usize, limit: &Limit) -> String {
    format!("l{at}:{}:{}", limit.algorithm.form().word(), limit.period_ms)
}

impl Run<'_> {
    fn group(&self, asks: &[Ask], later: bool) -> Option<Group> {
        let mut keys = vec![HASH.as_bytes().to_vec()];
        let mut charges = Vec::new();
        for (at, (limit, ask)) in self.limits.iter().zip(asks).enumerate() {
            if !ask.matches {
                continue;
            }
            let mut key = 0;
            if limit.own_key || limit.algorithm == Algorithm::SlidingWindowLog {
                key = keys.len();
                keys.push(format!("{HASH}:{}", field(at, limit)).into_bytes());
            }
            let dear = u64::try_from(u128::from(ask.cost) * u128::from(limit.n + 2) / 256).unwrap();
            charges.push(Charge {
                limit: at,
                key,
                field: field(at, limit).into(),
                algorithm: limit.algorithm,
                rate: Rate {
                    limit: limit.n,
                    period: Period::from_millis(limit.period_ms).unwrap(),
                },
                cost: if ask.cheap {
                    u64::from(ask.cost.min(3))
                } else {
                    dear
                },
                later: ask.later && later,
                enforced: ask.enforced,
                phase_ms: match limit.algorithm {
                    Algorithm::FixedWindow { align: Align::Client } => limit.phase_ms,
                    _ => 0,
                },
                live: limit.live.map(|unlimited| LiveOverride {
                    key: 0,
                    field: format!("l{at}:override").into(),
                    unlimited,
                }),
            });
        }
        (!charges.is_empty()).then(|| Group {
            slot: HashSlot::of(&keys[0]),
            keys,
            charges,
        })
    }

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
            let all = self.group(&ALL, false).expect("limits");
            let nothing = self.model.expire(key.as_bytes(), &all.charges, self.clock_us);
            assert!(nothing || self.changed, "{key} expired while it mattered");
            if key == HASH {
                self.model.overrides.clear();
            }
        }
        (replies[2].clone(), texts(&replies[3]))
    }

    fn step(&mut self, (thousandths, us): Tick, step: &Step) {
        let period_us = i128::from(self.limits[0].period_ms) * 1000;
        let by = period_us * i128::from(thousandths) / 1000 + i128::from(us);
        let clock = i128::from(self.clock_us) + by;
        // Within the years that microseconds in 16 digits can tell.
        self.clock_us = clock.clamp(1_300_000_000_000_000, 5_000_000_000_000_000) as u64;
        match step {
            Step::Call(asks) => {
                let Some(group) = self.group(asks, true) else {
                    return;
                };
                let (value, trace) = self.call(&group, Mode::Count);
                let reply = decode(&group, &value);
                let (admitted, verdicts, marks) = self.model.count(&group, self.clock_us);
                assert_eq!(reply.verdicts, verdicts, "{group:?}");
                assert_eq!(reply.admitted, admitted);
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
                let Some(group) = self.group(asks, false) else {
                    return;
                };
                let (value, _) = self.call(&group, Mode::Charge);
                let verdicts = self.model.charge(&group, self.clock_us);
                assert_eq!(decode(&group, &value).verdicts, verdicts, "{group:?}");
            }
            Step::GiveBack(which) => {
                if self.admitted.is_empty() {
                    return;
                }
                let (group, reply, marks) = self.admitted.remove(which % self.admitted.len());
                let (value, _) = self.call(&group, Mode::GiveBack(&reply));
                assert_eq!(value, Value::Array(Some(vec![Value::Int(1)])));
                self.model.give_back(&group, self.clock_us, &marks);
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
                        self.model.overrides.insert(field, value.clone());
                        if *persist {
                            self.client.run(&["HDEL", "expiry", HASH]);
                        }
                    }
                    None => {
                        self.client.run(&["HDEL", HASH, &field]);
                        self.model.overrides.remove(&field);
                    }
                }
            }
        }
    }

    /// A hash with a live override that the call could see does not expire.
    fn overridden_hash_stays(&mut self, group: &Group) {
        let seen = group.charges.iter().filter_map(|charge| charge.live.as_ref());
        let holds = seen
            .filter_map(|live| self.model.overrides.get(&*live.field))
            .filter_map(|value| LiveQuota::parse(value.as_bytes()))
            .any(|quota| quota.holds(self.clock_us / 1000));
        if holds {
            assert_eq!(self.client.run(&["HGET", "expiry", HASH]), Value::Bulk(None));
        }
    }
}

const WRITES: [&str; 4] = ["HSET", "ZADD", "ZREMRANGEBYRANK", "PEXPIRE"];

const ALL: [Ask; 4] = [const {
    Ask {
        matches: true,
        cost: 0,
        cheap: true,
        later: false,
        enforced: true,
    }
}; 4];

fn decode(group: &Group, value: &Value) -> Reply {
    Reply::decode(group, value).unwrap_or_else(|error| match value {
        Value::Error(_) => panic!("{}", text(value)),
        _ => panic!("{error}: {value:?}"),
    })
}

/// Runs sequences whose first limit counts by the algorithm; the others by any.
fn script_and_model_agree(algorithm: impl Strategy<Value = Algorithm>, cases: u32) {
    let server = Server::start();
    let client = std::cell::RefCell::new(server.client());
    let body = include_str!("virtual_time.lua").to_owned() + headgate::script::body();
    let sha = text(&client.borrow_mut().run(&["SCRIPT", "LOAD", &body]));
    let limits = (
        limit(algorithm),
        prop::collection::vec(limit(any_algorithm()), 0..4),
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
fn sliding_window_counters_agree_with_their_model_in_10_000_sequences() {
    script_and_model_agree(Just(Algorithm::SlidingWindowCounter), 10_000);
}

#[test]
fn sliding_window_logs_agree_with_their_model() {
    script_and_model_agree(Just(Algorithm::SlidingWindowLog), 500);
}

#[test]
#[ignore = "slow"]
fn sliding_window_logs_agree_with_their_model_in_10_000_sequences() {
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
