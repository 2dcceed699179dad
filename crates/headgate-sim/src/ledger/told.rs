//! What operators are told: each decision once, each permit once.

use super::Ledger;
use crate::time::MS;
use headgate_core::engine::{self, Event, RequestId};
use headgate_core::headers;
use headgate_core::lease;
use std::collections::BTreeMap;

/// What one engine told.
#[derive(Debug, Default)]
pub(super) struct Told {
    decided: BTreeMap<(&'static str, &'static str), u64>,
    denied: u64,
    abandoned: u64,
    waited: u64,
    permits_taken: u64,
    permits_unspent: u64,
}

impl Told {
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
    /// Compares what engines told with what became of requests. `lives`: their permits have all ended.
    pub(super) fn check_told(&mut self, engine: usize, lives: bool) {
        let mut same = Told::default();
        let mut denied = 0;
        for asked in self.asked.iter().flatten().filter(|asked| asked.engine == engine) {
            match &asked.decided {
                Some(decided) if decided.by_fallback => {}
                Some(decided) => {
                    let words = (decided.outcome.as_str(), decided.by.as_str());
                    let known = self.told[engine].decided.keys();
                    let known = known.copied().find(|known| *known == words);
                    *same.decided.entry(known.unwrap_or(("", ""))).or_default() += 1;
                    denied += u64::from(decided.outcome == "denied");
                    same.waited += u64::from(asked.id.is_some());
                }
                None => same.abandoned += u64::from(asked.left.is_some()),
            }
        }
        same.denied = denied;
        let told = &self.told[engine];
        let (taken, spent) = (self.taken.get(&engine), self.spent.get(&engine));
        let (taken, spent) = (taken.copied().unwrap_or(0), spent.copied().unwrap_or(0));
        let permits = !lives || told.permits_taken == taken && told.permits_unspent + spent == taken;
        // Of those who left some had waited, and were decided before they could be told.
        let waited = told.waited >= same.waited && told.waited <= same.waited + same.abandoned;
        let counts = told.decided == same.decided && told.denied == same.denied;
        if !(permits && waited && counts && told.abandoned == same.abandoned) {
            let what = format!(
                "engine {engine} told {told:?}, and there were {same:?}, permits {taken}, spent {spent}"
            );
            self.broke("told", what);
        }
    }

    /// The response says what the request to the upstream said.
    pub(super) fn check_response(&mut self, caller: usize, edits: &engine::Edits) {
        let response = &self.scenario.arrivals[caller].response;
        let has = |name: &str, value: &str| response.iter().any(|(n, v)| n == name && v == value);
        let own = response.iter().any(|(name, _)| name == headers::REMAINING);
        let Some(asked) = &self.asked[caller] else { return };
        let figures: Vec<String> = edits
            .add
            .iter()
            .filter(|(name, _)| *name == headers::REMAINING)
            .map(|(_, value)| value.to_string())
            .collect();
        let expected: Vec<String> = match has(":status", "429") {
            true => Vec::new(),
            false => asked.shown.iter().cloned().collect(),
        };
        let removes = edits.remove.iter().any(|name| name == headers::REMAINING);
        let is_removed = removes == (own && !has(":status", "429"));
        if figures != expected || !is_removed {
            let what = format!("request {caller} was told {expected:?}, and its response {edits:?}");
            self.broke("figures", what);
        }
    }

    /// Where a shard has kept one caller waiting for all of its time, others are not kept: its breaker is open.
    pub(super) fn check_breaker_opens(&mut self, caller: usize) {
        let Some(asked) = self.asked(caller) else { return };
        let Some(shard) = self.only_shard(asked) else {
            return;
        };
        let since = self.silent_since(asked.engine, shard);
        let Some(first) = self.timed_out.get(&(asked.engine, shard)) else {
            return;
        };
        // What was known of a shard is lost where an engine is told of another one in its place.
        let known = self.network.borrow().knows_borders(asked.engine, *first);
        let waited = self.now - asked.at;
        if known
            && since.is_some_and(|since| *first >= since && asked.at > first + 5 * MS)
            && waited > 20 * MS
        {
            let what = format!("request {caller} waits {waited} µs for shard {shard}, which has been silent");
            self.broke("breaker-opens", what);
        }
    }

    /// The shard to which a part of a request goes; `None`: it was cut off another part.
    pub(super) fn shard_of_part(&self, engine: usize, id: RequestId, part: u16) -> Option<usize> {
        let caller = self.caller_of(engine, id)?;
        let group = self.asked(caller)?.groups.get(usize::from(part))?;
        Some(super::shard_of(&self.network.borrow(), group.keys.first()?))
    }

    /// A call is refused since the breaker is open. It may be, unless a probe has closed it and nothing has failed since.
    pub(super) fn check_breaker_reopens(&mut self, engine: usize, part: u16) {
        let Some(asked) = self.arriving.get(&engine).and_then(|caller| self.asked(*caller)) else {
            return;
        };
        let Some(key) = asked
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
            || !network.knows_borders(engine, probed)
            || self.stalled(engine, probed, self.now) > 0
        {
            return;
        }
        let fails = |call: &super::Called| {
            let deadline = call.made + timeout;
            let failed = call
                .ended
                .is_some_and(|(at, counted)| !counted && at >= probed && at <= deadline);
            let late = call.ended.is_none_or(|(at, _)| at > deadline);
            failed || call.made >= probed && late && deadline <= self.now
        };
        // A call of which it is not known to which shard it goes may be to this one.
        let own = |call: &&super::Called| call.engine == engine && call.shard.is_none_or(|own| own == shard);
        let failed = self.calls.values().filter(own).any(fails);
        drop(network);
        if !failed {
            let what =
                format!("engine {engine} has shard {shard} refused, which has been well since {probed} µs");
            self.broke("breaker-reopens", what);
        }
    }

    /// Notes a request that a silent shard kept for all of its time.
    pub(super) fn note_time_out(&mut self, caller: usize) {
        let Some(asked) = self.asked(caller) else { return };
        let timeout = self.engines[asked.engine].policy.redis.timeout.as_micros() as u64;
        let Some(shard) = self.only_shard(asked) else {
            return;
        };
        let since = self.silent_since(asked.engine, shard);
        if since.is_some_and(|since| asked.at >= since) && self.now >= asked.at + timeout && !asked.failed {
            let key = (asked.engine, shard);
            self.timed_out.insert(key, self.now);
        }
    }

    /// The shard of all of its counters, where its engine knows the shards.
    fn only_shard(&self, asked: &super::Asked) -> Option<usize> {
        let network = self.network.borrow();
        if !network.knows_borders(asked.engine, asked.at) || asked.id.is_none() {
            return None;
        }
        let mut keys = asked.groups.iter().flat_map(|group| &group.keys);
        let shard = super::shard_of(&network, keys.next()?);
        keys.all(|key| super::shard_of(&network, key) == shard)
            .then_some(shard)
    }
}
