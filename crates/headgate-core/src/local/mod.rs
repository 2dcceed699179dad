//! Counting in Envoy's own memory, shared by its workers: `store: local`, and `on_error: local` while Redis is not available.
//!
//! Counts like the script, by the same laws ([`crate::limit::algorithm`]): a group's charges are taken together or not
//! at all. `table` stores and evicts counters; the engine decides when to count here.
//!
//! Three things differ from Redis. This Envoy grants `local.share` of each N (and of gcra's burst), at least 1. A log
//! of more than [`LONGEST_LOG`] calls is counted as a sliding-window counter. Live overrides are in Redis, so only the
//! configuration applies here.

mod bucket;
#[cfg(test)]
mod eviction_tests;
mod memory;
mod rewrite;
mod shared;
mod table;
#[cfg(test)]
mod tests;

pub use memory::Memory;
pub use shared::{Refused, SharedData, Version};

use crate::limit::algorithm::{Mark, State, Terms};
use crate::limit::{Algorithm, Charge, Group, OnError, Override, Percent, Quota, Verdict};
use crate::model::{LocalSettings, Policy, Store};
use crate::script::ScriptReply;
use bucket::CounterTimes;
use std::fmt;
use table::Table;

/// The largest N for which a log is kept here, at 8 bytes for each call.
pub const LONGEST_LOG: u64 = 64;

/// A counter that only denies still counts as used. This is written at most once in this time, in ms.
const TOUCH_MS: u64 = 1_000;

/// The host did not store the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalError;

impl fmt::Display for LocalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Envoy's shared data cannot be written")
    }
}

impl std::error::Error for LocalError {}

/// The counters of one Envoy.
pub struct LocalStore<H> {
    table: Table<H>,
    share: Percent,
}

/// One charge of a group, with the current state of its counter.
struct ChargedCounter<'g> {
    charge: &'g Charge,
    /// `None`: the client is not limited here.
    terms: Option<Terms>,
    id: u64,
    state: State,
    /// As stored.
    kept: Option<CounterTimes>,
    /// Set if the counter is to be written.
    write: Option<PendingWrite>,
}

/// What is stored beside a state, in unix ms.
#[derive(Clone, Copy)]
struct PendingWrite {
    ends: u64,
    deny_until: u64,
}

impl<H: SharedData> LocalStore<H> {
    /// `scope` separates the counters of instances. `seed` is random; the seed of the first worker is used by all.
    pub fn new(host: H, scope: &str, settings: &LocalSettings, seed: [u64; 2]) -> LocalStore<H> {
        LocalStore {
            table: Table::new(host, scope, settings.max_counters as u64, seed),
            share: settings.share,
        }
    }

