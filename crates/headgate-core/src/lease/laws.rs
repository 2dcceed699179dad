//! The laws of the algorithms hold with leases too: several workers, each with its own `LeaseBook`, use one counter,
//! with random traffic and delays. A request counts when it is answered from a lease, or when Redis admits it.

use super::tests::{book, leased, reply, request};
use super::*;
use crate::limit::algorithm::{leased_period, State, Terms};
use crate::limit::{Align, Limit};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const START_US: u64 = 1_700_000_000_000_000;
const WORKERS: usize = 3;

/// An event in the model.
enum Action {
    Request(usize),
    /// Redis counts a request.
    Count,
    /// Redis counts a lease request.
    Take(usize, u64, Box<Charge>, u64),
    Answer(usize, u64, Verdict),
}

struct LeaseModel {
    groups: Vec<Group>,
    terms: Terms,
    state: State,
    books: Vec<LeaseBook>,
    base: Instant,
    steps: BTreeMap<(u64, u64), Action>,
    delays: Vec<u64>,
    calls: u64,
    /// In µs.
    admitted: Vec<u64>,
    from_leases: usize,
    lease_requests: usize,
    /// The window under which it was charged: its start, for a fixed window.
    marks: BTreeSet<u64>,
}

impl LeaseModel {
    fn new(limit: &Limit, phase_ms: u64, delays: Vec<u64>) -> LeaseModel {
        let mut groups = request(std::slice::from_ref(limit));
        let charge = &mut groups[0].charges[0];
        charge.rate.period = leased_period(limit.algorithm, charge.rate);
        charge.phase_ms = phase_ms;
        LeaseModel {
            terms: Terms::of(charge),
            state: State::new(limit.algorithm.form()),
            books: (0..WORKERS).map(|_| book(vec![limit.clone()])).collect(),
            base: Instant::now(),
            steps: BTreeMap::new(),
            delays,
            calls: 0,
            admitted: Vec::new(),
            from_leases: 0,
            lease_requests: 0,
            marks: BTreeSet::new(),
            groups,
        }
    }

    fn plan(&mut self, at: u64, step: Action) {
        self.calls += 1;
        self.steps.insert((at, self.calls), step);
    }

    fn delay(&self) -> u64 {
        self.delays[self.calls as usize % self.delays.len()]
    }

    fn run(&mut self) {
        while let Some(((at, _), step)) = self.steps.pop_first() {
            let clock = START_US + at;
            let now = self.base + Duration::from_micros(at);
            match step {
                Action::Request(worker) => self.request(at, now, worker),
                Action::Count => {
                    if self.state.check(clock, &self.terms, 1).allowed {
                        self.marks.insert(self.state.charge(clock, &self.terms, 1).0);
                        self.admitted.push(clock);
                    }
                }
                Action::Take(worker, call, charge, delay) => {
                    self.lease_requests += 1;
                    let mut verdict = self.state.check_lease(clock, &self.terms, charge.cost);
                    if verdict.allowed {
                        let left = verdict.remaining;
                        self.marks
                            .insert(self.state.charge_lease(clock, &self.terms, charge.cost).0);
                        verdict = self.state.check(clock, &self.terms, 0);
                        assert!(charge.cost * 4 <= left, "a quarter of what is left at most");
                    }
                    self.plan(at + delay, Action::Answer(worker, call, verdict));
                }
                Action::Answer(worker, call, verdict) => {
                    assert!(self.books[worker].settle(now, call, reply(&verdict)).is_some());
                }
            }
        }
        self.admitted.sort_unstable();
    }

    fn request(&mut self, at: u64, now: Instant, worker: usize) {
        let book = &mut self.books[worker];
        if book.spend(now, &self.groups).is_some() {
            self.admitted.push(START_US + at);
            self.from_leases += 1;
        } else {
            book.note(now, &self.groups);
            self.plan(at + self.delay(), Action::Count);
        }
        for lease_request in self.books[worker].lease_requests(now, &self.groups) {
            let (call, delay) = (self.calls, self.delay());
            let charge = Box::new(lease_request.group.charges[0].clone());
            self.books[worker].sent(now, call, lease_request);
            self.plan(at + delay, Action::Take(worker, call, charge, delay));
        }
    }
}

/// Requests: µs after the previous one, and the worker.
fn traffic() -> impl Strategy<Value = Vec<(u64, usize)>> {
    let step = prop_oneof![20 => 0_u64..300, 10 => 0_u64..4_000, 1 => 0_u64..400_000];
    prop::collection::vec((step, 0..WORKERS), 300..900)
}

fn delays() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![9 => 0_u64..3_000, 1 => 0_u64..80_000], 1..20)
}

