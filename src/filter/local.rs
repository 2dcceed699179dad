//! The local store of one worker: Envoy's shared data below it, the wall clock and a metric beside it.

use super::host;
use crate::config::{Policy, Store};
use crate::limit::{Charge, Group, Limit, OnError};
use crate::local::{LocalError, LocalStore};
use crate::script::Reply;
use crate::telemetry::meter::{Kind, Meter as _};

/// Counters that were forgotten before their time, because there were more than `local.max_counters`.
const EVICTED: &str = "headgate_local_evicted_total";

pub struct Local {
    store: LocalStore<host::SharedValues>,
    /// `store: local`: everything is counted here.
    all: bool,
    /// The metric.
    evicted: Option<u32>,
}

impl Local {
    /// Defines the metric: call it from `on_configure`.
    pub fn new(policy: &Policy) -> Local {
        let scope = format!("{}:{}", policy.redis.key_prefix, policy.instance);
        let seed = [fastrand::u64(..), fastrand::u64(..)];
        Local {
            store: LocalStore::new(host::SharedValues, &scope, &policy.local, seed),
            all: policy.store == Store::Local,
            evicted: policy
                .metrics
                .enabled
                .then(|| host::Metrics.define(Kind::Counter, EVICTED))
                .flatten(),
        }
    }

    /// Counts those of the group's charges that are counted here.
    pub fn count(&self, limits: &[Limit], group: &Group) -> Result<Reply, LocalError> {
        let reply = self
            .store
            .count(group, &|charge| self.counts(limits, charge), host::unix_us());
        self.note_evicted();
        reply
    }

    /// Takes what responses said to have cost.
    pub fn charge(&self, limits: &[Limit], group: &Group) {
        let _lost = self
            .store
            .charge(group, &|charge| self.counts(limits, charge), host::unix_us());
        self.note_evicted();
    }

    /// Returns what a refused request took.
    pub fn give_back(&self, group: &Group, reply: &Reply) {
        let _kept = self.store.give_back(group, reply, host::unix_us());
    }

    /// Whether the charge is counted here, once it is not (or was not) counted in Redis.
    pub fn counts(&self, limits: &[Limit], charge: &Charge) -> bool {
        let limit = limits.get(charge.limit);
        self.all || limit.is_some_and(|limit| limit.on_error == OnError::Local)
    }

    fn note_evicted(&self) {
        let counters = self.store.take_evicted();
        if let (Some(metric), true) = (self.evicted, counters > 0) {
            host::Metrics.add(metric, i64::try_from(counters).unwrap_or(i64::MAX));
        }
    }
}
