//! Decides from its series whether one instance of Headgate in an Envoy counts requests. It does not look for causes.

use super::stats::Stats;

/// A failure may be over after this long without another one, in ms.
pub const RECENT_MS: u64 = 10_000;

/// The series of one instance.
#[derive(Debug, Clone, Default)]
pub struct Instance {
    pub name: String,
    /// Whether the module has the gauges below; those of 0.1.0 and older do not.
    pub has_times: bool,
    /// Requests by who counted them.
    pub by_redis: u64,
    pub by_local: u64,
    /// Requests that no limit applied to, exempt ones and those without a client.
    pub by_none: u64,
    /// Requests that were let through or refused because they were not counted.
    pub failed: u64,
    /// Unix ms; 0: never.
    pub last_counted_ms: u64,
    pub last_uncounted_ms: u64,
    pub workers_counting: u64,
    pub breakers_open: u64,
    /// Error replies of Redis and its proxy, most first.
    pub errors: Vec<(String, u64)>,
    /// Calls to Redis by outcome.
    pub calls: Vec<(String, u64)>,
    /// How far Redis's clock is ahead, in ms; `None`: it was not read.
    pub clock_ahead_ms: Option<i64>,
    /// 0: no key; `None`: an older module.
    pub fingerprint: Option<u64>,
    pub version: Option<u64>,
}

/// Whether requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// No request has come since the start.
    NoTraffic,
    /// Requests come, and none has met a limit.
    NothingToCount,
    Counted,
    /// The newest requests are counted, but others were not a moment ago.
    CountedAgain,
    /// Some are counted and some are not.
    Partly,
    NotCounted,
}

impl Instance {
    /// `None`: the module reports nothing of this instance.
    pub fn read(stats: &Stats, name: &str) -> Option<Instance> {
        let mut instance = Instance {
            name: name.to_owned(),
            ..Instance::default()
        };
        let mut found = false;
        for series in stats.of("headgate_requests_total", name) {
            found = true;
            let decision = series.label("decision");
            *match (series.label("by"), decision) {
                (_, "failed_open" | "failed_closed") => &mut instance.failed,
                ("redis" | "lease" | "cache", _) => &mut instance.by_redis,
                ("local", _) => &mut instance.by_local,
                _ => &mut instance.by_none,
            } += series.value;
        }
        if !found {
            return None;
        }
        let gauge = |metric: &str| stats.gauge(metric, name);
        let last_counted = gauge("headgate_last_counted_timestamp_milliseconds");
        instance.has_times = last_counted.is_some();
        instance.last_counted_ms = last_counted.unwrap_or(0);
        instance.last_uncounted_ms = gauge("headgate_last_uncounted_timestamp_milliseconds").unwrap_or(0);
        instance.workers_counting = gauge("headgate_workers_counting").unwrap_or(0);
        instance.breakers_open = gauge("headgate_breakers_open").unwrap_or(0);
        let by_outcome = |metric: &str| {
            let all = stats.of(metric, name).filter(|series| series.value > 0);
            let mut all: Vec<_> = all
                .map(|series| (series.label("outcome").to_owned(), series.value))
                .collect();
            all.sort_by_key(|one| std::cmp::Reverse(one.1));
            all
        };
        instance.errors = by_outcome("headgate_redis_errors_total");
        instance.calls = by_outcome("headgate_redis_calls_total");
        let ahead = gauge("headgate_redis_clock_ahead_milliseconds");
        let behind = gauge("headgate_redis_clock_behind_milliseconds");
        instance.clock_ahead_ms = ahead
            .zip(behind)
            .map(|(ahead, behind)| ahead as i64 - behind as i64);
        instance.fingerprint = gauge("headgate_hash_key_fingerprint");
        instance.version = gauge("headgate_configuration_version");
        Some(instance)
    }

