//! The targets of the benchmark, and whether a run reached them.

use crate::catalogue::{ALGORITHMS, FOUR, LEASE, NONE, REDIS_SINGLE, RLS, SEEN, SINGLE, UNSEEN};
use crate::options::Load;
use crate::results::{Results, ENVOY_CPU, P50, RATE, REDIS_CPU, TIME};
use crate::start_time::Start;
use crate::tail::Tail;

pub struct Target {
    pub measure: String,
    pub bound: Bound,
    /// `None` if this run did not measure it.
    pub value: Option<f64>,
}

pub enum Bound {
    /// A ratio.
    AtLeast(f64),
    /// A ratio.
    AtMost(f64),
    /// Bytes.
    Under(f64),
    /// µs
    Within(f64),
}

impl Target {
    pub fn reached(&self) -> Option<bool> {
        self.value.map(|value| match self.bound {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
            Bound::Under(bound) | Bound::Within(bound) => value < bound,
        })
    }
}

pub fn targets(results: &Results, start: &Start, tail: Option<&Tail>) -> Vec<Target> {
    use Bound::{AtLeast, AtMost, Under, Within};
    let mut all = Vec::new();
    let mut add = |measure: String, bound, value| {
        all.push(Target {
            measure,
            bound,
            value,
        })
    };
    let to_none = |name: &str| results.ratio(name, NONE, Load::FULL, RATE);
    for (algorithm, _) in ALGORITHMS {
        let name = format!("headgate/{algorithm}");
        let bound = if algorithm == "sliding_window_log" {
            0.75
        } else {
            0.8
        };
        let measure = format!(
            "throughput, all allowed, 128 connections, against `none`: {}",
            words(algorithm)
        );
        add(measure, AtLeast(bound), to_none(&name));
    }
    add(
        "fixed window against `rls`, on one Redis".into(),
        AtLeast(1.7),
        results.ratio(SINGLE, RLS, Load::FULL, RATE),
    );
    let time = results.added_ratio(SINGLE, Load::FULL, TIME);
    add(
        "time added to a request, against `rls`, on one Redis".into(),
        AtMost(0.25),
        time,
    );
    let p50 = results.added_ratio(SINGLE, Load::LONE, P50);
    add(
        "p50 added at 1 connection, against `rls`, on one Redis".into(),
        AtMost(0.5),
        p50,
    );
    for (algorithm, _) in ALGORITHMS {
        let denied = to_none(&format!("headgate/{algorithm}/denied"));
        add(
            format!("all denied, against `none`: {}", words(algorithm)),
            AtLeast(2.0),
            denied,
        );
    }
    add(
        "one hot key with leases, against `none`".into(),
        AtLeast(0.93),
        to_none(LEASE),
    );
    let cpu = results.ratio(SINGLE, REDIS_SINGLE, Load::FULL, REDIS_CPU);
    let measure =
        "Redis CPU a request, against the same script by redis-benchmark, on one Redis: fixed window";
    add(measure.into(), AtMost(1.1), cpu);
    for (algorithm, _) in ALGORITHMS {
        let (ours, theirs) = (format!("headgate/{algorithm}"), format!("redis/{algorithm}"));
        let cpu = results.ratio(&ours, &theirs, Load::FULL, REDIS_CPU);
        let measure = format!(
            "Redis CPU a request, against the same script by redis-benchmark: {}",
            words(algorithm)
        );
        add(measure, AtMost(1.1), cpu);
    }
    let one = "headgate/fixed_window";
    let four = results.ratio(FOUR, one, Load::FULL, RATE);
    add(
        "four limits of constant size of one client, against one".into(),
        AtLeast(0.9),
        four,
    );
    for (algorithm, _) in ALGORITHMS {
        let name = format!("headgate/{algorithm}");
        let keys = results.ratio_of((&name, Load::MANY_KEYS), (&name, Load::FULL), RATE);
        add(
            format!("from 1,000 to 100,000 keys: {}", words(algorithm)),
            AtLeast(0.95),
            keys,
        );
    }
    for (end, what) in [("", "all allowed"), ("/denied", "all denied")] {
        let pair = (format!("{SEEN}{end}"), format!("{UNSEEN}{end}"));
        let ratio = |metric| results.ratio(&pair.0, &pair.1, Load::FULL, metric);
        let measure = |of: &str| format!("metrics and log lines against none, {what}: {of}");
        add(measure("throughput"), AtLeast(0.97), ratio(RATE));
        add(measure("Envoy CPU a request"), AtMost(1.03), ratio(ENVOY_CPU));
    }
    add(
        "p99 added at half of the throughput, every request traced".into(),
        Within(10_000.0),
        tail.map(|tail| tail.added),
    );
    add("wasm module".into(), Under(400_000.0), Some(start.module_bytes));
    add(
        "`rls` against `none`: the comparison is fair".into(),
        AtLeast(0.45),
        to_none(RLS),
    );
    all
}

fn words(algorithm: &str) -> String {
    let words = algorithm.replace('_', " ");
    if algorithm == "sliding_window_log" {
        words + " of 100"
    } else {
        words
    }
}
