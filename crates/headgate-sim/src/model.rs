//! A model of the counting script in plain Rust. The script's own tests compare the script on a real Redis with this
//! model, and the simulated Redis runs it.
//!
//! The algorithms are those of `headgate-core`. This module combines them as the script does: check all charges of a
//! group, charge all of them or none, apply live overrides.

use headgate_core::limit::algorithm::{Mark, State, Terms};
use headgate_core::limit::{Charge, Group, Verdict};
use headgate_core::script::LiveQuota;
use std::collections::HashMap;

/// The counters of one Redis, or of all nodes of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// By key and field.
    states: HashMap<Vec<u8>, Fields<State>>,
    /// Live overrides, by key and field.
    overrides: HashMap<Vec<u8>, Fields<String>>,
}

type Fields<T> = HashMap<String, T>;

/// When a cost is charged: on admission, in advance by a lease, or after the response.
#[derive(Debug, Clone, Copy, PartialEq)]
enum ChargeTime {
    AtOnce,
    InAdvance,
    Afterwards,
}

/// A mark for each charge of a group; `None` for a charge that took nothing.
pub type Marks = Vec<Option<Mark>>;

impl Model {
    /// Whether all charges of the group fit, and the verdict of each counter before anything is charged. `lease`: the
    /// permits are spent later. `clock_us` is unix time in µs.
    pub fn check(&self, group: &Group, clock_us: u64, lease: bool) -> (bool, Vec<Verdict>) {
        let need = |charge: &Charge| {
            if charge.charged_on_response {
                1
            } else {
                charge.cost
            }
        };
        let check = |charge: &Charge| {
            let Some(terms) = self.terms(group, charge, clock_us) else {
                return Verdict::UNLIMITED;
            };
            let empty;
            let state = match self.state(group, charge) {
                Some(state) => state,
                None => {
                    empty = State::new(charge.algorithm.form());
                    &empty
                }
            };
            match lease {
                true => state.check_lease(clock_us, &terms, charge.cost),
                false => state.check(clock_us, &terms, need(charge)),
            }
        };
        let verdicts: Vec<Verdict> = group.charges.iter().map(check).collect();
        let denies = |(charge, verdict): (&Charge, &Verdict)| charge.enforced && !verdict.allowed;
        let admitted = !group.charges.iter().zip(&verdicts).any(denies);
        (admitted, verdicts)
    }

    /// Checks all charges, and takes all of them or none. `lease`: the permits are spent later. `clock_us` is unix time in µs.
    pub fn count(&mut self, group: &Group, clock_us: u64, lease: bool) -> (bool, Vec<Verdict>, Marks) {
        let (admitted, mut verdicts) = self.check(group, clock_us, lease);
        let mut marks = vec![None; verdicts.len()];
        if admitted {
            let taken = if lease {
                ChargeTime::InAdvance
            } else {
                ChargeTime::AtOnce
            };
            for ((charge, verdict), mark) in group.charges.iter().zip(&mut verdicts).zip(&mut marks) {
                if verdict.allowed && !charge.charged_on_response {
                    *mark = self.take(group, charge, clock_us, verdict, taken);
                }
            }
        }
        (admitted, verdicts, marks)
    }

