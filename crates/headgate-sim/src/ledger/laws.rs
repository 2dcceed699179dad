//! Adds up the admitted costs of each counter. They must not exceed the bound of the limit's algorithm, by the clock of the

use super::Ledger;
use crate::fault::Fault;
use headgate_core::limit::algorithm::Mark;
use headgate_core::limit::{Algorithm, Align, Charge, Group, Limit};
use headgate_core::local::LONGEST_LOG;
use headgate_core::model::LocalSettings;
use std::collections::BTreeMap;

/// The store that counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CounterStore {
    Redis,
    /// The local counters of the Envoy with this index.
    Local(usize),
}

/// When and where a request was admitted.
pub(super) struct PassedCall {
    pub store: CounterStore,
    /// The shard and the epoch of its memory.
    pub epoch: (usize, u32),
    /// The store's clock: unix time in µs.
    pub at_us: u64,
    pub mark: Option<Mark>,
}

/// A counter in one epoch of its store's memory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Counter {
    store: CounterStore,
    key: Vec<u8>,
    field: String,
    epoch: (usize, u32),
}

/// The admitted costs of one counter.
struct CounterHistory {
    algorithm: Algorithm,
    phase_ms: u64,
    period_ms: u64,
    /// The largest limit and burst so far.
    limit: u64,
    burst: u64,
    /// Unix time of the store in µs, and the cost.
    all: Vec<(u64, u64)>,
}

#[derive(Default)]
pub(super) struct PassedCosts(BTreeMap<Counter, CounterHistory>);

impl PassedCosts {
    /// Records an admitted cost.
    pub fn note(&mut self, pass: &PassedCall, group: &Group, charge: &Charge, limit: &Limit) {
        // Live overrides and costs from responses are not checked here.
        if charge.charged_on_response || charge.live.is_some() || !charge.enforced || charge.cost == 0 {
            return;
        }
        // In Redis, a log with leases keeps its entries longer than its period.
        let period = match pass.store {
            CounterStore::Redis => limit.period().unwrap_or(charge.rate.period),
            CounterStore::Local(_) => charge.rate.period,
        };
        let counter = Counter {
            store: pass.store,
            key: group.keys[charge.key].clone(),
            field: charge.field.to_string(),
            epoch: pass.epoch,
        };
        let passed = self.0.entry(counter).or_insert_with(|| CounterHistory {
            algorithm: charge.algorithm,
            phase_ms: charge.phase_ms,
            period_ms: period.as_millis(),
            limit: 0,
            burst: 0,
            all: Vec::new(),
        });
        passed.limit = passed.limit.max(charge.rate.limit);
        passed.burst = passed.burst.max(match charge.algorithm {
            Algorithm::Gcra { burst: burst @ 1.. } => burst,
            _ => charge.rate.limit,
        });
        // If a call starts the window, only the mark has the start.
        let at_us = match (charge.algorithm, pass.mark) {
            (Algorithm::FixedWindow { .. }, Some(Mark(start_ms))) => start_ms * 1_000,
            _ => pass.at_us,
        };
        passed.all.push((at_us, charge.cost));
    }

    pub fn note_local(
        &mut self,
        (envoy, at_us): (usize, u64),
        group: &Group,
        charge: &Charge,
        limit: &Limit,
        settings: &LocalSettings,
    ) {
        let part = |n: u64| match n {
            0 => 0,
            n => (n * u64::from(settings.share.basis_points()) / 10_000).max(1),
        };
        // Evicted counters start again, and windows that a call starts have no mark here.
        let first = matches!(
            charge.algorithm,
            Algorithm::FixedWindow {
                align: Align::FirstCall
            }
        );
        if settings.max_counters < 100 || first {
            return;
        }
        let mut charge = charge.clone();
        // As in the local store.
        if charge.algorithm == Algorithm::SlidingWindowLog && part(charge.rate.limit) > LONGEST_LOG {
            charge.algorithm = Algorithm::SlidingWindowCounter;
        }
        charge.rate.limit = part(charge.rate.limit);
        if let Algorithm::Gcra { burst } = &mut charge.algorithm {
            *burst = part(*burst);
        }
        let pass = PassedCall {
            store: CounterStore::Local(envoy),
            epoch: (0, 0),
            at_us,
            mark: None,
        };
        self.note(&pass, group, &charge, limit);
    }
}

impl Ledger {
    /// Checks the admitted costs of all counters.
    pub(super) fn check_laws(&mut self) {
        // A clock that jumps can add or skip a window.
        let steps = |fault: &Fault| match fault {
            Fault::ClockStep { .. } => true,
            Fault::Failover { clock_us, .. } => *clock_us != 0,
            _ => false,
        };
        let stepped = self.scenario.faults.iter().any(|planned| steps(&planned.fault));
        let mut broken = Vec::new();
        for (counter, passed) in &mut self.passed_costs.0 {
            if counter.store == CounterStore::Redis && stepped {
                continue;
            }
            passed.all.sort_unstable();
            if let Some(what) = passed.breaks() {
                broken.push(format!(
                    "{:?} {} {}: {what}",
                    counter.store,
                    counter.key.escape_ascii(),
                    counter.field
                ));
            }
        }
        for what in broken {
            self.broke("law", what);
        }
    }
}

impl CounterHistory {
    /// A description of the violation, if there is one.
    fn breaks(&self) -> Option<String> {
        let sum = match self.algorithm {
            Algorithm::FixedWindow {
                align: Align::FirstCall,
            } => self.marked_windows(),
            Algorithm::FixedWindow { .. } => self.windows(self.phase_ms),
            Algorithm::SlidingWindowCounter => self.windows(0),
            Algorithm::SlidingWindowLog => self.any_period(),
            Algorithm::Gcra { .. } => return self.bucket(),
        };
        (sum > self.limit).then(|| format!("{sum} of {} passed in {} ms", self.limit, self.period_ms))
    }

    /// The largest sum in one of the consecutive windows.
    fn windows(&self, phase_ms: u64) -> u64 {
        let mut sums = BTreeMap::<u64, u64>::new();
        for (us, cost) in &self.all {
            let ms = us / 1_000;
            *sums.entry((ms - phase_ms) / self.period_ms).or_default() += cost;
        }
        sums.values().copied().max().unwrap_or(0)
    }

    /// The largest sum in one of the windows that calls start.
    fn marked_windows(&self) -> u64 {
        let mut sums = BTreeMap::<u64, u64>::new();
        for (start, cost) in &self.all {
            *sums.entry(*start).or_default() += cost;
        }
        sums.values().copied().max().unwrap_or(0)
    }

    /// The largest sum in any period.
    fn any_period(&self) -> u64 {
        let (mut most, mut sum, mut first) = (0, 0, 0);
        for (us, cost) in &self.all {
            sum += cost;
            while self.all[first].0 + self.period_ms * 1_000 <= *us {
                sum -= self.all[first].1;
                first += 1;
            }
            most = most.max(sum);
        }
        most
    }

    /// In any time span, the sum must not exceed the burst plus what drains in that span.
    fn bucket(&self) -> Option<String> {
        for (at, (from, _)) in self.all.iter().enumerate() {
            let mut sum = 0;
            for (until, cost) in &self.all[at..] {
                sum += cost;
                let ms = until / 1_000 - from / 1_000;
                // With leases, the drain of up to 1 ms is outside the span.
                let most = self.burst * self.period_ms + self.limit * (ms + 1);
                if sum * self.period_ms > most {
                    return Some(format!("{sum} passed in {ms} ms, of a burst of {}", self.burst));
                }
            }
        }
        None
    }
}
