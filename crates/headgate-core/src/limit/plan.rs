//! Which counters a request meets, and where they live: the policy applied to one request.

use crate::limit::algorithm::Terms;
use crate::limit::{Algorithm, Limit, Rate};
use crate::redis::HashSlot;
use std::rc::Rc;

/// What the policy says of one request before anything is counted.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Matched by `exempt`: neither limited nor counted.
    Exempt,
    /// What to count; no group means that no limit holds.
    Count {
        groups: Vec<Group>,
        /// A limit that keys by client, and is not in shadow, matched, and the caller is not identified.
        no_client: Option<NoClient>,
        /// Cost headers that were there and no cost, and so count as 1.
        broken_costs: u32,
    },
}

/// Why a caller is not identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoClient {
    /// No source yields a value.
    Unknown,
    /// A source yields several, and such requests are to be refused.
    Ambiguous,
}

/// Counters that share a hash tag: one script call, checked and charged together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Distinct; the client's hash first where one is needed.
    pub keys: Vec<Vec<u8>>,
    /// In the policy's order; never empty.
    pub charges: Vec<Charge>,
}

impl Group {
    /// Where its keys live; worked out for those alone that are sent.
    pub fn slot(&self) -> HashSlot {
        HashSlot::of(self.keys.first().map(Vec::as_slice).unwrap_or_default())
    }

    /// One group for each key: what is still possible while a slot moves and calls with several keys are refused.
    /// Together they are no longer atomic. A live override in another key than its counter's is left out.
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

    /// Whether a cost is still to come with the response.
    pub fn has_response_cost(&self) -> bool {
        self.charges.iter().any(|charge| charge.charged_on_response)
    }

    /// The charges whose costs have come with the response, at the cost that `cost` says for the limit of an index;
    /// `None` where there is nothing to charge.
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

    /// Where a key of this group stands in `keys`, added where it does not yet.
    fn key_in(&self, key: usize, keys: &mut Vec<Vec<u8>>) -> usize {
        let name = self.keys.get(key).map(Vec::as_slice).unwrap_or_default();
        keys.iter().position(|known| known == name).unwrap_or_else(|| {
            keys.push(name.to_vec());
            keys.len() - 1
        })
    }
}

impl Terms {
    /// A charge's own terms, before a live override.
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
    /// The path pattern by which the limit holds, as written; `None` where its match has none.
    pub fn path_pattern<'l>(&self, limits: &'l [Limit]) -> Option<&'l str> {
        limits.get(self.limit)?.path_pattern(self.matched?)
    }

    /// This charge in a call with its key alone; `None` where that is another key, or where nothing but an override
    /// elsewhere would limit the client.
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

/// One counter, and what this request takes from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    /// Index into the policy's limits.
    pub limit: usize,
    /// Index into the limit's matches: by which it holds, where it has any.
    pub matched: Option<usize>,
    /// Index into [`Group::keys`].
    pub key: usize,
    /// The hash field that holds the counter; unused by a log, which is a key of its own.
    pub field: Rc<str>,
    pub algorithm: Algorithm,
    /// After overrides.
    pub rate: Rate,
    /// 0 to N, or above N for what can never pass.
    pub cost: u64,
    /// The cost comes with the response: the call needs 1 left to pass, and takes nothing yet (`cost` is not used).
    pub charged_on_response: bool,
    /// `false`: in shadow for this client.
    pub enforced: bool,
    /// Shift of a fixed window aligned by client, in ms, below the period; else 0.
    pub phase_ms: u64,
    pub live: Option<LiveOverride>,
}

/// Where a live override of this counter's N stands.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveOverride {
    /// Index into [`Group::keys`]: the client's hash.
    pub key: usize,
    pub field: Rc<str>,
    /// Where none stands, this client is not limited, and of [`Charge::rate`] only the period means anything.
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
