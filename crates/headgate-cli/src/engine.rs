//! Counts without a Redis: the core's algorithms on a clock that is an argument, put together as the script does.

use headgate_core::config::Policy;
use headgate_core::decision::{Counted, CountedBy, Decision, Outcome};
use headgate_core::identify::{Attributes, Hasher, Identity};
use headgate_core::limit::algorithm::{State, Terms};
use headgate_core::limit::{Charge, Group, Plan, Planner, Verdict};
use std::collections::HashMap;
use std::rc::Rc;

/// A policy and the counters of its clients.
pub struct Engine<'p> {
    policy: &'p Policy,
    pub planner: Planner,
    counters: HashMap<(Vec<u8>, Rc<str>), State>,
}

/// What became of one request.
pub struct Counting {
    pub decision: Decision,
    /// Limits that held and were counted.
    pub held: Vec<usize>,
    /// Enforced ones that were spent.
    pub denied_by: Vec<usize>,
}

impl<'p> Engine<'p> {
    pub fn new(policy: &'p Policy, hasher: Hasher) -> Engine<'p> {
        Engine {
            policy,
            planner: Planner::new(policy, hasher),
            counters: HashMap::new(),
        }
    }

    /// Counts one request. `later` is the cost that a response tells, where a limit charges by that.
    ///
    /// All groups are checked before any is charged: that is what giving back comes to.
    pub fn count(
        &mut self,
        clock_us: u64,
        request: &dyn Attributes,
        identity: &Identity,
        later: u64,
    ) -> Counting {
        let groups = match self.planner.plan(request, identity) {
            Plan::Exempt => return Counting::without(Decision::uncounted(Outcome::Exempt)),
            Plan::Count {
                groups, no_client, ..
            } => {
                let refused =
                    no_client.and_then(|why| Decision::no_client(self.policy, why, !groups.is_empty()));
                match refused {
                    Some(decision) => return Counting::without(decision),
                    None if groups.is_empty() => {
                        return Counting::without(Decision::uncounted(Outcome::Allowed))
                    }
                    None => groups,
                }
            }
        };
        let mut verdicts: Vec<(&Group, &Charge, Verdict)> = Vec::new();
        for group in &groups {
            for charge in &group.charges {
                let verdict = match is_unlimited(charge) {
                    true => Verdict::UNLIMITED,
                    false => self
                        .counter(group, charge)
                        .check(clock_us, &Terms::of(charge), need(charge)),
                };
                verdicts.push((group, charge, verdict));
            }
        }
        let denies = |(_, charge, verdict): &&(&Group, &Charge, Verdict)| charge.enforced && !verdict.allowed;
        let denied_by: Vec<usize> = verdicts
            .iter()
            .filter(denies)
            .map(|(_, charge, _)| charge.limit)
            .collect();
        if denied_by.is_empty() {
            for (group, charge, verdict) in verdicts
                .iter_mut()
                .filter(|(_, charge, verdict)| verdict.allowed && !is_unlimited(charge))
            {
                let terms = Terms::of(charge);
                let counter = self.counter(group, charge);
                counter.charge(clock_us, &terms, if charge.later { later } else { charge.cost });
                *verdict = Verdict {
                    allowed: true,
                    wait_ms: 0,
                    ..counter.check(clock_us, &terms, 0)
                };
            }
        }
        let counted = verdicts.iter().map(|(_, charge, verdict)| Counted {
            charge,
            verdict: Some(*verdict),
            by: CountedBy::Redis,
        });
        Counting {
            decision: Decision::from_counted(&self.policy.limits, counted),
            held: verdicts.iter().map(|(_, charge, _)| charge.limit).collect(),
            denied_by,
        }
    }

    fn counter(&mut self, group: &Group, charge: &Charge) -> &mut State {
        let key = group.keys.get(charge.key).cloned().unwrap_or_default();
        let new = || State::new(charge.algorithm.form());
        self.counters
            .entry((key, Rc::clone(&charge.field)))
            .or_insert_with(new)
    }
}

impl Counting {
    fn without(decision: Decision) -> Counting {
        Counting {
            decision,
            held: Vec::new(),
            denied_by: Vec::new(),
        }
    }
}

/// Limited by a live override alone, and here is none.
fn is_unlimited(charge: &Charge) -> bool {
    charge.live.as_ref().is_some_and(|live| live.unlimited)
}

fn need(charge: &Charge) -> u64 {
    if charge.later {
        1
    } else {
        charge.cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::loaded;
    use crate::request::MadeUp;

    const SECOND: u64 = 1_000_000;
    const START: u64 = 1_800_000_000 * SECOND;

    /// Outcomes of calls, one a second, all from one client.
    fn outcomes(policy: &str, calls: u64) -> String {
        let loaded = loaded(policy);
        let mut engine = Engine::new(&loaded.policy, Hasher::new(None));
        let mut request = MadeUp::new("GET", "/", "h");
        request.address = "192.0.2.1".parse().ok();
        (0..calls)
            .map(|call| {
                let identity = engine.planner.identify(&request);
                let counting = engine.count(START + call * SECOND, &request, &identity, 1);
                match counting.decision.outcome {
                    Outcome::Allowed => '+',
                    Outcome::Denied => '-',
                    _ => '?',
                }
            })
            .collect()
    }

    #[test]
    fn a_limit_lets_through_what_it_grants_and_again_when_it_is_back() {
        let log = "{limits: [{name: a, rate: 3/10s, algorithm: sliding_window_log}]}";
        assert_eq!(outcomes(log, 14), "+++-------+++-");
    }

    #[test]
    fn what_one_limit_denies_is_charged_to_none() {
        let both = "{limits: [{name: few, rate: 1/5s, algorithm: sliding_window_log}, {name: many, rate: 3/h, algorithm: sliding_window_log, key: [address, method]}]}";
        assert_eq!(outcomes(both, 18), "+----+----+-------");
    }

    #[test]
    fn a_limit_in_shadow_is_never_in_the_way() {
        let shadow = "{limits: [{name: shadow, rate: 1/h, enforce: false}, {name: real, rate: 3/h}]}";
        assert_eq!(outcomes(shadow, 5), "+++--");
    }
}