    /// `is_local`: the policy counts in Envoy's memory. `now_ms`: Envoy's clock.
    pub fn counting(&self, is_local: bool, now_ms: u64) -> Counting {
        let (counted, uncounted) = match is_local {
            true => (self.by_local, self.failed),
            false => (self.by_redis, self.by_local + self.failed),
        };
        if !self.has_times {
            // Without times it is unknown which of them came last.
            return match (counted, uncounted) {
                (0, 0) if self.by_none == 0 => Counting::NoTraffic,
                (0, 0) => Counting::NothingToCount,
                (0, _) => Counting::NotCounted,
                (_, 0) => Counting::Counted,
                _ if self.breakers_open > 0 => Counting::Partly,
                _ => Counting::CountedAgain,
            };
        }
        match (self.last_counted_ms, self.last_uncounted_ms) {
            (0, 0) if self.by_none > 0 => Counting::NothingToCount,
            (0, 0) => Counting::NoTraffic,
            (at, not_at) if at < not_at => Counting::NotCounted,
            _ if self.breakers_open > 0 => Counting::Partly,
            (_, 0) => Counting::Counted,
            (_, not_at) if not_at + RECENT_MS > now_ms => Counting::CountedAgain,
            _ => Counting::Counted,
        }
    }

    /// The calls that ended with this outcome.
    pub fn called(&self, outcome: &str) -> u64 {
        let found = self.calls.iter().find(|(known, _)| known == outcome);
        found.map_or(0, |(_, calls)| *calls)
    }

    /// The error replies with this label.
    pub fn answered(&self, label: &str) -> u64 {
        let found = self.errors.iter().find(|(known, _)| known == label);
        found.map_or(0, |(_, replies)| *replies)
    }

    /// Every request since the start.
    pub fn requests(&self) -> u64 {
        self.by_redis + self.by_local + self.by_none + self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Instance {
        let named = |line: &&str| format!("wasmcustom.headgate_{}", line.replacen(' ', ";instance=main", 1));
        let text: Vec<String> = lines.iter().map(named).collect();
        Instance::read(&Stats::parse(&text.join("\n")), "main").expect("an instance")
    }

    #[test]
    fn what_is_newer_decides_whether_requests_are_counted() {
        let now = 1_000_000;
        for (counted, uncounted, breakers, expected) in [
            (0, 0, 0, Counting::NoTraffic),
            (900_000, 0, 0, Counting::Counted),
            (900_000, 800_000, 0, Counting::Counted),
            (999_000, 998_000, 0, Counting::CountedAgain),
            (999_000, 998_000, 2, Counting::Partly),
            (998_000, 999_000, 0, Counting::NotCounted),
            (0, 999_000, 1, Counting::NotCounted),
        ] {
            let instance = read(&[
                "requests_total ;decision=allowed;by=redis: 0",
                &format!("last_counted_timestamp_milliseconds : {counted}"),
                &format!("last_uncounted_timestamp_milliseconds : {uncounted}"),
                &format!("breakers_open : {breakers}"),
            ]);
            assert_eq!(
                instance.counting(false, now),
                expected,
                "{counted} {uncounted} {breakers}"
            );
        }
    }

    #[test]
    fn a_module_without_times_is_judged_by_its_totals() {
        for (redis, local, none, stored_locally, expected) in [
            (0, 0, 0, false, Counting::NoTraffic),
            (0, 0, 3, false, Counting::NothingToCount),
            (5, 0, 3, false, Counting::Counted),
            (0, 5, 0, false, Counting::NotCounted),
            (0, 5, 0, true, Counting::Counted),
            (5, 5, 0, false, Counting::CountedAgain),
        ] {
            let instance = read(&[
                &format!("requests_total ;decision=allowed;by=redis: {redis}"),
                &format!("requests_total ;decision=allowed;by=local: {local}"),
                &format!("requests_total ;decision=exempt;by=none: {none}"),
            ]);
            assert_eq!(
                instance.counting(stored_locally, 9),
                expected,
                "{redis} {local} {none}"
            );
        }
    }

    #[test]
    fn an_unknown_instance_is_none() {
        assert!(Instance::read(&Stats::default(), "main").is_none());
    }
}
