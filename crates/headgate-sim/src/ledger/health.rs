//! Whether a fault can have affected a request. If none can, Redis must have counted the request.

use super::{shard_of, Ledger, RequestRecord};
use crate::fault::{Fault, PlannedFault};
use crate::time::{Micros, MS, SECOND};
use std::collections::BTreeSet;

/// How long after a fault of a shard its circuit breaker is closed again, in µs.
const SHARD_RECOVERS: Micros = 1_500 * MS;

/// How long after a fault of streams they are open again, in µs. Backoffs are 5 s at most.
const STREAMS_RECOVER: Micros = 6 * SECOND;

/// How long before its deadline a request can still be counted, if `redis_proxy` knows the nodes by then. In µs.
const STARTS: Micros = 40 * MS;

impl Ledger {
    /// Whether no fault affected the request until `until`, so that Redis must have counted it.
    pub(super) fn is_healthy(&self, record: &RequestRecord, until: Micros) -> bool {
        let known = &self.engines[record.engine];
        let timeout = known.policy.redis.timeout.as_micros() as Micros;
        if self.is_tight(timeout) || known.policy.redis.max_in_flight < 1_000 {
            return false;
        }
        let network = self.network.borrow();
        let keys = record.groups.iter().flat_map(|group| &group.keys);
        let shards: BTreeSet<usize> = keys.map(|key| shard_of(&network, key)).collect();
        let apart = network.knows_slot_owners(record.engine, record.at);
        let touches = |planned: &PlannedFault| {
            let recovers = recovers(&planned.fault);
            let early = matches!(planned.fault, Fault::NoHost { .. }) && planned.from == 0;
            let starts = STARTS + 5 * self.scenario.network.latency.1;
            if early && planned.until + starts < record.at + timeout {
                return false;
            }
            let holds = planned.from <= until && record.at < planned.until + recovers;
            let read = matches!(planned.fault, Fault::Stall { .. }) && self.reads_after_stall(record);
            holds
                && !read
                && self.touches(record.engine, &planned.fault, |shard| {
                    !apart || shards.contains(&shard)
                })
        };
        !self.scenario.faults.iter().any(touches)
    }

    /// Whether requests may exceed this timeout without any fault: two round trips to Redis, and the opening of a stream.
    fn is_tight(&self, timeout: Micros) -> bool {
        let settings = &self.scenario.network;
        timeout < 5 * settings.latency.1 + 8 * settings.hop + 30 * MS
    }

    /// Whether a stall does not affect the request, because the replies that arrived meanwhile are read after it. This needs
    /// a fast network without other faults, and Redis must have counted before the end of the stall.
    fn reads_after_stall(&self, record: &RequestRecord) -> bool {
        let settings = &self.scenario.network;
        let mut others = self.scenario.faults.iter();
        let stalls_alone = others.all(|planned| matches!(planned.fault, Fault::Stall { .. }));
        if !stalls_alone || settings.latency.1 > 2 * MS || settings.hop > 100 {
            return false;
        }
        let until = self.now;
        let known = &self.engines[record.engine];
        let near = |planned: &&PlannedFault| match planned.fault {
            Fault::Stall { envoy, worker } => {
                let own = envoy.has(known.envoy) && worker.has(known.worker);
                own && planned.from <= until + SECOND && record.at < planned.until + SECOND
            }
            _ => false,
        };
        let stalls: Vec<&PlannedFault> = self.scenario.faults.iter().filter(near).collect();
        let over = stalls.first().map_or(0, |stall| stall.until);
        let network = self.network.borrow();
        let counted = |tag: &u64| {
            let execution = self.calls[tag]
                .execution
                .map(|index| &network.journal.executions[index]);
            execution.is_some_and(|execution| execution.at < over)
        };
        stalls.len() <= 1 && !record.tags.is_empty() && record.tags.iter().all(counted)
    }

