//! Defines the series and updates them. [`meter`](super::meter) is the interface of the proxy, and `names` builds their
//! names.
//!
//! The number of series depends on the configuration alone, never on callers or their paths. Counters are added up here
//! and passed to the proxy a few times a second, so a request costs no host call for them.

use super::counting::CountingState;
use super::meter::{BufferedCounter, BufferedGauge, Meter, MetricKind};
use super::names::series;
pub use super::per_limit::LimitResult;
use super::per_limit::LimitSeries;
use super::rejections::Rejections;
use super::waits::WaitHistogram;
use crate::decision::{CountedBy, Outcome};
use crate::engine::Now;
use crate::identify::Hasher;
use crate::lease::LeaseEvent;
use crate::model::Policy;
pub use crate::redis::Gauges;
use std::time::{Duration, Instant};

/// How long counts may wait here before they are passed to the proxy.
const HAND_ON: Duration = Duration::from_millis(250);

const OUTCOMES: [Outcome; 7] = [
    Outcome::Allowed,
    Outcome::Denied,
    Outcome::FailedOpen,
    Outcome::FailedClosed,
    Outcome::Exempt,
    Outcome::NoClient { refused: false },
    Outcome::AmbiguousClient,
];
/// The index after the outcomes: the caller left before its request was decided.
const ABANDONED: usize = OUTCOMES.len();
const DECISIONS: usize = OUTCOMES.len() + 1;
const BY: [&str; 5] = [
    CountedBy::Redis.as_str(),
    CountedBy::Local.as_str(),
    CountedBy::Cache.as_str(),
    CountedBy::Lease.as_str(),
    "none",
];
const REQUESTS: usize = DECISIONS * BY.len();

/// The series of one worker.
pub struct Metrics<M: Meter> {
    meter: M,
    instance: String,
    limits: LimitSeries,
    counting: CountingState,
    requests: Vec<BufferedCounter>,
    /// By outcome; there are only a few constants.
    calls: Vec<(&'static str, BufferedCounter)>,
    rejections: Rejections,
    waits: WaitHistogram,
    gauges: [BufferedGauge; 3],
    /// Costs that were not a number, or missing in a response; they count as 1.
    broken_costs: BufferedCounter,
    /// Calls that were split into one for each key while a slot was moving: they count correctly, but not all or
    /// nothing.
    split_calls: BufferedCounter,
    /// Local counters that were evicted before they expired: there were more than `local.max_counters`.
    evicted: BufferedCounter,
    due: Option<Instant>,
}

impl<M: Meter> Metrics<M> {
    /// `version` identifies the configuration. Series for alerts exist from the start, at zero.
    pub fn new(policy: &Policy, hasher: &Hasher, meter: M, version: u64) -> Metrics<M> {
        let instance = [("instance", policy.instance.as_str())];
        let gauge = |name: &str| meter.define(MetricKind::Gauge, &series(name, &instance));
        let level = |name: &str| BufferedGauge::new(gauge(name));
        let gauges = [
            level("headgate_streams_open"),
            level("headgate_calls_in_flight"),
            level("headgate_breakers_open"),
        ];
        if let Some(id) = gauge("headgate_configuration_version") {
            meter.record(id, version);
        }
        let wait = meter.define(
            MetricKind::Histogram,
            &series("headgate_redis_wait_microseconds", &instance),
        );
        let plain = |name: &str| BufferedCounter {
            id: meter.define(MetricKind::Counter, name),
            pending: 0,
        };
        let limits = policy.limits.iter().map(|limit| limit.name.clone()).collect();
        let mut metrics = Metrics {
            instance: policy.instance.clone(),
            limits: LimitSeries::new(&policy.instance, limits, &meter),
            requests: vec![BufferedCounter::default(); REQUESTS],
            calls: Vec::new(),
            counting: CountingState::new(policy, hasher, &meter),
            rejections: Rejections::new(policy, hasher),
            waits: WaitHistogram::new(wait),
            gauges,
            broken_costs: plain("headgate_broken_costs_total"),
            split_calls: plain("headgate_split_calls_total"),
            evicted: plain("headgate_local_evicted_total"),
            due: None,
            meter,
        };
        for decision in 0..4 {
            metrics.define_request(decision * BY.len() + if decision < 2 { 0 } else { BY.len() - 1 });
        }
        metrics
    }

    /// A caller left before its request was decided.
    pub fn abandoned(&mut self, now: Instant) {
        self.request(now, ABANDONED, None);
    }

    /// One request was decided.
    pub fn decided(&mut self, now: Instant, outcome: Outcome, by: Option<CountedBy>) {
        let at = OUTCOMES
            .iter()
            .position(|known| known.as_str() == outcome.as_str());
        self.request(now, at.unwrap_or(0), by);
    }

