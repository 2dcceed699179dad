//! Events for metrics: every decision and every permit must be reported once.

use super::Ledger;
use crate::time::MS;
use headgate_core::engine::{self, Event, RequestId};
use headgate_core::headers;
use headgate_core::lease;
use std::collections::BTreeMap;

/// The events of one engine.
#[derive(Debug, Default)]
pub(super) struct EventCounts {
    decided: BTreeMap<(&'static str, &'static str), u64>,
    denied: u64,
    abandoned: u64,
    waited: u64,
    permits_taken: u64,
    permits_unspent: u64,
}

impl EventCounts {
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Decided { outcome, by } => {
                let words = (outcome.as_str(), by.map_or("", |by| by.as_str()));
                *self.decided.entry(words).or_default() += 1;
            }
            Event::Denied { .. } => self.denied += 1,
            Event::Abandoned => self.abandoned += 1,
            Event::Waited { .. } => self.waited += 1,
            Event::Lease(lease::LeaseEvent::Taken { permits, .. }) => self.permits_taken += permits,
            Event::Lease(lease::LeaseEvent::Unspent { permits, .. }) => self.permits_unspent += permits,
            _ => {}
        }
    }
}

impl Ledger {
    /// Compares the events of an engine with what became of its requests. `is_running`: the engine was not dropped, so
    /// that all of its permits must be accounted for.
    pub(super) fn check_events(&mut self, engine: usize, is_running: bool) {
        let mut expected = EventCounts::default();
        for record in self
            .requests
            .iter()
            .flatten()
            .filter(|record| record.engine == engine)
        {
            match &record.decided {
                Some(decided) if decided.by_fallback => {}
                Some(decided) => {
                    let words = (decided.outcome.as_str(), decided.by.as_str());
                    let reported = self.event_counts[engine].decided.keys();
                    let reported = reported.copied().find(|reported| *reported == words);
                    *expected.decided.entry(reported.unwrap_or(("", ""))).or_default() += 1;
                    expected.denied += u64::from(decided.outcome == "denied");
                    expected.waited += u64::from(record.id.is_some());
                }
                None => expected.abandoned += u64::from(record.left.is_some()),
            }
        }
        let counts = &self.event_counts[engine];
        let taken = self.taken.get(&engine).copied().unwrap_or(0);
        let spent = self.spent.get(&engine).copied().unwrap_or(0);
        let permits = !is_running || counts.permits_taken == taken && counts.permits_unspent + spent == taken;
        // Some of the requests whose callers left had waited and were decided, but not carried out.
        let waited =
            counts.waited >= expected.waited && counts.waited <= expected.waited + expected.abandoned;
        let decisions = counts.decided == expected.decided
            && counts.denied == expected.denied
            && counts.abandoned == expected.abandoned;
        if !(permits && waited && decisions) {
            let what = format!(
                "engine {engine} reported {counts:?}, expected {expected:?}, permits taken {taken}, spent {spent}"
            );
            self.broke("events", what);
        }
    }

    /// Checks that the response has the same quota headers as the request to the upstream.
    pub(super) fn check_response(&mut self, caller: usize, edits: &engine::Edits) {
        let response = &self.scenario.arrivals[caller].response;
        let has = |name: &str, value: &str| response.iter().any(|(n, v)| n == name && v == value);
        let own = response.iter().any(|(name, _)| name == headers::REMAINING);
        let Some(record) = &self.requests[caller] else {
            return;
        };
        let figures: Vec<String> = edits
            .add
            .iter()
            .filter(|(name, _)| *name == headers::REMAINING)
            .map(|(_, value)| value.to_string())
            .collect();
        let expected: Vec<String> = match has(":status", "429") {
            true => Vec::new(),
            false => record.shown.iter().cloned().collect(),
        };
        let removes = edits.remove.iter().any(|name| name == headers::REMAINING);
        let is_removed = removes == (own && !has(":status", "429"));
        if figures != expected || !is_removed {
            let what = format!("request {caller} had {expected:?}, but its response has {edits:?}");
            self.broke("figures", what);
        }
    }

