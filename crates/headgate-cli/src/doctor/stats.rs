//! Envoy's counters and gauges, and Headgate's own among them.

use percent_encoding::{percent_decode_str, utf8_percent_encode, NON_ALPHANUMERIC};
use std::collections::BTreeMap;

/// The path of the statistics that are needed: Headgate's own, and those of these clusters, of wasm and of HTTP. An
/// Envoy in a mesh has hundreds of thousands of statistics.
pub fn path(clusters: &[&str]) -> String {
    let names: Vec<String> = clusters.iter().map(|name| escaped(&stat_name(name))).collect();
    let filter = format!(
        r"^(wasmcustom\.(headgate|api_throttle)|cluster\.({})\.|wasm\.|http\..*downstream_rq_total$)",
        names.join("|")
    );
    format!("/stats?filter={}", utf8_percent_encode(&filter, NON_ALPHANUMERIC))
}

/// In the names of statistics Envoy writes `_` for `:`.
fn stat_name(cluster: &str) -> String {
    cluster.replace(':', "_")
}

/// A text as a regex.
fn escaped(text: &str) -> String {
    let escape = |c: char| match c.is_ascii_alphanumeric() || c == '_' {
        true => c.to_string(),
        false => format!("\\{c}"),
    };
    text.chars().map(escape).collect()
}

/// How Envoy names the series of a wasm module.
const OURS: &str = "wasmcustom.";

/// Counters and gauges by their whole names.
#[derive(Debug, Default, Clone)]
pub struct Stats(BTreeMap<String, u64>);

/// One of Headgate's series: `headgate_requests_total;instance=main;by=redis`.
pub struct Series<'s> {
    pub metric: &'s str,
    labels: Vec<(&'s str, String)>,
    pub value: u64,
}

impl Series<'_> {
    /// The value of a label, or an empty text.
    pub fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(label, _)| *label == name);
        found.map_or("", |(_, value)| value)
    }
}

impl Stats {
    /// Reads the text of `/stats`. Histograms are left out.
    pub fn parse(text: &str) -> Stats {
        let pairs = text.lines().filter_map(|line| line.rsplit_once(": "));
        Stats(
            pairs
                .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
                .collect(),
        )
    }

    /// `None`: Envoy has no such series.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// A counter of a cluster; 0 where it does not exist.
    pub fn cluster(&self, cluster: &str, counter: &str) -> u64 {
        self.get(&format!("cluster.{}.{counter}", stat_name(cluster)))
            .unwrap_or(0)
    }

    /// Headgate's own series.
    pub fn ours(&self) -> impl Iterator<Item = Series<'_>> {
        let from = self.0.range(OURS.to_owned()..);
        let ours = from.map_while(|(name, value)| Some((name.strip_prefix(OURS)?, *value)));
        ours.map(|(name, value)| {
            let mut parts = name.split(';');
            Series {
                metric: parts.next().unwrap_or_default(),
                labels: parts
                    .filter_map(|part| part.split_once('='))
                    .map(|(label, value)| (label, percent_decode_str(value).decode_utf8_lossy().into_owned()))
                    .collect(),
                value,
            }
        })
    }

    /// The series of one metric of one instance.
    pub fn of<'s>(&'s self, metric: &'s str, instance: &'s str) -> impl Iterator<Item = Series<'s>> {
        self.ours()
            .filter(move |series| series.metric == metric && series.label("instance") == instance)
    }

    /// A gauge of one instance; `None`: the module has none.
    pub fn gauge(&self, metric: &str, instance: &str) -> Option<u64> {
        let mut found = self.of(metric, instance);
        found.next().map(|series| series.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_into_metric_and_labels() {
        let stats = Stats::parse(
            "cluster.a.upstream_cx_total: 3\n\
             wasmcustom.headgate_x;instance=main;outcome=a%3Bb: 7\n\
             wasmcustom.headgate_y;instance=main: No recorded values\n\
             wasmcustom.headgate_z: 18446744073709551615\n",
        );
        assert_eq!(stats.cluster("a", "upstream_cx_total"), 3);
        assert_eq!(stats.get("cluster.b.upstream_cx_total"), None);
        let [x, z] = stats
            .ours()
            .collect::<Vec<_>>()
            .try_into()
            .ok()
            .expect("two series");
        assert_eq!((x.metric, x.value, x.label("outcome")), ("headgate_x", 7, "a;b"));
        assert_eq!((z.metric, z.label("instance")), ("headgate_z", ""));
        assert_eq!(stats.gauge("headgate_x", "main"), Some(7));
        assert_eq!(stats.gauge("headgate_x", "other"), None);
    }
}