    /// Whether a fault of this history can have opened a circuit breaker of the engine by now.
    pub(super) fn may_open_breaker(&self, engine: usize) -> bool {
        let timeout = self.engines[engine].policy.redis.timeout.as_micros() as Micros;
        let touches = |planned: &PlannedFault| {
            let stall = matches!(planned.fault, Fault::Stall { .. });
            let since = planned.until + recovers(&planned.fault) + 2 * timeout;
            !stall
                && planned.from <= self.now
                && self.now < since
                && self.touches(engine, &planned.fault, |_| true)
        };
        self.is_tight(timeout) || self.scenario.faults.iter().any(touches)
    }

    /// Since when the shard has been silent; `None`: it may have replied, or the worker stalled.
    pub(super) fn silent_since(&self, engine: usize, shard: usize) -> Option<Micros> {
        let now = self.now;
        let freezes = |planned: &&PlannedFault| match planned.fault {
            Fault::Frozen { shard: which } => which.has(shard) && planned.from <= now && now < planned.until,
            _ => false,
        };
        let frozen = self.scenario.faults.iter().filter(freezes);
        let since = frozen.map(|planned| planned.from).min()?;
        // Earlier replies are still on their way.
        let since = since + 50 * MS;
        (self.stalled(engine, since.saturating_sub(SECOND), now) == 0).then_some(since)
    }

    /// How long the engine's worker was stalled in this time, in µs.
    pub(super) fn stalled(&self, engine: usize, from: Micros, until: Micros) -> Micros {
        let known = &self.engines[engine];
        let stalls = self.scenario.faults.iter().filter(|planned| match planned.fault {
            Fault::Stall { envoy, worker } => envoy.has(known.envoy) && worker.has(known.worker),
            _ => false,
        });
        stalls
            .filter(|planned| planned.from <= until && from < planned.until)
            .map(|planned| planned.until - planned.from)
            .sum()
    }

    /// Whether the fault can prevent Redis from counting calls of the engine to these shards.
    fn touches(&self, engine: usize, fault: &Fault, uses_shard: impl Fn(usize) -> bool) -> bool {
        let known = &self.engines[engine];
        let shards = 0..self.scenario.network.shards.max(1);
        let mut affected = shards.filter(|shard| uses_shard(*shard));
        match fault {
            Fault::Down { shard, .. }
            | Fault::Frozen { shard }
            | Fault::Latency { shard, .. }
            | Fault::Loss { shard, .. }
            | Fault::Error { shard, .. } => affected.any(|index| shard.has(index)),
            Fault::Failover { shard, .. } => affected.any(|index| index == *shard),
            Fault::BreakStreams { envoy, .. }
            | Fault::Garbage { envoy }
            | Fault::NoStreams { envoy }
            | Fault::StreamsDie { envoy }
            | Fault::SendFails { envoy }
            | Fault::Mute { envoy }
            | Fault::NoHost { envoy }
            | Fault::UpstreamFailure { envoy }
            | Fault::GuardRefuses { envoy } => envoy.has(known.envoy),
            Fault::Stall { envoy, worker } => envoy.has(known.envoy) && worker.has(known.worker),
            // The script is sent again, calls to moving slots are split, and windows follow the current clock.
            Fault::ScriptFlush { .. } | Fault::Moving { .. } | Fault::ClockStep { .. } => false,
            // The calls are sent on another stream.
            Fault::OldGuard { .. } | Fault::Reconfigure { .. } => false,
        }
    }
}

fn recovers(fault: &Fault) -> Micros {
    match fault {
        Fault::BreakStreams { .. }
        | Fault::Garbage { .. }
        | Fault::NoStreams { .. }
        | Fault::StreamsDie { .. }
        | Fault::SendFails { .. }
        | Fault::Mute { .. }
        | Fault::GuardRefuses { .. } => STREAMS_RECOVER,
        _ => SHARD_RECOVERS,
    }
}