    /// Checks that the circuit breaker is open after a timeout on a silent shard, so that no further request waits for it.
    pub(super) fn check_breaker_opens(&mut self, caller: usize) {
        let Some(record) = self.request(caller) else {
            return;
        };
        let Some(shard) = self.only_shard(record) else {
            return;
        };
        let since = self.silent_since(record.engine, shard);
        let Some(first) = self.timed_out.get(&(record.engine, shard)) else {
            return;
        };
        // The state of a shard is lost when an engine learns that another node has taken its place.
        let known = self.network.borrow().knows_slot_owners(record.engine, *first);
        let waited = self.now - record.at;
        if known
            && since.is_some_and(|since| *first >= since && record.at > first + 5 * MS)
            && waited > 20 * MS
        {
            let what = format!("request {caller} waits {waited} µs for shard {shard}, which has been silent");
            self.broke("breaker-opens", what);
        }
    }

    /// The shard of a part of a request; `None`: the part was split from another one.
    pub(super) fn shard_of_part(&self, engine: usize, id: RequestId, part: u16) -> Option<usize> {
        let caller = self.caller_of(engine, id)?;
        let group = self.request(caller)?.groups.get(usize::from(part))?;
        Some(super::shard_of(&self.network.borrow(), group.keys.first()?))
    }

    /// Checks a call that was refused because the circuit breaker is open: no probe may have closed it without a failure since.
    pub(super) fn check_breaker_reopens(&mut self, engine: usize, part: u16) {
        let Some(record) = self
            .arriving
            .get(&engine)
            .and_then(|caller| self.request(*caller))
        else {
            return;
        };
        let Some(key) = record
            .groups
            .get(usize::from(part))
            .and_then(|group| group.keys.first())
        else {
            return;
        };
        let network = self.network.borrow();
        let shard = super::shard_of(&network, key);
        let timeout = self.engines[engine].policy.redis.timeout.as_micros() as u64;
        let Some(probed) = network.probed(engine, shard) else {
            return;
        };
        if probed > self.now
            || !network.knows_slot_owners(engine, probed)
            || self.stalled(engine, probed, self.now) > 0
        {
            return;
        }
        let fails = |call: &super::CallRecord| {
            let deadline = call.made + timeout;
            let failed = call
                .ended
                .is_some_and(|(at, counted)| !counted && at >= probed && at <= deadline);
            let late = call.ended.is_none_or(|(at, _)| at > deadline);
            failed || call.made >= probed && late && deadline <= self.now
        };
        // A call with an unknown shard may belong to this one.
        let own =
            |call: &&super::CallRecord| call.engine == engine && call.shard.is_none_or(|own| own == shard);
        let failed = self.calls.values().filter(own).any(fails);
        drop(network);
        if !failed {
            let what =
                format!("engine {engine} refuses shard {shard}, which has been available since {probed} µs");
            self.broke("breaker-reopens", what);
        }
    }

    /// Records a timeout because of a silent shard.
    pub(super) fn note_time_out(&mut self, caller: usize) {
        let Some(record) = self.request(caller) else {
            return;
        };
        let timeout = self.engines[record.engine].policy.redis.timeout.as_micros() as u64;
        let Some(shard) = self.only_shard(record) else {
            return;
        };
        let since = self.silent_since(record.engine, shard);
        if since.is_some_and(|since| record.at >= since) && self.now >= record.at + timeout && !record.failed
        {
            let key = (record.engine, shard);
            self.timed_out.insert(key, self.now);
        }
    }

    /// The shard of all counters of a request, if it is one shard and the engine knows the slot owners.
    fn only_shard(&self, record: &super::RequestRecord) -> Option<usize> {
        let network = self.network.borrow();
        if !network.knows_slot_owners(record.engine, record.at) || record.id.is_none() {
            return None;
        }
        let mut keys = record.groups.iter().flat_map(|group| &group.keys);
        let shard = super::shard_of(&network, keys.next()?);
        keys.all(|key| super::shard_of(&network, key) == shard)
            .then_some(shard)
    }
}
