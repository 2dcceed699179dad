//! The local store against the model: what it answers is what the script answers, without a Redis.
//!
//! Its clock does not step back here: a counter that is over may be forgotten, as in Redis; that a stored time ahead
//! of the clock holds is tested beside the store.

use crate::model::{Marks, Model};
use crate::traffic::{any_algorithm, asked, fixed, gcra, limit, step, tick, Limit, Step, START_MS};
use headgate::config::LocalSettings;
use headgate::limit::{Algorithm, Group, Percent};
use headgate::local::{LocalStore, Memory};
use headgate::script::Reply;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Sequences whose first limit counts by the algorithm; the others by any.
fn store_and_model_agree(algorithm: impl Strategy<Value = Algorithm>) {
    let limits = (
        limit(algorithm),
        prop::collection::vec(limit(any_algorithm()), 0..4),
    );
    let steps = prop::collection::vec((tick(), step()), 1..40);
    let config = Config {
        cases: 500,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&(limits, steps), |((first, others), steps)| {
        let mut limits = [vec![first], others].concat();
        for limit in &mut limits {
            limit.live = None;
        }
        let host = Memory::default();
        let settings = LocalSettings {
            share: Percent::FULL,
            max_counters: 64,
        };
        // A store for each of two workers.
        let stores = [[1, 2], [3, 4]].map(|seed| LocalStore::new(&host, "s", &settings, seed));
        let mut model = Model::default();
        let mut clock_us = START_MS * 1000;
        let mut admitted: Vec<(Group, Reply, Marks)> = Vec::new();
        for (turn, ((thousandths, us), step)) in steps.iter().enumerate() {
            let store = &stores[turn % 2];
            let by = u128::from(limits[0].period_ms) * u128::from(thousandths.unsigned_abs());
            clock_us = (clock_us + u64::try_from(by).unwrap() + us.unsigned_abs()).min(5_000_000_000_000_000);
            apply(store, &mut model, &limits, clock_us, &mut admitted, step);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

fn apply(
    store: &LocalStore<&Memory>,
    model: &mut Model,
    limits: &[Limit],
    clock_us: u64,
    admitted: &mut Vec<(Group, Reply, Marks)>,
    step: &Step,
) {
    match step {
        Step::Call(asks) => {
            let Some(group) = asked(limits, asks, true) else {
                return;
            };
            let reply = store.count(&group, &|_| true, clock_us).unwrap();
            let (passes, verdicts, marks) = model.count(&group, clock_us, false);
            assert_eq!(
                (reply.admitted, &reply.verdicts),
                (passes, &verdicts),
                "{group:?}"
            );
            if passes {
                admitted.push((group, reply, marks));
            }
        }
        Step::Charge(asks) => {
            let Some(mut group) = asked(limits, asks, false) else {
                return;
            };
            // A cost that comes later is no log's.
            group
                .charges
                .retain(|charge| charge.algorithm != Algorithm::SlidingWindowLog);
            let reply = store.charge(&group, &|_| true, clock_us).unwrap();
            assert_eq!(reply.verdicts, model.charge(&group, clock_us), "{group:?}");
        }
        Step::GiveBack(which) if !admitted.is_empty() => {
            let (group, reply, marks) = admitted.remove(which % admitted.len());
            store.give_back(&group, &reply, clock_us).unwrap();
            model.give_back(&group, clock_us, &marks);
        }
        // N changes by configuration, and live overrides stand in Redis.
        Step::Lease(_) | Step::GiveBack(_) | Step::Change(..) | Step::Override(..) => {}
    }
}

#[test]
fn fixed_windows_agree_with_their_model() {
    store_and_model_agree(fixed());
}

#[test]
fn sliding_window_counters_agree_with_their_model() {
    store_and_model_agree(Just(Algorithm::SlidingWindowCounter));
}

#[test]
fn sliding_window_logs_agree_with_their_model() {
    store_and_model_agree(Just(Algorithm::SlidingWindowLog));
}

#[test]
fn gcra_buckets_agree_with_their_model() {
    store_and_model_agree(gcra());
}
