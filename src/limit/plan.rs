//! Which counters a request meets, and where they live: the policy applied to one request.

use crate::limit::{Algorithm, Rate};
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
        /// A limit that keys by client, and is not in shadow, matched, and no source named one.
        no_client: bool,
    },
}

/// Counters that share a hash tag: one script call, checked and charged together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    pub slot: HashSlot,
    /// Distinct; the client's hash first where one is needed.
    pub keys: Vec<Vec<u8>>,
    /// In the policy's order; never empty.
    pub charges: Vec<Charge>,
}

impl Group {
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
                slot: self.slot,
                keys: vec![name.clone()],
                charges,
            };
            (!group.charges.is_empty()).then_some(group)
        };
        self.keys.iter().enumerate().filter_map(single).collect()
    }
}

impl Charge {
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
    pub later: bool,
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
