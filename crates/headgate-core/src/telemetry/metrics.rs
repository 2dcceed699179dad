//! Which series there are and what adds to them. How the proxy keeps them is [`meter`](super::meter)'s, how they
//! are named [`names`](super::names)'s.
//!
//! The number of series depends on the configuration alone, never on callers or their paths. Counters are added up
//! here and handed on a few times a second, so that a request costs no host call for them.

use super::meter::{Kind, Level, Meter, Slot};
use super::names::series;
use super::waits::Waits;
use crate::decision::{CountedBy, Outcome};
use crate::engine::OTHER_ENDPOINT;
use crate::identify::Hasher;
use crate::indices::Indices;
use crate::lease::Event;
use crate::limit::{OnError, Verdict};
use crate::model::{ClientValue, Policy};
pub use crate::redis::Levels;
use std::time::{Duration, Instant};

/// How long counts may wait here before they are handed on.
const HAND_ON: Duration = Duration::from_millis(250);

/// Near its limit is who has used more than this share of it, in percent.
const NEAR: u64 = 80;

/// So many limits have their series from the start; those of the others come with their first call. Envoy's own tables
/// grow by some 35 bytes with each series that a new configuration defines, and do not shrink.
const EAGER: usize = 100;

/// Series of rejections, for each worker; what comes beyond is counted under `other`.
const MAX_REJECTED: usize = 1_000;

/// What stands for everything without a series of its own.
const OTHER: &str = OTHER_ENDPOINT;

const OUTCOMES: [Outcome; 7] = [
    Outcome::Allowed,
    Outcome::Denied,
    Outcome::FailedOpen,
    Outcome::FailedClosed,
    Outcome::Exempt,
    Outcome::NoClient { refused: false },
    Outcome::AmbiguousClient,
];
/// In place of an outcome: the caller left before its request was decided.
const ABANDONED: usize = OUTCOMES.len();
const DECISIONS: usize = OUTCOMES.len() + 1;
const BY: [&str; 5] = [
    CountedBy::Redis.word(),
    CountedBy::Local.word(),
    CountedBy::Cache.word(),
    CountedBy::Lease.word(),
    "none",
];
/// What a limit said, by whom; `near` and `used` are metrics of their own.
const SAID: [(&str, &str); 12] = [
    ("allowed", "redis"),
    ("allowed", "local"),
    ("allowed", "cache"),
    ("denied", "redis"),
    ("denied", "local"),
    ("denied", "cache"),
    ("shadow_denied", "redis"),
    ("shadow_denied", "local"),
    ("shadow_denied", "cache"),
    ("failed_open", "none"),
    ("failed_closed", "none"),
    ("allowed", "lease"),
];
const BY_LEASE: usize = SAID.len() - 1;
const NEAR_LIMIT: usize = SAID.len();
const USED: usize = NEAR_LIMIT + 1;
/// Leases, permits that they took, and permits that were not spent in time.
const LEASES: usize = USED + 1;
const PERMITS: usize = LEASES + 1;
const UNSPENT: usize = PERMITS + 1;
const PER_LIMIT: usize = UNSPENT + 1;
const REQUESTS: usize = DECISIONS * BY.len();