    /// Charges the costs even if they do not fit.
    pub fn charge(&mut self, group: &Group, clock_us: u64) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for charge in &group.charges {
            let mut verdict = Verdict::UNLIMITED;
            self.take(group, charge, clock_us, &mut verdict, ChargeTime::Afterwards);
            verdicts.push(verdict);
        }
        verdicts
    }

    /// Refunds the charges that were made under these marks.
    pub fn give_back(&mut self, group: &Group, clock_us: u64, marks: &Marks) {
        for (charge, mark) in group.charges.iter().zip(marks) {
            if let (Some(mark), Some(terms)) = (mark, self.terms(group, charge, clock_us)) {
                self.state_mut(group, charge)
                    .give_back(clock_us, &terms, charge.cost, *mark);
            }
        }
    }

    /// Removes an expired key. Returns whether none of its counters still had an effect. `charges` contains their
    /// terms.
    pub fn expire(&mut self, key: &[u8], charges: &[Charge], clock_us: u64) -> bool {
        self.overrides.remove(key);
        let matters = |(field, state): (String, State)| {
            let Some(charge) = charges.iter().find(|charge| *charge.field == *field) else {
                return false;
            };
            let mut terms = Terms::of(charge);
            terms.rate.limit = terms.rate.limit.max(1);
            state.lasts_ms(clock_us, &terms) > 0
        };
        let states = self.states.remove(key).unwrap_or_default();
        !states.into_iter().any(matters)
    }

    /// Removes the keys for which `is_lost` returns `true`, as a node that restarts without its memory.
    pub fn remove_keys(&mut self, is_lost: impl Fn(&[u8]) -> bool) {
        self.states.retain(|key, _| !is_lost(key));
        self.overrides.retain(|key, _| !is_lost(key));
    }

    /// Restores the keys for which `is_lost` returns `true` from the earlier state `then`, as after a failover to a
    /// replica that lags behind.
    pub fn go_back(&mut self, then: &Model, is_lost: impl Fn(&[u8]) -> bool) {
        self.remove_keys(&is_lost);
        let states = then.states.iter().filter(|(key, _)| is_lost(key));
        self.states
            .extend(states.map(|(key, fields)| (key.clone(), fields.clone())));
        let overrides = then.overrides.iter().filter(|(key, _)| is_lost(key));
        self.overrides
            .extend(overrides.map(|(key, fields)| (key.clone(), fields.clone())));
    }

    /// Sets a live override; `None`: removes it.
    pub fn set_override(&mut self, key: &[u8], field: &str, value: Option<String>) {
        match value {
            Some(value) => {
                let fields = self.overrides.entry(key.to_vec()).or_default();
                fields.insert(field.to_owned(), value);
            }
            None => {
                if let Some(fields) = self.overrides.get_mut(key) {
                    fields.remove(field);
                }
            }
        }
    }

    /// The value of a live override.
    pub fn live_override(&self, key: &[u8], field: &str) -> Option<&str> {
        self.overrides.get(key)?.get(field).map(String::as_str)
    }

    /// The state of a counter; `None` if nothing was counted there.
    pub fn counter(&self, key: &[u8], field: &str) -> Option<&State> {
        self.states.get(key)?.get(field)
    }

    /// The terms of a charge with its live override applied; `None`: unlimited.
    fn terms(&self, group: &Group, charge: &Charge, clock_us: u64) -> Option<Terms> {
        let mut terms = Terms::of(charge);
        let Some(live) = &charge.live else {
            return Some(terms);
        };
        let quota = self
            .live_override(&group.keys[live.key], &live.field)
            .and_then(|value| LiveQuota::parse(value.as_bytes()))
            .filter(|quota| quota.holds(clock_us / 1000));
        match quota {
            Some(quota) => {
                terms.rate.limit = quota.limit_for(charge.algorithm.form(), charge.rate.period)?;
                Some(terms)
            }
            None => (!live.unlimited).then_some(terms),
        }
    }

    fn state(&self, group: &Group, charge: &Charge) -> Option<&State> {
        self.counter(&group.keys[charge.key], &charge.field)
    }

    fn state_mut(&mut self, group: &Group, charge: &Charge) -> &mut State {
        let key = &group.keys[charge.key];
        let fields = self.states.entry(key.clone()).or_default();
        fields
            .entry(charge.field.to_string())
            .or_insert_with(|| State::new(charge.algorithm.form()))
    }

    fn take(
        &mut self,
        group: &Group,
        charge: &Charge,
        clock_us: u64,
        verdict: &mut Verdict,
        taken: ChargeTime,
    ) -> Option<Mark> {
        let mut terms = self.terms(group, charge, clock_us)?;
        terms.overdraws |= taken == ChargeTime::Afterwards;
        let state = self.state_mut(group, charge);
        let mark = match taken {
            ChargeTime::InAdvance => state.charge_lease(clock_us, &terms, charge.cost),
            _ => state.charge(clock_us, &terms, charge.cost),
        };
        let after = state.check(clock_us, &terms, 0);
        *verdict = match terms.rate.limit {
            0 => after,
            _ => Verdict {
                allowed: true,
                wait_ms: 0,
                ..after
            },
        };
        (charge.cost > 0).then_some(mark)
    }
}
