//! What keeps the series, as a trait, and one counter and one gauge of it: what is kept until it is handed on.

/// The kinds of the proxy-wasm ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum MetricKind {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

/// What keeps the series. A name defined twice is one series.
pub trait Meter {
    /// `None`: it cannot be had.
    fn define(&self, kind: MetricKind, name: &str) -> Option<u32>;
    /// Adds to a counter or a gauge.
    fn add(&self, id: u32, by: i64);
    /// Sets a gauge, or adds a value to a histogram.
    fn record(&self, id: u32, value: u64);
}

/// A counter and what is not handed on yet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BufferedCounter {
    pub id: Option<u32>,
    pub pending: u64,
}

impl BufferedCounter {
    /// Defines its series, where that has not been done.
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

/// A gauge's part that is this worker's: a gauge is the sum of all workers'.
#[derive(Debug, Default)]
pub(super) struct BufferedGauge {
    id: Option<u32>,
    said: i64,
}

impl BufferedGauge {
    /// `id`: the gauge; `None`: it could not be had.
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
