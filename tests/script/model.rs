//! What the script should answer: the algorithms in pure Rust, over a group of charges.

use headgate_core::limit::algorithm::{Mark, State, Terms};
use headgate_core::limit::{Charge, Group, Verdict};
use headgate_core::script::LiveQuota;
use std::collections::HashMap;

#[derive(Default)]
pub struct Model {
    /// By key and field.
    states: HashMap<(Vec<u8>, String), State>,
    /// Live overrides by field.
    pub overrides: HashMap<String, String>,
}

/// When a cost is charged: as the call passes, before it by a lease, or with its response.
#[derive(Clone, Copy, PartialEq)]
enum Taken {
    AtOnce,
    InAdvance,
    Afterwards,
}

impl Taken {
    fn by(lease: bool) -> Taken {
        match lease {
            true => Taken::InAdvance,
            false => Taken::AtOnce,
        }
    }
}

/// What a group was charged: a mark for each charge that was.
pub type Marks = Vec<Option<Mark>>;

impl Model {
    /// `lease`: what is taken is spent later.
    pub fn count(&mut self, group: &Group, clock_us: u64, lease: bool) -> (bool, Vec<Verdict>, Marks) {
        let need = |charge: &Charge| if charge.later { 1 } else { charge.cost };
        let mut verdicts: Vec<Verdict> = group
            .charges
            .iter()
            .map(|charge| match self.terms(charge, clock_us) {
                Some(terms) if lease => self
                    .state(group, charge)
                    .check_lease(clock_us, &terms, charge.cost),
                Some(terms) => self.state(group, charge).check(clock_us, &terms, need(charge)),
                None => Verdict::UNLIMITED,
            })
            .collect();
        let denies = |(charge, verdict): (&Charge, &Verdict)| charge.enforced && !verdict.allowed;
        let admitted = !group.charges.iter().zip(&verdicts).any(denies);
        let mut marks = vec![None; verdicts.len()];
        for (at, charge) in group.charges.iter().enumerate().filter(|_| admitted) {
            if verdicts[at].allowed && !charge.later {
                marks[at] = self.take(group, charge, clock_us, &mut verdicts[at], Taken::by(lease));
            }
        }
        (admitted, verdicts, marks)
    }

    /// Charges the costs, whether they fit or not.
    pub fn charge(&mut self, group: &Group, clock_us: u64) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for charge in &group.charges {
            let mut verdict = Verdict::UNLIMITED;
            self.take(group, charge, clock_us, &mut verdict, Taken::Afterwards);
            verdicts.push(verdict);
        }
        verdicts
    }

    pub fn give_back(&mut self, group: &Group, clock_us: u64, marks: &Marks) {
        for (charge, mark) in group.charges.iter().zip(marks) {
            if let (Some(mark), Some(terms)) = (mark, self.terms(charge, clock_us)) {
                self.state(group, charge)
                    .give_back(clock_us, &terms, charge.cost, *mark);
            }
        }
    }

    /// The key is gone. Whether none of its counters mattered any more.
    pub fn expire(&mut self, key: &[u8], charges: &[Charge], clock_us: u64) -> bool {
        let mut nothing = true;
        for ((_, field), state) in self.states.iter_mut().filter(|((at, _), _)| at == key) {
            let Some(charge) = charges.iter().find(|charge| *charge.field == **field) else {
                continue;
            };
            let mut terms = Terms::of(charge);
            terms.rate.limit = terms.rate.limit.max(1);
            nothing &= state.lasts_ms(clock_us, &terms) == 0;
            *state = State::new(charge.algorithm.form());
        }
        nothing
    }

    /// `None`: unlimited.
    fn terms(&self, charge: &Charge, clock_us: u64) -> Option<Terms> {
        let mut terms = Terms::of(charge);
        let Some(live) = &charge.live else {
            return Some(terms);
        };
        let quota = self
            .overrides
            .get(&*live.field)
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

    fn state(&mut self, group: &Group, charge: &Charge) -> &mut State {
        let at = (group.keys[charge.key].clone(), charge.field.to_string());
        self.states
            .entry(at)
            .or_insert_with(|| State::new(charge.algorithm.form()))
    }

    fn take(
        &mut self,
        group: &Group,
        charge: &Charge,
        clock_us: u64,
        verdict: &mut Verdict,
        taken: Taken,
    ) -> Option<Mark> {
        let mut terms = self.terms(charge, clock_us)?;
        terms.overdraws |= taken == Taken::Afterwards;
        let state = self.state(group, charge);
        let mark = match taken {
            Taken::InAdvance => state.charge_lease(clock_us, &terms, charge.cost),
            _ => state.charge(clock_us, &terms, charge.cost),
        };
        let standing = state.check(clock_us, &terms, 0);
        *verdict = match terms.rate.limit {
            0 => standing,
            _ => Verdict {
                allowed: true,
                wait_ms: 0,
                ..standing
            },
        };
        (charge.cost > 0).then_some(mark)
    }
}