    /// Checks the charges for which `counts` is true, and takes all or none of them. The others are reported as
    /// unlimited. `clock_us` is unix time in µs.
    ///
    /// # Errors
    /// Nothing was counted.
    pub fn count(
        &mut self,
        group: &Group,
        counts: &dyn Fn(&Charge) -> bool,
        clock_us: u64,
    ) -> Result<ScriptReply, LocalError> {
        self.update(group, counts, clock_us, &|counters| {
            let check = |counter: &ChargedCounter<'_>| match &counter.terms {
                Some(terms) => counter.state.check(clock_us, terms, need(counter.charge)),
                None => Verdict::UNLIMITED,
            };
            let mut verdicts: Vec<Verdict> = counters.iter().map(check).collect();
            let denies = |(counter, verdict): (&ChargedCounter<'_>, &Verdict)| {
                counter.charge.enforced && !verdict.allowed
            };
            let admitted = !counters.iter().zip(&verdicts).any(denies);
            for (counter, verdict) in counters.iter_mut().zip(&verdicts) {
                counter.note_denial(clock_us, verdict);
            }
            let mut marks = vec![Mark::default(); verdicts.len()];
            if admitted {
                for ((counter, verdict), mark) in counters.iter_mut().zip(&mut verdicts).zip(&mut marks) {
                    if verdict.allowed && !counter.charge.charged_on_response {
                        *mark = counter.take(clock_us, verdict);
                    }
                }
            }
            ScriptReply::new(admitted, verdicts, marks)
        })
    }

    /// Charges the costs, whether they fit or not: they became known with the response.
    ///
    /// # Errors
    /// Nothing was counted.
    pub fn charge(
        &mut self,
        group: &Group,
        counts: &dyn Fn(&Charge) -> bool,
        clock_us: u64,
    ) -> Result<ScriptReply, LocalError> {
        self.update(group, counts, clock_us, &|counters| {
            let mut verdicts = vec![Verdict::UNLIMITED; counters.len()];
            for terms in counters.iter_mut().filter_map(|counter| counter.terms.as_mut()) {
                terms.overdraws = true;
            }
            let take =
                |(counter, verdict): (&mut ChargedCounter<'_>, &mut Verdict)| counter.take(clock_us, verdict);
            let marks = counters.iter_mut().zip(&mut verdicts).map(take).collect();
            ScriptReply::new(true, verdicts, marks)
        })
    }

    /// Refunds what a counting call charged, by its own reply. Call it once.
    ///
    /// # Errors
    /// Nothing was refunded: too much stays counted.
    pub fn give_back(&mut self, group: &Group, reply: &ScriptReply, clock_us: u64) -> Result<(), LocalError> {
        let given = self.update(group, &|_| true, clock_us, &|counters| {
            for (index, counter) in counters.iter_mut().enumerate() {
                let Charge {
                    cost,
                    charged_on_response,
                    ..
                } = *counter.charge;
                let (Some(mark), Some(kept), Some(terms)) =
                    (reply.charged(index), counter.kept, &counter.terms)
                else {
                    continue;
                };
                if cost > 0 && !charged_on_response {
                    counter.state.give_back(clock_us, terms, cost, mark);
                    counter.write = Some(PendingWrite {
                        ends: kept.ends,
                        deny_until: counter.deny_until(clock_us, terms),
                    });
                }
            }
            ScriptReply::new(true, Vec::new(), Vec::new())
        });
        given.map(|_| ())
    }

    /// The number of counters that were evicted before they expired, since the last call.
    pub fn take_evicted(&mut self) -> u64 {
        self.table.take_evicted()
    }

    fn update(
        &mut self,
        group: &Group,
        counts: &dyn Fn(&Charge) -> bool,
        clock_us: u64,
        change: &dyn Fn(&mut [ChargedCounter<'_>]) -> ScriptReply,
    ) -> Result<ScriptReply, LocalError> {
        let place = self.table.place(group);
        let counter = |charge: &'_ Charge| -> Option<Terms> { counts(charge).then(|| self.terms(charge))? };
        let mut counters: Vec<ChargedCounter<'_>> = group
            .charges
            .iter()
            .map(|charge| {
                let terms = counter(charge);
                let form = terms
                    .as_ref()
                    .map_or(charge.algorithm, |terms| terms.algorithm)
                    .form();
                ChargedCounter {
                    charge,
                    terms,
                    id: self.table.id(&place, group, charge, form),
                    state: State::new(form),
                    kept: None,
                    write: None,
                }
            })
            .collect();
        self.table.update(&place, &mut counters, clock_us / 1000, change)
    }

    /// `None`: only a live override would limit the client.
    fn terms(&self, charge: &Charge) -> Option<Terms> {
        if charge.live.as_ref().is_some_and(|live| live.unlimited) {
            return None;
        }
        let mut terms = Terms::of(charge);
        terms.rate.limit = part(self.share, terms.rate.limit);
        terms.algorithm = match terms.algorithm {
            Algorithm::SlidingWindowLog if terms.rate.limit > LONGEST_LOG => Algorithm::SlidingWindowCounter,
            Algorithm::Gcra { burst } => Algorithm::Gcra {
                burst: part(self.share, burst),
            },
            other => other,
        };
        Some(terms)
    }
}

impl ChargedCounter<'_> {
    /// Charges the counter, and updates the verdict to the state afterwards.
    fn take(&mut self, clock_us: u64, verdict: &mut Verdict) -> Mark {
        let Some(terms) = &self.terms else {
            *verdict = Verdict::UNLIMITED;
            return Mark::default();
        };
        let cost = self.charge.cost;
        let mark = self.state.charge(clock_us, terms, cost);
        let charged = self.state.check(clock_us, terms, 0);
        if terms.rate.limit == 0 {
            *verdict = charged;
            return mark;
        }
        *verdict = Verdict {
            allowed: true,
            wait_ms: 0,
            ..charged
        };
        if cost > 0 {
            let ends = after(clock_us, self.state.lasts_ms(clock_us, terms));
            self.write = Some(PendingWrite {
                ends: self.kept.map_or(ends, |kept| kept.ends.max(ends)),
                deny_until: self.deny_until(clock_us, terms),
            });
        }
        mark
    }

    /// Notes that a stored counter denies this call, if it does not say so yet: it may have admitted cheaper calls.
    fn note_denial(&mut self, clock_us: u64, verdict: &Verdict) {
        let now_ms = clock_us / 1000;
        let unknown = |kept: &CounterTimes| kept.deny_until <= now_ms && kept.ends > now_ms;
        if let (false, Some(kept)) = (verdict.allowed, self.kept.filter(unknown)) {
            let deny_until = denies_until(clock_us, verdict, need(self.charge));
            self.write = (deny_until > 0).then_some(PendingWrite {
                ends: kept.ends,
                deny_until,
            });
        }
    }

    /// Until when another such call would be denied, in unix ms; 0: it would pass.
    fn deny_until(&self, clock_us: u64, terms: &Terms) -> u64 {
        let need = need(self.charge);
        denies_until(clock_us, &self.state.check(clock_us, terms, need), need)
    }
}

/// Also 0 for a call that can never pass: it does not spend a counter.
fn denies_until(clock_us: u64, verdict: &Verdict, need: u64) -> u64 {
    let passes_one_day = verdict.limit.is_some_and(|limit| need <= limit);
    match passes_one_day && !verdict.allowed {
        true => after(clock_us, verdict.wait_ms),
        false => 0,
    }
}

/// In unix ms, rounded up: a log counts in µs, and must not expire within its last millisecond.
fn after(clock_us: u64, wait_ms: u64) -> u64 {
    clock_us.div_ceil(1000).saturating_add(wait_ms)
}

fn need(charge: &Charge) -> u64 {
    match charge.charged_on_response {
        true => 1,
        false => charge.cost,
    }
}

/// max(1, ⌊share × N⌋); 0 denies always, whatever the share.
fn part(share: Percent, n: u64) -> u64 {
    let whole = u64::from(Percent::FULL.basis_points());
    let granted = n.saturating_mul(u64::from(share.basis_points())) / whole;
    granted.max(n.min(1))
}

/// The names of the limits that are exact in Redis and approximate here, as their logs are too long. For a log line.
pub fn approximated(policy: &Policy) -> Vec<&str> {
    let longest = |quota: Quota| quota.limit().map_or(0, |limit| part(policy.local.share, limit));
    let limits = policy.limits.iter().filter(|limit| {
        let here = policy.store == Store::Local || limit.on_error == OnError::Local;
        let quotas = limit
            .overrides
            .iter()
            .filter_map(Override::quota)
            .chain([limit.quota]);
        let log = limit.algorithm == Algorithm::SlidingWindowLog;
        here && log && quotas.map(longest).max() > Some(LONGEST_LOG)
    });
    limits.map(|limit| limit.name.as_str()).collect()
}
