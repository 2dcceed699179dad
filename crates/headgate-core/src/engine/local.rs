//! The local store of one engine: which charges are counted there, on the wall clock.

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

    /// Counts those of the group's charges that are counted here.
    pub fn count(&mut self, limits: &[Limit], group: &Group, now: Now) -> Result<ScriptReply, LocalError> {
        let all = self.all;
        self.store
            .count(group, &|charge| counts(all, limits, charge), now.unix_us())
    }

    /// Takes what responses said to have cost.
    pub fn charge(&mut self, limits: &[Limit], group: &Group, now: Now) {
        let all = self.all;
        let _lost = self
            .store
            .charge(group, &|charge| counts(all, limits, charge), now.unix_us());
    }

    /// Returns what a refused request took.
    pub fn give_back(&mut self, group: &Group, reply: &ScriptReply, now: Now) {
        let _kept = self.store.give_back(group, reply, now.unix_us());
    }

    /// Whether the charge is counted here, once it is not (or was not) counted in Redis.
    pub fn counts(&self, limits: &[Limit], charge: &Charge) -> bool {
        counts(self.all, limits, charge)
    }

    /// How many counters were evicted before their time since this was last asked.
    pub fn take_evicted(&mut self) -> u64 {
        self.store.take_evicted()
    }
}

fn counts(all: bool, limits: &[Limit], charge: &Charge) -> bool {
    let limit = limits.get(charge.limit);
    all || limit.is_some_and(|limit| limit.on_error == OnError::Local)
}
