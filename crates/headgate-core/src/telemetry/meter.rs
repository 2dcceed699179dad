//! A trait for the proxy's metrics, and buffered counters and gauges.

/// The kinds of metrics in the proxy-wasm ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum MetricKind {
    /// A sum that only grows.
    Counter = 0,
    /// A value that can go up and down.
    Gauge = 1,
    /// Observations in buckets.
    Histogram = 2,
}

/// The proxy's metrics. Defining a name twice returns the same series.
pub trait Meter {
    /// Defines a series and returns its id; `None`: the proxy refused.
    fn define(&self, kind: MetricKind, name: &str) -> Option<u32>;
    /// Adds to a counter or a gauge.
    fn add(&self, id: u32, by: i64);
    /// Sets a gauge, or adds a value to a histogram.
    fn record(&self, id: u32, value: u64);
}

/// A counter, and what has not been passed to the proxy yet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BufferedCounter {
    pub id: Option<u32>,
    pub pending: u64,
}

impl BufferedCounter {
    /// Defines its series, unless that has been done.
    pub fn define(&mut self, meter: &impl Meter, name: impl FnOnce() -> String) {
        if self.id.is_none() {
            self.id = meter.define(MetricKind::Counter, &name());
        }
    }

    pub fn hand_on(&mut self, meter: &impl Meter) {
        if let (Some(id), 1..) = (self.id, self.pending) {
            meter.add(id, i64::try_from(self.pending).unwrap_or(i64::MAX));
            self.pending = 0;
        }
    }
}

/// This worker's part of a gauge: a gauge is the sum over all workers.
#[derive(Debug, Default)]
pub(super) struct BufferedGauge {
    id: Option<u32>,
    said: i64,
}

impl BufferedGauge {
    /// `id`: the gauge; `None`: the proxy refused it.
    pub fn new(id: Option<u32>) -> BufferedGauge {
        BufferedGauge { id, said: 0 }
    }

    pub fn differs(&self, now: usize) -> bool {
        i64::try_from(now).is_ok_and(|now| now != self.said)
    }

    pub fn hand_on(&mut self, meter: &impl Meter, now: usize) {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        if let (Some(id), true) = (self.id, self.said != now) {
            meter.add(id, now - self.said);
            self.said = now;
        }
    }
}
