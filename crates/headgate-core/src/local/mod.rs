//! Counting in Envoy's own memory, shared by its workers: `store: local`, and `on_error: local` while Redis is away.
//!
//! Counts as the script does, by the same laws ([`crate::limit::algorithm`]): a group's charges are checked and taken
//! together or not at all. Where counters are kept and which are evicted is `table`'s business; when to count here,
//! the decision's.
//!
//! Three things differ from Redis. This Envoy grants `local.share` of each N (and of gcra's burst), at least 1. A log
//! of more than [`LONGEST_LOG`] calls is counted as a sliding-window counter. Live overrides stand in Redis, so what
//! the configuration says holds here.

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

/// The largest N whose every call is kept here, at 8 bytes each.
pub const LONGEST_LOG: u64 = 64;

/// A counter that is asked and not charged (its client is denied) still counts as used, but is written for that no
/// more often, in ms.
const TOUCH_MS: u64 = 1_000;

/// The host did not keep what was counted.
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

/// One charge of a group, with its counter as it stands.
struct ChargedCounter<'g> {
    charge: &'g Charge,
    /// `None`: nothing limits the client here.
    terms: Option<Terms>,
    id: u64,
    state: State,
    /// As it is stored.
    kept: Option<CounterTimes>,
    /// To be written, and as used now.
    write: Option<PendingWrite>,
}

/// What is stored beside a state, in unix ms.
#[derive(Clone, Copy)]
struct PendingWrite {
    ends: u64,
    deny_until: u64,
}

impl<H: SharedData> LocalStore<H> {
    /// `scope` tells the counters of one instance from another's; `seed` is drawn at random, and used by the first
    /// worker that begins.
    pub fn new(host: H, scope: &str, settings: &LocalSettings, seed: [u64; 2]) -> LocalStore<H> {
        LocalStore {
            table: Table::new(host, scope, settings.max_counters as u64, seed),
            share: settings.share,
        }
    }

    /// Checks the charges that `counts` says are counted here, and takes all or none. The others read as unlimited.
    /// The clock is unix time in µs.
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

    /// Takes the costs, whether they fit or not: those that became known with the response.
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

    /// Takes off what a counting call took, by its own reply: once.
    ///
    /// # Errors
    /// Nothing was given back: too much stays counted.
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

    /// How many counters were evicted before their time since this was last asked.
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
    /// Charges, and says what stands afterwards.
    fn take(&mut self, clock_us: u64, verdict: &mut Verdict) -> Mark {
        let Some(terms) = &self.terms else {
            *verdict = Verdict::UNLIMITED;
            return Mark::default();
        };
        let cost = self.charge.cost;
        let mark = self.state.charge(clock_us, terms, cost);
        let standing = self.state.check(clock_us, terms, 0);
        if terms.rate.limit == 0 {
            *verdict = standing;
            return mark;
        }
        *verdict = Verdict {
            allowed: true,
            wait_ms: 0,
            ..standing
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

    /// A stored counter that denies this call and is not known to deny: it let cheaper ones pass.
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

/// For a call that can never pass, too, it is 0: no counter is spent by it.
fn denies_until(clock_us: u64, verdict: &Verdict, need: u64) -> u64 {
    let passes_one_day = verdict.limit.is_some_and(|limit| need <= limit);
    match passes_one_day && !verdict.allowed {
        true => after(clock_us, verdict.wait_ms),
        false => 0,
    }
}

/// In unix ms, rounded up: a log counts in µs, and must not be forgotten within its last millisecond.
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

/// The limits of a policy that are exact in Redis and approximate here: their logs are too long. For the log.
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