fn run(limit: &Limit, phase_ms: u64, traffic: &[(u64, usize)], delays: Vec<u64>) -> LeaseModel {
    let mut world = LeaseModel::new(limit, phase_ms, delays);
    let mut at = 0;
    for (step, worker) in traffic {
        at += step;
        world.plan(at, Action::Request(*worker));
    }
    world.run();
    world
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn n() -> impl Strategy<Value = u64> {
    prop_oneof![20_u64..60, 60_u64..500]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_span_of_a_leased_log_sees_more_than_n(n in n(), traffic in traffic(), delays in delays()) {
        let world = run(&leased(Algorithm::SlidingWindowLog, n, 1_000), 0, &traffic, delays);
        for span in world.admitted.windows(n as usize + 1) {
            prop_assert!(span[n as usize] - span[0] >= 1_000_000);
        }
    }

    #[test]
    fn no_leased_fixed_window_takes_more_than_n(
        n in n(),
        align in prop_oneof![Just(Align::Epoch), Just(Align::Client), Just(Align::FirstCall)],
        traffic in traffic(),
        delays in delays(),
    ) {
        let phase_ms = if align == Align::Client { 137 } else { 0 };
        let world = run(&leased(Algorithm::FixedWindow { align }, n, 1_000), phase_ms, &traffic, delays);
        let mut counts = BTreeMap::<u64, u64>::new();
        for at in world.admitted.iter().map(|at| at / 1_000) {
            let start = world.marks.range(..=at).next_back().copied().unwrap_or(0);
            prop_assert!(at < start + 1_000, "a lease outlives its window");
            *counts.entry(start).or_default() += 1;
        }
        prop_assert!(counts.values().all(|count| *count <= n), "{counts:?}");
    }

    #[test]
    fn a_leased_counter_keeps_its_law(n in n(), traffic in traffic(), delays in delays()) {
        let world = run(&leased(Algorithm::SlidingWindowCounter, n, 1_000), 0, &traffic, delays);
        let mut windows = BTreeMap::<u64, u64>::new();
        for at in world.admitted.iter().map(|at| at / 1_000) {
            let previous = windows.get(&(at / 1_000 - 1)).copied().unwrap_or(0);
            let current = windows.entry(at / 1_000).or_default();
            *current += 1;
            prop_assert!(*current * 1_000 + previous * (1_000 - at % 1_000) <= n * 1_000);
        }
    }

    #[test]
    fn a_leased_bucket_admits_its_burst_and_what_drains(
        n in n(),
        burst in prop_oneof![Just(0), 40_u64..300],
        traffic in traffic(),
        delays in delays(),
    ) {
        let world = run(&leased(Algorithm::Gcra { burst }, n, 1_000), 0, &traffic, delays);
        let burst = if burst == 0 { n } else { burst };
        // Check against a bucket that each admitted request fills.
        let (mut level, mut last) = (0_u64, 0);
        for at in world.admitted.iter().map(|at| at / 1_000) {
            level = level.saturating_sub((at - last) * n) + 1_000;
            last = at;
            prop_assert!(level <= burst * 1_000);
        }
    }
}

const ALL: [(Algorithm, u64); 4] = [
    (Algorithm::FixedWindow { align: Align::Epoch }, 6),
    (Algorithm::SlidingWindowCounter, 6),
    (Algorithm::SlidingWindowLog, 6),
    (Algorithm::Gcra { burst: 0 }, 7), // 6 periods, and a full bucket
];

/// This many requests in 6 s.
fn steady(requests: usize) -> Vec<(u64, usize)> {
    (0..requests)
        .map(|n| (6_000_000 / requests as u64, n % WORKERS))
        .collect()
}

#[test]
fn under_overload_leases_grant_nearly_the_whole_quota() {
    for (algorithm, periods) in ALL {
        let world = run(&leased(algorithm, 2_000, 1_000), 0, &steady(60_000), vec![1_000]);
        let part = world.admitted.len() as u64 * 100 / (2_000 * periods);
        assert!((92..=100).contains(&part), "{algorithm:?}: {part}% of N");
    }
}

#[test]
fn where_there_is_enough_a_hot_counter_costs_few_calls() {
    for (algorithm, _) in ALL {
        let world = run(&leased(algorithm, 4_000, 1_000), 0, &steady(12_000), vec![1_000]);
        assert_eq!(world.admitted.len(), 12_000, "{algorithm:?}");
        let asked = world.lease_requests + world.admitted.len() - world.from_leases;
        assert!(asked < 12_000 / 10, "{algorithm:?}: {asked} calls");
    }
}