    fn request(&mut self, now: Instant, outcome: usize, by: Option<CountedBy>) {
        let by = by.map_or(BY.len() - 1, by_index);
        if let Some(slot) = self.requests.get_mut(outcome * BY.len() + by) {
            slot.pending += 1;
        }
        self.due_soon(now);
    }

    /// One of a request's limits gave a verdict, or could not be counted.
    pub fn counted(&mut self, now: Instant, counted: &LimitResult) {
        let locally = counted.by == CountedBy::Local;
        self.counting.note(now, counted.verdict.is_some(), locally);
        self.limits.counted(counted);
    }

    /// Permits were taken in advance, or ended unspent.
    pub fn leased(&mut self, now: Instant, event: LeaseEvent) {
        self.limits.leased(event);
        self.due_soon(now);
    }

    /// Counts costs that could not be read.
    pub fn broken_costs(&mut self, now: Instant, costs: u32) {
        self.broken_costs.pending += u64::from(costs);
        self.due_soon(now);
    }

    /// A call was split into one for each key.
    pub fn split_call(&mut self, now: Instant) {
        self.split_calls.pending += 1;
        self.due_soon(now);
    }

    /// Counts local counters that were evicted before they expired.
    pub fn evicted(&mut self, now: Instant, counters: u64) {
        self.evicted.pending += counters;
        self.due_soon(now);
    }

    /// A request was rejected by this limit, at this endpoint: a name from the configuration, never from the caller.
    pub fn rejected(&mut self, limit: usize, endpoint: &str, client: Option<&str>) {
        self.rejections.note(limit, endpoint, client);
    }

    /// A request waited this long for its counts, in µs.
    pub fn waited(&mut self, now: Instant, micros: u64) {
        self.waits.note(micros, &self.meter);
        self.due_soon(now);
    }

    /// Schedules [`Metrics::hand_on`].
    fn due_soon(&mut self, now: Instant) {
        self.due.get_or_insert(now + HAND_ON);
    }

    /// Redis's clock was this far ahead of Envoy's, in ms.
    pub fn clock(&mut self, now: Instant, ahead_ms: i64) {
        self.counting.clock(ahead_ms);
        self.due_soon(now);
    }

    /// A call ended with this outcome; `answer`: the label of the error that was answered.
    pub fn called(&mut self, outcome: &'static str, answer: Option<&'static str>) {
        if let Some(label) = answer {
            self.counting.answered(label);
        }
        match self.calls.iter_mut().find(|(known, _)| *known == outcome) {
            Some((_, slot)) => slot.pending += 1,
            None => self
                .calls
                .push((outcome, BufferedCounter { id: None, pending: 1 })),
        }
    }

    /// When [`Metrics::hand_on`] is due; `None`: nothing to pass on.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether something is to be passed to the proxy now: counts that have waited, or a changed gauge.
    pub fn is_due(&self, now: Instant, gauges: Gauges) -> bool {
        let [streams, _, breakers] = &self.gauges;
        self.due.is_some_and(|due| due <= now)
            || streams.differs(gauges.streams_open)
            || breakers.differs(gauges.breakers_open)
    }

    /// Passes everything to the proxy.
    pub fn hand_on(&mut self, now: Now, gauges: Gauges) {
        self.due = None;
        self.counting.hand_on(now, &self.meter);
        self.pass_on(gauges);
    }

    /// Passes on what needs no clock.
    fn pass_on(&mut self, gauges: Gauges) {
        let now = [gauges.streams_open, gauges.calls_in_flight, gauges.breakers_open];
        for (level, now) in self.gauges.iter_mut().zip(now) {
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
        self.limits.hand_on(&self.meter);
        for (outcome, slot) in &mut self.calls {
            let labels = [("instance", self.instance.as_str()), ("outcome", outcome)];
            slot.define(&self.meter, || series("headgate_redis_calls_total", &labels));
            slot.hand_on(&self.meter);
        }
        self.rejections
            .hand_on(&self.meter, |limit| self.limits.name(limit));
    }

    fn define_request(&mut self, at: usize) {
        let labels = [
            ("instance", self.instance.as_str()),
            (
                "decision",
                OUTCOMES
                    .get(at / BY.len())
                    .map_or("abandoned", |outcome| outcome.as_str()),
            ),
            ("by", BY.get(at % BY.len()).copied().unwrap_or("none")),
        ];
        if let Some(slot) = self.requests.get_mut(at) {
            slot.define(&self.meter, || series("headgate_requests_total", &labels));
        }
    }
}

/// Subtracts this worker's part from the gauges: they outlive the worker.
impl<M: Meter> Drop for Metrics<M> {
    fn drop(&mut self) {
        self.counting.end(&self.meter);
        self.pass_on(Gauges::default());
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

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
