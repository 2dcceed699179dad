//! Random histories of the whole world: the rules hold in each.

use headgate_sim::history;
use std::collections::BTreeMap;

/// Histories of `make test`; more or others by `HEADGATE_SIM_HISTORIES=FIRST..LAST`.
const HISTORIES: std::ops::Range<u64> = 0..10_000;

fn histories() -> std::ops::Range<u64> {
    let Ok(range) = std::env::var("HEADGATE_SIM_HISTORIES") else {
        return HISTORIES;
    };
    let (first, last) = range.split_once("..").expect("FIRST..LAST");
    first.parse().expect("a number")..last.parse().expect("a number")
}

#[test]
fn no_rule_is_broken_in_random_histories() {
    let histories = histories();
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let next = std::sync::atomic::AtomicU64::new(histories.start);
    let most: u64 = std::env::var("HEADGATE_SIM_FAILURES").map_or(3, |most| most.parse().unwrap());
    let results = std::thread::scope(|scope| {
        let work = || {
            let mut outcomes = BTreeMap::<String, u64>::new();
            let mut failures = Vec::new();
            while (failures.len() as u64) < most {
                let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if seed >= histories.end {
                    break;
                }
                let outcome = history::of_seed(seed, false);
                for (word, count) in &outcome.outcomes {
                    *outcomes.entry(word.clone()).or_default() += count;
                }
                if !outcome.broken.is_empty() {
                    failures.push((seed, history::outline(&outcome)));
                }
            }
            (outcomes, failures)
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap())
            .collect::<Vec<_>>()
    });
    let mut outcomes = BTreeMap::<String, u64>::new();
    let mut failures = Vec::new();
    for (some, failed) in results {
        for (word, count) in some {
            *outcomes.entry(word).or_default() += count;
        }
        failures.extend(failed);
    }
    println!("{outcomes:#?}");
    failures.sort();
    if let Some((first, _)) = failures.first() {
        let others = failures
            .iter()
            .skip(1)
            .map(|(seed, text)| format!("seed {seed}:\n{text}"));
        let others: Vec<String> = others.collect();
        panic!("{}\n{}", others.join("\n"), history::report(*first));
    }
}

#[test]
fn replay() {
    let Ok(seed) = std::env::var("HEADGATE_SIM_SEED") else {
        return;
    };
    let seed = seed.parse().expect("a number");
    let outcome = history::of_seed(seed, true);
    print!("{}", history::shown_lines(&outcome.lines));
    print!("{}", history::outline(&outcome));
    assert!(outcome.broken.is_empty());
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [1, 2, 3, 77, 1_000] {
        let first = history::of_seed(seed, true);
        let second = history::of_seed(seed, true);
        assert_eq!(first.lines, second.lines, "seed {seed}");
    }
}