/// The series of one worker.
pub struct Metrics<M: Meter> {
    meter: M,
    instance: String,
    limits: Vec<String>,
    /// `source:value or hash`, and its name.
    clients: Indices,
    names: Vec<String>,
    requests: Vec<Slot>,
    said: Vec<Slot>,
    /// By the word of its outcome; the words are a handful of constants.
    calls: Vec<(&'static str, Slot)>,
    /// By limit, endpoint and client; a handful, as a rule, and so not worth a map's hashing at each denial.
    rejected: Vec<((usize, usize, usize), Slot)>,
    endpoints: Vec<String>,
    waits: Waits,
    levels: [Level; 3],
    /// Costs that were no number, or missing in a response; they count as 1.
    broken_costs: Slot,
    /// Calls that were cut into one a key, because a slot was moving: what they count is right, but not all or nothing.
    split_calls: Slot,
    /// Counters that were forgotten before their time, because there were more than `local.max_counters`.
    evicted: Slot,
    due: Option<Instant>,
}

/// What one limit of a request said.
#[derive(Debug, Clone, Copy)]
pub struct LimitCounted {
    /// Index into the policy's limits.
    pub limit: usize,
    /// `false`: in shadow for this client.
    pub enforced: bool,
    /// `None`: it could not be counted.
    pub verdict: Option<Verdict>,
    pub by: CountedBy,
    pub on_error: OnError,
}

impl<M: Meter> Metrics<M> {
    /// `version`: what tells configurations apart. Series that alerts ask for are there from the start, at zero.
    pub fn new(policy: &Policy, hasher: &Hasher, meter: M, version: u64) -> Metrics<M> {
        let instance = [("instance", policy.instance.as_str())];
        let gauge = |name: &str| meter.define(Kind::Gauge, &series(name, &instance));
        let level = |name: &str| Level::new(gauge(name));
        let levels = [
            level("headgate_streams_open"),
            level("headgate_calls_in_flight"),
            level("headgate_breakers_open"),
        ];
        if let Some(id) = gauge("headgate_configuration_version") {
            meter.record(id, version);
        }
        let wait = meter.define(
            Kind::Histogram,
            &series("headgate_redis_wait_microseconds", &instance),
        );
        let plain = |name: &str| Slot {
            id: meter.define(Kind::Counter, name),
            pending: 0,
        };
        let mut metrics = Metrics {
            instance: policy.instance.clone(),
            limits: policy.limits.iter().map(|limit| limit.name.clone()).collect(),
            clients: Indices::default(),
            names: Vec::new(),
            requests: vec![Slot::default(); REQUESTS],
            said: vec![Slot::default(); PER_LIMIT * policy.limits.len()],
            calls: Vec::new(),
            rejected: Vec::new(),
            endpoints: vec![OTHER.to_owned()],
            waits: Waits::new(wait),
            levels,
            broken_costs: plain("headgate_broken_costs_total"),
            split_calls: plain("headgate_split_calls_total"),
            evicted: plain("headgate_local_evicted_total"),
            due: None,
            meter,
        };
        metrics.name_clients(policy, hasher);
        for decision in 0..4 {
            metrics.define_request(decision * BY.len() + if decision < 2 { 0 } else { BY.len() - 1 });
        }
        for limit in 0..metrics.limits.len().min(EAGER) {
            for said in [0, 3, 6, NEAR_LIMIT, USED] {
                metrics.define_said(limit * PER_LIMIT + said);
            }
        }
        metrics
    }

    fn name_clients(&mut self, policy: &Policy, hasher: &Hasher) {
        self.names.push(OTHER.to_owned());
        for client in &policy.metrics.clients {
            let source = policy.identify.iter().find(|source| source.name == client.source);
            let value = match (&client.value, source) {
                (ClientValue::Hash(hash), _) => Some(crate::identify::ClientValue::Digest(*hash)),
                (ClientValue::Value(value), Some(source)) => source.client_value(value, hasher),
                (ClientValue::Value(_), None) => None,
            };
            if let Some(value) = value {
                let shown = crate::identify::Client {
                    source: client.source.clone(),
                    index: 0,
                    value,
                };
                self.clients.insert(shown.to_string(), self.names.len());
                self.names.push(client.name.clone());
            }
        }
    }

    /// A caller left before its request was decided.
    pub fn abandoned(&mut self, now: Instant) {
        self.request(now, ABANDONED, None);
    }

    /// One request was decided.
    pub fn decided(&mut self, now: Instant, outcome: Outcome, by: Option<CountedBy>) {
        let at = OUTCOMES.iter().position(|known| known.word() == outcome.word());
        self.request(now, at.unwrap_or(0), by);
    }

    fn request(&mut self, now: Instant, outcome: usize, by: Option<CountedBy>) {
        let by = by.map_or(BY.len() - 1, by_index);
        if let Some(slot) = self.requests.get_mut(outcome * BY.len() + by) {
            slot.pending += 1;
        }
        self.due_soon(now);
    }

