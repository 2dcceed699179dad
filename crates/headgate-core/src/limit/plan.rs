//! The plan for one request: which counters it charges, and their keys.

use crate::limit::algorithm::Terms;
use crate::limit::{Algorithm, Limit, Rate};
use crate::redis::HashSlot;
use std::rc::Rc;

/// The result of applying the policy to one request, before anything is counted.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Matched by `exempt`: neither limited nor counted.
    Exempt,
    /// What to count. Without groups, no limit applies.
    Count {
        /// One for each hash tag.
        groups: Vec<Group>,
        /// Set if an enforced limit by client matched and the client is not identified.
        no_client: Option<NoClient>,
        /// The number of cost headers with an invalid cost, which count as 1.
        broken_costs: u32,
    },
}

/// Why a caller is not identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoClient {
    /// No source yields a value.
    Unknown,
    /// A source yields several values, and such requests are refused.
    Ambiguous,
}

/// Counters that share a hash tag: one script call, checked and charged together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Distinct; the client's hash comes first, if needed.
    pub keys: Vec<Vec<u8>>,
    /// In the policy's order; never empty.
    pub charges: Vec<Charge>,
}

impl Group {
    /// The slot of its keys. Computed only for groups that are sent.
    pub fn slot(&self) -> HashSlot {
        HashSlot::of(self.keys.first().map(Vec::as_slice).unwrap_or_default())
    }

    /// Splits the group into one for each key. While a slot moves, Redis refuses calls with several keys. Together the
    /// parts are no longer atomic. A live override is left out if it is not in the same key as its counter.
    pub fn split(&self) -> Vec<Group> {
        let single = |(key, name): (usize, &Vec<u8>)| {
            let charges: Vec<Charge> = self
                .charges
                .iter()
                .filter_map(|charge| charge.alone(key))
                .collect();
            let group = Group {
                keys: vec![name.clone()],
                charges,
            };
            (!group.charges.is_empty()).then_some(group)
        };
        self.keys.iter().enumerate().filter_map(single).collect()
    }

    /// Whether one of the costs comes with the response.
    pub fn has_response_cost(&self) -> bool {
        self.charges.iter().any(|charge| charge.charged_on_response)
    }

    /// The charges on the response; `cost` returns the cost for the index of a limit. `None` if there is nothing to
    /// charge.
    pub fn response_charges(&self, mut cost: impl FnMut(usize) -> u64) -> Option<Group> {
        let mut group = Group {
            keys: Vec::new(),
            charges: Vec::new(),
        };
        for charge in self.charges.iter().filter(|charge| charge.charged_on_response) {
            let cost = cost(charge.limit);
            if cost == 0 {
                continue;
            }
            let key = self.key_in(charge.key, &mut group.keys);
            let live = charge.live.as_ref().map(|live| LiveOverride {
                key: self.key_in(live.key, &mut group.keys),
                ..live.clone()
            });
            group.charges.push(Charge {
                key,
                cost,
                live,
                ..charge.clone()
            });
        }
        (!group.charges.is_empty()).then_some(group)
    }

    /// The index in `keys` of a key of this group; adds it if needed.
    fn key_in(&self, key: usize, keys: &mut Vec<Vec<u8>>) -> usize {
        let name = self.keys.get(key).map(Vec::as_slice).unwrap_or_default();
        keys.iter().position(|known| known == name).unwrap_or_else(|| {
            keys.push(name.to_vec());
            keys.len() - 1
        })
    }
}

impl Terms {
    /// The terms of a charge, before a live override.
    pub fn of(charge: &Charge) -> Terms {
        Terms {
            algorithm: charge.algorithm,
            rate: charge.rate,
            phase_ms: charge.phase_ms,
            overdraws: charge.charged_on_response,
        }
    }
}

impl Charge {
    /// The path pattern by which the limit matched, as written; `None` if its match has none.
    pub fn path_pattern<'l>(&self, limits: &'l [Limit]) -> Option<&'l str> {
        limits.get(self.limit)?.path_pattern(self.matched?)
    }

    /// This charge, for a call that has only this key. `None` if its counter has another key, or if the client is
    /// limited only by a live override in another key.
    fn alone(&self, key: usize) -> Option<Charge> {
        let live = self.live.clone().filter(|live| live.key == key);
        let limited = live.is_some() || !self.live.as_ref().is_some_and(|live| live.unlimited);
        (self.key == key && limited).then(|| Charge {
            key: 0,
            live: live.map(|live| LiveOverride { key: 0, ..live }),
            ..self.clone()
        })
    }
}

/// One counter, and what this request charges it.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    /// Index into the policy's limits.
    pub limit: usize,
    /// Index into the limit's matches: the one that fits, if it has any.
    pub matched: Option<usize>,
    /// Index into [`Group::keys`].
    pub key: usize,
    /// The hash field that holds the counter; unused by a log, which is a key of its own.
    pub field: Rc<str>,
    /// How the counter counts.
    pub algorithm: Algorithm,
    /// After overrides.
    pub rate: Rate,
    /// In requests: 0 to N, or above N for a call that can never pass.
    pub cost: u64,
    /// The cost is charged on the response. The call passes if at least 1 is left, and charges nothing yet (`cost` is
    /// not used).
    pub charged_on_response: bool,
    /// `false`: the limit is in shadow mode for this client.
    pub enforced: bool,
    /// Offset of a fixed window with `align: client`, in ms, less than the period. 0 for all other counters.
    pub phase_ms: u64,
    /// Where a live override is stored, if the limit allows one.
    pub live: Option<LiveOverride>,
}

/// Where a live override of this counter's N is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveOverride {
    /// Index into [`Group::keys`]: the client's hash.
    pub key: usize,
    /// The field of that hash.
    pub field: Rc<str>,
    /// If no override is stored, the client is not limited. Of [`Charge::rate`] only the period is used.
    pub unlimited: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Period;

    #[test]
    fn only_response_costs_are_charged_on_response() {
        let charge = |limit, key, charged_on_response| Charge {
            limit,
            matched: None,
            key,
            field: "f".into(),
            algorithm: Algorithm::SlidingWindowCounter,
            rate: Rate {
                limit: 10,
                period: Period::from_millis(1_000).unwrap(),
            },
            cost: 1,
            charged_on_response,
            enforced: true,
            phase_ms: 0,
            live: None,
        };
        let mut group = Group {
            keys: vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()],
            charges: vec![charge(0, 1, false), charge(1, 2, true), charge(2, 1, true)],
        };
        group.charges[1].live = Some(LiveOverride {
            key: 0,
            field: "o".into(),
            unlimited: false,
        });
        assert!(group.has_response_cost());
        let costs = |limit| [9, 7, 0][limit];
        let after = group.response_charges(costs).unwrap();
        assert_eq!(after.keys, [b"c".to_vec(), b"a".to_vec()]);
        assert_eq!(after.charges.len(), 1);
        let only = &after.charges[0];
        assert_eq!((only.limit, only.key, only.cost), (1, 0, 7));
        assert_eq!(only.live.as_ref().map(|live| live.key), Some(1));
        group.charges.truncate(1);
        assert_eq!(group.response_charges(costs), None);
        assert!(!group.has_response_cost());
    }
}
