//! Whether requests are counted now, and why not, as metrics: what `headgate doctor` reads.
//!
//! The other counters add up from the start of Envoy, so they do not show whether Redis counts at the moment. These do:
//! when a request was last counted and last not, by how many workers, and which errors Redis answered. All of them are
//! bounded, and are handed to the proxy with the others, a few times a second.

use super::meter::{BufferedCounter, BufferedGauge, Meter, MetricKind};
use super::names::series;
use crate::engine::Now;
use crate::identify::Hasher;
use crate::model::{Policy, Store};
use std::time::Instant;

/// The series of one worker.
pub(super) struct CountingState {
    instance: String,
    /// Where requests are to be counted.
    store: Store,
    /// The last request that was counted there, and the last that was not, since this was handed on.
    counted: Option<Instant>,
    uncounted: Option<Instant>,
    last_counted: Option<u32>,
    last_uncounted: Option<u32>,
    /// Whether this worker has counted a request.
    has_counted: bool,
    workers: BufferedGauge,
    /// By the label of an error reply; there are only a few constants.
    errors: Vec<(&'static str, BufferedCounter)>,
    /// How far Redis's clock is ahead, in ms.
    clock_ms: Option<i64>,
}

impl CountingState {
    pub fn new(policy: &Policy, hasher: &Hasher, meter: &impl Meter) -> CountingState {
        let instance = [("instance", policy.instance.as_str())];
        let gauge = |name: &str| meter.define(MetricKind::Gauge, &series(name, &instance));
        if let Some(id) = gauge("headgate_hash_key_fingerprint") {
            meter.record(id, hasher.key_fingerprint());
        }
        CountingState {
            store: policy.store,
            counted: None,
            uncounted: None,
            last_counted: gauge("headgate_last_counted_timestamp_milliseconds"),
            last_uncounted: gauge("headgate_last_uncounted_timestamp_milliseconds"),
            has_counted: false,
            workers: BufferedGauge::new(gauge("headgate_workers_counting")),
            errors: Vec::new(),
            clock_ms: None,
            instance: policy.instance.clone(),
        }
    }

    /// A limit of a request was counted, in Envoy's memory or elsewhere; or it was not.
    pub fn note(&mut self, now: Instant, has_verdict: bool, locally: bool) {
        if has_verdict && locally == (self.store == Store::Local) {
            self.counted = Some(now);
        } else {
            self.uncounted = Some(now);
        }
    }

    /// Redis or its proxy answered with an error.
    pub fn answered(&mut self, label: &'static str) {
        match self.errors.iter_mut().find(|(known, _)| *known == label) {
            Some((_, slot)) => slot.pending += 1,
            None => self
                .errors
                .push((label, BufferedCounter { id: None, pending: 1 })),
        }
    }

    /// Redis's clock was read.
    pub fn clock(&mut self, ahead_ms: i64) {
        self.clock_ms = Some(ahead_ms);
    }

    /// Passes everything to the proxy.
    pub fn hand_on(&mut self, now: Now, meter: &impl Meter) {
        self.has_counted |= self.counted.is_some();
        self.workers.hand_on(meter, usize::from(self.has_counted));
        for (at, id) in [
            (self.counted.take(), self.last_counted),
            (self.uncounted.take(), self.last_uncounted),
        ] {
            if let (Some(at), Some(id)) = (at, id) {
                let ago = now.monotonic.saturating_duration_since(at).as_millis() as u64;
                meter.record(id, now.unix_ms().saturating_sub(ago));
            }
        }
        for (label, slot) in &mut self.errors {
            let labels = [("instance", self.instance.as_str()), ("outcome", label)];
            slot.define(meter, || series("headgate_redis_errors_total", &labels));
            slot.hand_on(meter);
        }
        if let Some(ahead_ms) = self.clock_ms.take() {
            let instance = [("instance", self.instance.as_str())];
            for (name, value) in [
                ("headgate_redis_clock_ahead_milliseconds", ahead_ms),
                (
                    "headgate_redis_clock_behind_milliseconds",
                    ahead_ms.saturating_neg(),
                ),
            ] {
                if let Some(id) = meter.define(MetricKind::Gauge, &series(name, &instance)) {
                    meter.record(id, u64::try_from(value).unwrap_or(0));
                }
            }
        }
    }

    /// Subtracts this worker's part from the gauge: it outlives the worker.
    pub fn end(&mut self, meter: &impl Meter) {
        self.workers.hand_on(meter, 0);
    }
}