    /// One of a request's limits said something, or could not be asked.
    pub fn counted(&mut self, counted: &LimitCounted) {
        let LimitCounted {
            limit,
            enforced,
            verdict,
            by,
            on_error,
        } = *counted;
        let lease = by == CountedBy::Lease;
        let by = by_index(by).min(2);
        let said = match verdict {
            Some(verdict) if verdict.allowed && lease => BY_LEASE,
            Some(verdict) if verdict.allowed => by,
            Some(_) if enforced => 3 + by,
            Some(_) => 6 + by,
            None if enforced && on_error == OnError::Deny => 10,
            None => 9,
        };
        let mut add = |at: usize, count: u64| {
            if let Some(slot) = self.said.get_mut(limit * PER_LIMIT + at) {
                slot.pending += count;
            }
        };
        add(said, 1);
        let Some((verdict, quota)) = verdict.and_then(|verdict| Some((verdict, verdict.limit?))) else {
            return;
        };
        // 0/s has nothing that could be used
        let used = match quota {
            0 => 100,
            _ => quota.saturating_sub(verdict.remaining).saturating_mul(100) / quota,
        };
        add(USED, used);
        if verdict.allowed && used > NEAR {
            add(NEAR_LIMIT, 1);
        }
    }

    /// Permits were taken in advance, or ended unspent.
    pub fn leased(&mut self, now: Instant, event: Event) {
        let (limit, counts) = match event {
            Event::Taken { limit, permits } => (limit, [(LEASES, 1), (PERMITS, permits)]),
            Event::Unspent { limit, permits } => (limit, [(UNSPENT, permits), (LEASES, 0)]),
        };
        for (at, count) in counts {
            if let Some(slot) = self.said.get_mut(limit * PER_LIMIT + at) {
                slot.pending += count;
            }
        }
        self.due_soon(now);
    }

    /// So many costs could not be read.
    pub fn broken_costs(&mut self, now: Instant, costs: u32) {
        self.broken_costs.pending += u64::from(costs);
        self.due_soon(now);
    }

    /// A call was cut into one for each key.
    pub fn split_call(&mut self, now: Instant) {
        self.split_calls.pending += 1;
        self.due_soon(now);
    }

    /// So many local counters were evicted before their time.
    pub fn evicted(&mut self, now: Instant, counters: u64) {
        self.evicted.pending += counters;
        self.due_soon(now);
    }

    /// A request was rejected by this limit, at this endpoint: a name of the configuration's, never a caller's.
    pub fn rejected(&mut self, limit: usize, endpoint: &str, client: Option<&str>) {
        let client = client.and_then(|client| self.clients.get(client)).unwrap_or(0);
        let known = self.endpoints.iter().position(|known| known == endpoint);
        let endpoint = match known {
            Some(at) => at,
            None if self.endpoints.len() < MAX_REJECTED => {
                self.endpoints.push(endpoint.to_owned());
                self.endpoints.len() - 1
            }
            None => 0,
        };
        let place = |rejected: &[((usize, usize, usize), Slot)], key| {
            rejected.iter().position(|(known, _)| *known == key)
        };
        let mut key = (limit, endpoint, client);
        let mut at = place(&self.rejected, key);
        if at.is_none() && self.rejected.len() >= MAX_REJECTED {
            key = (limit, 0, 0);
            at = place(&self.rejected, key);
        }
        match at.and_then(|at| self.rejected.get_mut(at)) {
            Some((_, slot)) => slot.pending += 1,
            None => self.rejected.push((key, Slot { id: None, pending: 1 })),
        }
    }

    /// A request waited so long for its counts, in µs.
    pub fn waited(&mut self, now: Instant, micros: u64) {
        self.waits.note(micros, &self.meter);
        self.due_soon(now);
    }

    /// There is something to hand on.
    fn due_soon(&mut self, now: Instant) {
        self.due.get_or_insert(now + HAND_ON);
    }

    /// A call ended like this.
    pub fn called(&mut self, outcome: &'static str) {
        match self.calls.iter_mut().find(|(known, _)| *known == outcome) {
            Some((_, slot)) => slot.pending += 1,
            None => self.calls.push((outcome, Slot { id: None, pending: 1 })),
        }
    }

