//! The measurements, and the figures that are calculated from them. Ratios are taken within a round; a figure is the
//! median over the rounds.

use crate::catalogue::{Setup, NONE, RLS};
use crate::options::Load;
use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// One measurement. A value is NaN if the setup does not have what it measures: no Envoy, or no Redis.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Requests a second.
    pub rate: f64,
    /// µs
    pub p50: f64,
    /// µs
    pub p99: f64,
    /// Envoy's CPU time for each request, in µs.
    pub envoy_cpu: f64,
    /// The same for the rate-limit service.
    pub service_cpu: f64,
    /// The same for all Redis nodes together.
    pub redis_cpu: f64,
    /// Counting commands for each request.
    pub redis_calls: f64,
    /// Share of denied requests, 0 to 1.
    pub denied: f64,
}

pub type Metric = fn(&Sample) -> f64;

pub const RATE: Metric = |sample| sample.rate;
pub const P50: Metric = |sample| sample.p50;
pub const P99: Metric = |sample| sample.p99;
pub const ENVOY_CPU: Metric = |sample| sample.envoy_cpu;
pub const SERVICE_CPU: Metric = |sample| sample.service_cpu;
pub const REDIS_CPU: Metric = |sample| sample.redis_cpu;
pub const REDIS_CALLS: Metric = |sample| sample.redis_calls;
pub const DENIED: Metric = |sample| sample.denied;
/// µs between two requests, over all connections.
pub const TIME: Metric = |sample| 1e6 / sample.rate;

impl Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0}/s, p50 {:.0} µs, p99 {:.0} µs",
            self.rate, self.p50, self.p99
        )?;
        if self.envoy_cpu.is_finite() {
            write!(f, ", Envoy {:.1} µs", self.envoy_cpu)?;
        }
        if self.service_cpu.is_finite() {
            write!(f, ", service {:.1} µs", self.service_cpu)?;
        }
        if self.redis_cpu.is_finite() {
            write!(
                f,
                ", Redis {:.1} µs in {:.2} calls",
                self.redis_cpu, self.redis_calls
            )?;
        }
        write!(f, ", {:.0}% denied", self.denied * 100.0)
    }
}

pub struct Results {
    pub setups: Vec<Setup>,
    /// The samples of each setup and load, in the order of the rounds.
    samples: BTreeMap<(usize, Load), Vec<Sample>>,
    /// For each setup, the number of requests on which `on_error` decided.
    pub uncounted: BTreeMap<String, u64>,
}

impl Results {
    pub fn new(setups: Vec<Setup>) -> Results {
        Results {
            setups,
            samples: BTreeMap::new(),
            uncounted: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, setup: usize, load: Load, sample: Sample) {
        self.samples.entry((setup, load)).or_default().push(sample);
    }

    pub fn loads(&self) -> Vec<Load> {
        let mut loads: Vec<Load> = self.samples.keys().map(|(_, load)| *load).collect();
        loads.sort_unstable();
        loads.dedup();
        loads
    }

    fn samples(&self, name: &str, load: Load) -> &[Sample] {
        let setup = self.setups.iter().position(|setup| setup.name == name);
        setup
            .and_then(|setup| self.samples.get(&(setup, load)))
            .map_or(&[], Vec::as_slice)
    }

    pub fn median(&self, name: &str, load: Load, metric: Metric) -> Option<f64> {
        median(self.samples(name, load).iter().map(metric))
    }

    /// The ratio of one setup to another, under the same load.
    pub fn ratio(&self, name: &str, to: &str, load: Load, metric: Metric) -> Option<f64> {
        self.ratio_of((name, load), (to, load), metric)
    }

    pub fn ratio_of(&self, of: (&str, Load), to: (&str, Load), metric: Metric) -> Option<f64> {
        median(self.ratios_of(of, to, metric))
    }

    /// The ratio of each round.
    pub fn ratios_of<'a>(
        &'a self,
        of: (&str, Load),
        to: (&str, Load),
        metric: Metric,
    ) -> impl Iterator<Item = f64> + use<'a> {
        let pairs = self.samples(of.0, of.1).iter().zip(self.samples(to.0, to.1));
        pairs.map(move |(sample, other)| metric(sample) / metric(other))
    }

    /// How much more a setup takes than `none`.
    pub fn added(&self, name: &str, load: Load, metric: Metric) -> Option<f64> {
        let pairs = self.samples(name, load).iter().zip(self.samples(NONE, load));
        median(pairs.map(|(sample, floor)| metric(sample) - metric(floor)))
    }

    /// The ratio of what a setup adds to `none` to what the rate-limit service adds.
    pub fn added_ratio(&self, name: &str, load: Load, metric: Metric) -> Option<f64> {
        let (samples, services, floors) = (
            self.samples(name, load),
            self.samples(RLS, load),
            self.samples(NONE, load),
        );
        let rounds = samples.iter().zip(services).zip(floors);
        median(rounds.map(|((sample, service), floor)| {
            (metric(sample) - metric(floor)) / (metric(service) - metric(floor))
        }))
    }
}

/// `None` if nothing was measured.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    let (lower, upper) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some((values[lower] + values[upper]) / 2.0)
}
