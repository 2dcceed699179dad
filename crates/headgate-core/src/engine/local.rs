//! The local store of one engine: selects the charges that are counted there.

use super::call::Now;
use crate::limit::{Charge, Group, Limit, OnError};
use crate::local::{LocalError, LocalStore, SharedData};
use crate::model::{Policy, Store};
use crate::script::ScriptReply;

pub struct Local<S> {
    store: LocalStore<S>,
    /// `store: local`: everything is counted here.
    all: bool,
}

impl<S: SharedData> Local<S> {
    pub fn new(policy: &Policy, shared: S, seed: [u64; 2]) -> Local<S> {
        let scope = format!("{}:{}", policy.redis.key_prefix, policy.instance);
        Local {
            store: LocalStore::new(shared, &scope, &policy.local, seed),
            all: policy.store == Store::Local,
        }
    }

    /// Counts the charges of the group that belong to the local store.
    pub fn count(&mut self, limits: &[Limit], group: &Group, now: Now) -> Result<ScriptReply, LocalError> {
        let all = self.all;
        self.store
            .count(group, &|charge| counts(all, limits, charge), now.unix_us())
    }

    /// Charges the costs that responses reported.
    pub fn charge(&mut self, limits: &[Limit], group: &Group, now: Now) {
        let all = self.all;
        let _lost = self
            .store
            .charge(group, &|charge| counts(all, limits, charge), now.unix_us());
    }

    /// Refunds what a refused request was charged.
    pub fn give_back(&mut self, group: &Group, reply: &ScriptReply, now: Now) {
        let _kept = self.store.give_back(group, reply, now.unix_us());
    }

    /// Whether the charge is counted here if Redis does not count it.
    pub fn counts(&self, limits: &[Limit], charge: &Charge) -> bool {
        counts(self.all, limits, charge)
    }

    /// The number of counters that were evicted before they expired, since the last call.
    pub fn take_evicted(&mut self) -> u64 {
        self.store.take_evicted()
    }
}

fn counts(all: bool, limits: &[Limit], charge: &Charge) -> bool {
    let limit = limits.get(charge.limit);
    all || limit.is_some_and(|limit| limit.on_error == OnError::Local)
}
