//! What the tests of the algorithms share, and the laws of all of them under random traffic.

use super::{State, Terms};
use crate::model::{Algorithm, Align, Period, Rate};
use proptest::prelude::*;

pub fn terms(algorithm: Algorithm, limit: u64, period_ms: u64) -> Terms {
    Terms {
        algorithm,
        rate: Rate {
            limit,
            period: Period::from_millis(period_ms).unwrap(),
        },
        phase_ms: 0,
        overdraws: false,
    }
}

/// Admits what may pass. Returns the time in µs and the cost of each, and the state just before.
fn admit(terms: &Terms, calls: &[(u64, u64)]) -> Vec<(u64, u64, State)> {
    let mut state = State::new(terms.algorithm.form());
    let mut clock = 1_700_000_000_000_000;
    let mut admitted = Vec::new();
    for (step, cost) in calls {
        clock += step;
        let before = state.clone();
        let verdict = state.check(clock, terms, *cost);
        if verdict.allowed {
            state.charge(clock, terms, *cost);
            admitted.push((clock, *cost, before));
        } else {
            assert!(
                !state
                    .check(clock + (verdict.wait_ms - 1) * 1000, terms, *cost)
                    .allowed
            );
            let after = state.check(clock + verdict.wait_ms * 1000, terms, *cost).allowed;
            assert_eq!(after, *cost <= verdict.limit.unwrap(), "the wait of {verdict:?}");
        }
        let after = state.check(clock, terms, 0);
        let later = state.check(clock + after.reset_ms * 1000, terms, 0);
        assert_eq!(Some(later.remaining), later.limit, "the reset of {after:?}");
    }
    admitted
}

#[test]
fn a_charge_tells_the_clock_of_the_store() {
    let clock = 1_700_000_000_123_456;
    for algorithm in Algorithm::NAMED.map(|(_, algorithm)| algorithm) {
        let terms = terms(algorithm, 10, 60_000);
        let mut state = State::new(algorithm.form());
        for (step, cost) in [(0, 1), (40_000_000, 2), (40_000_007, 1), (340_000_000, 1)] {
            let clock = clock + step;
            let mark = state.charge(clock, &terms, cost);
            let reset_ms = state.check(clock, &terms, 0).reset_ms;
            // Another clock may be far from it.
            for near in [
                clock / 1_000,
                clock / 1_000 + 86_400_000,
                clock / 1_000 - 86_400_000,
            ] {
                let read = algorithm.form().clock_ms(mark, 60_000, reset_ms, near);
                assert_eq!(read, Some(clock / 1_000), "{algorithm:?}, {step} µs later");
            }
        }
    }
}

/// The most that was admitted in any half-open span of `span` µs.
fn peak(admitted: &[(u64, u64, State)], span: u64) -> u64 {
    let from = |start: u64| {
        admitted
            .iter()
            .filter(move |call| (start..start + span).contains(&call.0))
    };
    admitted
        .iter()
        .map(|call| from(call.0).map(|call| call.1).sum())
        .max()
        .unwrap_or(0)
}

/// Bursts and pauses: steps in µs, often 0, at times above a period of 1 s; and costs.
fn traffic() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let step = prop_oneof![Just(0), 0_u64..2_000, 0_u64..150_000, 0_u64..2_500_000];
    prop::collection::vec((step, prop_oneof![3 => Just(1), 1 => 0_u64..6]), 1..200)
}