    /// When [`Metrics::hand_on`] is due; `None`: there is nothing to hand on.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether there is something to hand on now: counts that have waited, a stream or a breaker that came or went.
    pub fn is_due(&self, now: Instant, levels: Levels) -> bool {
        let [streams, _, breakers] = &self.levels;
        self.due.is_some_and(|due| due <= now)
            || streams.differs(levels.streams_open)
            || breakers.differs(levels.breakers_open)
    }

    /// Hands everything on to the proxy.
    pub fn hand_on(&mut self, levels: Levels) {
        self.due = None;
        let now = [levels.streams_open, levels.calls_in_flight, levels.breakers_open];
        for (level, now) in self.levels.iter_mut().zip(now) {
            level.hand_on(&self.meter, now);
        }
        self.waits.hand_on(&self.meter);
        for slot in [&mut self.broken_costs, &mut self.split_calls, &mut self.evicted] {
            slot.hand_on(&self.meter);
        }
        for at in 0..self.requests.len() {
            if self.requests.get(at).is_some_and(|slot| slot.pending > 0) {
                self.define_request(at);
                if let Some(slot) = self.requests.get_mut(at) {
                    slot.hand_on(&self.meter);
                }
            }
        }
        for at in 0..self.said.len() {
            if self.said.get(at).is_some_and(|slot| slot.pending > 0) {
                self.define_said(at);
                if let Some(slot) = self.said.get_mut(at) {
                    slot.hand_on(&self.meter);
                }
            }
        }
        for (outcome, slot) in &mut self.calls {
            let labels = [("instance", self.instance.as_str()), ("outcome", outcome)];
            slot.define(&self.meter, || series("headgate_redis_calls_total", &labels));
            slot.hand_on(&self.meter);
        }
        for ((limit, endpoint, client), slot) in &mut self.rejected {
            let labels = [
                ("limit", text(&self.limits, *limit)),
                ("endpoint", text(&self.endpoints, *endpoint)),
                ("client", text(&self.names, *client)),
            ];
            slot.define(&self.meter, || series("api_throttle_rejected_total", &labels));
            slot.hand_on(&self.meter);
        }
    }

    fn define_request(&mut self, at: usize) {
        let labels = [
            ("instance", self.instance.as_str()),
            (
                "decision",
                OUTCOMES
                    .get(at / BY.len())
                    .map_or("abandoned", |outcome| outcome.word()),
            ),
            ("by", BY.get(at % BY.len()).copied().unwrap_or(OTHER)),
        ];
        if let Some(slot) = self.requests.get_mut(at) {
            slot.define(&self.meter, || series("headgate_requests_total", &labels));
        }
    }

    fn define_said(&mut self, at: usize) {
        let (limit, what) = (text(&self.limits, at / PER_LIMIT), at % PER_LIMIT);
        let (instance, limit) = (("instance", self.instance.as_str()), ("limit", limit));
        if let Some(slot) = self.said.get_mut(at) {
            slot.define(&self.meter, || match (what, SAID.get(what)) {
                (_, Some((outcome, by))) => {
                    let labels = [instance, limit, ("outcome", outcome), ("by", by)];
                    series("headgate_decisions_total", &labels)
                }
                (NEAR_LIMIT, _) => series("headgate_near_limit_total", &[instance, limit]),
                (LEASES, _) => series("headgate_leases_total", &[instance, limit]),
                (PERMITS, _) => series("headgate_lease_permits_total", &[instance, limit]),
                (UNSPENT, _) => series("headgate_lease_permits_unspent_total", &[instance, limit]),
                _ => series("headgate_quota_used_percent_total", &[instance, limit]),
            });
        }
    }
}

/// The worker ends: what it holds open ends with it, while the gauges stay.
impl<M: Meter> Drop for Metrics<M> {
    fn drop(&mut self) {
        self.hand_on(Levels::default());
    }
}

fn by_index(by: CountedBy) -> usize {
    match by {
        CountedBy::Redis => 0,
        CountedBy::Local => 1,
        CountedBy::Cache => 2,
        CountedBy::Lease => 3,
    }
}

fn text(list: &[String], at: usize) -> &str {
    list.get(at).map_or(OTHER, String::as_str)
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
