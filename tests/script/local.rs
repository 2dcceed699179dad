//! The local store against the model: what it answers is what the script answers, without a Redis.
//!
//! Its clock does not step back here: a counter that is over may be forgotten, as in Redis; that a stored time ahead
//! of the clock holds is tested beside the store.

use crate::traffic::{any_algorithm, asked, asks, fixed, gcra, limit, step, tick, Limit, Step, START_MS};
use headgate_core::config::LocalSettings;
use headgate_core::fixtures;
use headgate_core::limit::{Algorithm, Charge, Group, Percent, Verdict};
use headgate_core::local::{LocalStore, Memory};
use headgate_core::script::ScriptReply;
use headgate_sim::model::{Marks, Model};
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
        let mut stores = [[1, 2], [3, 4]].map(|seed| LocalStore::new(&host, "s", &settings, seed));
        let mut model = Model::default();
        let mut clock_us = START_MS * 1000;
        let mut admitted: Vec<(Group, ScriptReply, Marks)> = Vec::new();
        for (turn, ((thousandths, us), step)) in steps.iter().enumerate() {
            let store = &mut stores[turn % 2];
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
    store: &mut LocalStore<&Memory>,
    model: &mut Model,
    limits: &[Limit],
    clock_us: u64,
    admitted: &mut Vec<(Group, ScriptReply, Marks)>,
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
            // A log has no charge on response.
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
        // N changes by configuration, and live overrides are in Redis.
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

/// Whatever the limits of a group and however many others call once meanwhile, what denied denies until its wait is
/// over, where only as many deny as a quarter of the places.
#[test]
fn what_denies_is_not_evicted_while_others_call_once() {
    let limits = prop::collection::vec(limit(any_algorithm()), 1..4);
    let config = Config {
        cases: 500,
        failure_persistence: None,
        ..Config::default()
    };
    let input = (limits, asks(), 16_usize..64, 0_u64..400, 0_u64..1_000);
    let outcome = TestRunner::new(config).run(&input, |(limits, asks, places, others, share)| {
        let limits: Vec<Limit> = limits
            .into_iter()
            .map(|limit| Limit { live: None, ..limit })
            .collect();
        let Some(group) = asked(&limits, &asks, true) else {
            return Ok(());
        };
        let host = Memory::default();
        let settings = LocalSettings {
            share: Percent::FULL,
            max_counters: places,
        };
        let mut store = LocalStore::new(&host, "s", &settings, [1, 2]);
        let start_us = START_MS * 1000;
        let count =
            |store: &mut LocalStore<&Memory>, clock_us| store.count(&group, &|_| true, clock_us).unwrap();
        let last = (0..64)
            .map(|_| count(&mut store, start_us))
            .find(|reply| !reply.admitted);
        let Some(denied) = last else { return Ok(()) };
        let denies = |(verdict, charge): (&Verdict, &Charge)| {
            let passes_one_day = verdict
                .limit
                .is_some_and(|limit| charge.cost <= limit || charge.charged_on_response);
            (charge.enforced && !verdict.allowed && passes_one_day).then_some(verdict.wait_ms)
        };
        let pairs = denied.verdicts.iter().zip(&group.charges);
        let Some(wait_ms) = pairs.filter_map(denies).max() else {
            return Ok(());
        };
        // Before the wait is over, all of them.
        let span_us = wait_ms.saturating_sub(1) * 1000 * share / 1_000;
        for n in 0..others {
            let once = fixtures::group(
                format!("ratelimit:main:{{api_key:other-{n}}}"),
                vec![fixtures::charge(
                    0,
                    Algorithm::SlidingWindowCounter,
                    fixtures::rate(9, 86_400_000),
                )],
            );
            let clock_us = start_us + span_us * n / others;
            prop_assert!(store.count(&once, &|_| true, clock_us).unwrap().admitted);
        }
        prop_assert!(
            !count(&mut store, start_us + span_us).admitted,
            "{:?}, {} ms",
            group,
            wait_ms
        );
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