pub(super) fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_log_admits_no_more_than_n_in_any_period(limit in 1_u64..12, calls in traffic()) {
        let admitted = admit(&terms(Algorithm::SlidingWindowLog, limit, 1_000), &calls);
        prop_assert!(peak(&admitted, 1_000_000) <= limit);
    }

    #[test]
    fn a_fixed_window_admits_no_more_than_n(
        limit in 1_u64..12,
        align in prop_oneof![Just(Align::Epoch), Just(Align::FirstCall), Just(Align::Client)],
        calls in traffic(),
    ) {
        let terms = Terms { phase_ms: 137, ..terms(Algorithm::FixedWindow { align }, limit, 1_000) };
        let mut windows = std::collections::BTreeMap::<u64, u64>::new();
        for (time, cost, mut state) in admit(&terms, &calls).into_iter().filter(|call| call.1 > 0) {
            let start = state.charge(time, &terms, 1).0;
            prop_assert!((start..start + 1_000).contains(&(time / 1000)));
            *windows.entry(start).or_default() += cost;
        }
        let starts: Vec<&u64> = windows.keys().collect();
        prop_assert!(starts.windows(2).all(|pair| pair[0] + 1_000 <= *pair[1]), "windows do not overlap");
        prop_assert!(windows.values().all(|sum| *sum <= limit));
    }

    #[test]
    fn a_counter_admits_no_more_in_any_period_than_its_stated_bound(limit in 1_u64..12, calls in traffic()) {
        let terms = terms(Algorithm::SlidingWindowCounter, limit, 1_000);
        let admitted = admit(&terms, &calls);
        let sum = |from: u64, to: u64| -> u64 {
            admitted.iter().filter(|call| (from..=to).contains(&(call.0 / 1000))).map(|call| call.1).sum()
        };
        for (time, _, _) in &admitted {
            let ms = time / 1000;
            let start = ms - ms % 1_000;
            let previous = sum(start - 1_000, start - 1);
            prop_assert!(previous <= limit);
            // N + f × previous, times the period.
            prop_assert!(sum(ms - 999, ms) * 1_000 <= limit * 1_000 + (ms - start) * previous);
        }
    }

    #[test]
    fn a_bucket_admits_no_more_than_its_burst_and_what_drains(
        limit in 1_u64..12,
        burst in 1_u64..12,
        calls in traffic(),
    ) {
        let admitted = admit(&terms(Algorithm::Gcra { burst }, limit, 1_000), &calls);
        for (i, first) in admitted.iter().enumerate() {
            let mut sum = 0;
            for call in &admitted[i..] {
                sum += call.1;
                let ms = call.0 / 1000 - first.0 / 1000;
                prop_assert!(sum * 1_000 <= burst * 1_000 + limit * ms);
            }
        }
    }
}

#[test]
fn the_bounds_of_window_and_counter_are_reached() {
    let late: Vec<(u64, u64)> = (0..200).map(|_| (0, 1)).collect();
    let burst = |algorithm, pause| {
        let mut calls = vec![(999_000, 1)];
        calls.extend(&late);
        calls.push((pause, 1));
        calls.extend(&late);
        peak(&admit(&terms(algorithm, 100, 1_000), &calls), 1_000_000)
    };
    assert_eq!(burst(Algorithm::FixedWindow { align: Align::Epoch }, 1_000), 200);
    assert_eq!(burst(Algorithm::SlidingWindowCounter, 999_000), 199);
    assert_eq!(burst(Algorithm::SlidingWindowLog, 999_000), 100);
}

#[test]
fn nothing_passes_where_n_is_0_and_nothing_is_kept() {
    for algorithm in [
        Algorithm::FixedWindow { align: Align::Epoch },
        Algorithm::SlidingWindowCounter,
        Algorithm::SlidingWindowLog,
        Algorithm::Gcra { burst: 5 },
    ] {
        let terms = terms(algorithm, 0, 1_000);
        let mut state = State::new(algorithm.form());
        state.charge(1_700_000_000_000_000, &terms, 3);
        assert_eq!(state, State::new(algorithm.form()));
        let verdict = state.check(1_700_000_000_000_000, &terms, 0);
        assert_eq!(
            (verdict.allowed, verdict.limit, verdict.wait_ms),
            (false, Some(0), 1_000)
        );
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_state_and_no_argument_overflows(numbers in prop::array::uniform8(prop_oneof![
        Just(0), Just(1), Just(u64::MAX), Just(1 << 53), any::<u64>(), 1_600_000_000_000_u64..1_800_000_000_000
    ])) {
        let [a, b, c, clock, limit, need, cost, mark] = numbers;
        let states = [
            State::Fixed(super::Fixed { start_ms: a, count: b }),
            State::Counter(super::SlidingCounter { window: a, current: b, previous: c }),
            State::Gcra(super::Gcra { time_ms: a, level: b }),
            State::Log(super::Log::default()),
        ];
        for (mut state, algorithm) in states.into_iter().zip([
            Algorithm::FixedWindow { align: Align::Client },
            Algorithm::SlidingWindowCounter,
            Algorithm::Gcra { burst: c },
            Algorithm::SlidingWindowLog,
        ]) {
            let terms = Terms { phase_ms: c, ..terms(algorithm, limit, 1_000) };
            state.check(clock, &terms, need);
            state.charge(clock, &terms, cost);
            state.check(clock, &terms, need);
            state.give_back(clock, &terms, cost, super::Mark(mark));
        }
    }
}
