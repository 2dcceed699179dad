//! Writes the results as Markdown, for the file and for the terminal. Every figure has its ratio.

use crate::catalogue::{NONE, RLS};
use crate::machine;
use crate::options::{Load, Options, Place};
use crate::results::{
    Metric, Results, DENIED, ENVOY_CPU, P50, P99, RATE, REDIS_CALLS, REDIS_CPU, SERVICE_CPU, TIME,
};
use crate::start_time::Start;
use crate::tail::Tail;
use crate::targets::{targets, Bound, Target};

pub struct Report<'a> {
    pub options: &'a Options,
    pub results: &'a Results,
    pub start: &'a Start,
    pub tail: Option<&'a Tail>,
    /// Setups that do not start.
    pub left_out: &'a [String],
}

const HOW: &str = "\
Written by `make bench`. Every setup has an Envoy of its own with one worker, made from `envoy/envoy.yaml` without its
access log, and all route to the same small upstream. Within a round the setups follow each other under each load while
all other Envoys are stopped. Figures are medians over the rounds; ratios are taken within a round, and then their
median. After a figure is its ratio to `none`, and after that the one to `rls`. Latency is what `wrk` sees, each
connection with one request in flight; `p50 added` is over `none`, its ratio that to what `rls` adds. `Redis calls` shows
whether every request was counted in Redis: `rls` asks twice (limitador reads, then adds, and so is not exact under
concurrency), `ratelimit` once for each descriptor, a denial from the verdict cache or from the local cache of `ratelimit`
not at all.
";

impl Report<'_> {
    pub fn markdown(&self) -> String {
        let Options {
            rounds,
            seconds,
            upstream,
            ..
        } = self.options;
        let mut text = format!("# Benchmark\n\n{HOW}\n");
        for fact in machine::facts() {
            text += &format!("- {fact}\n");
        }
        text += &format!(
            "- {rounds} round{} of {seconds} s each",
            if *rounds == 1 { "" } else { "s" }
        );
        if *rounds < 5 {
            text += ": **too few to go by**";
        }
        text += match upstream {
            Place::Own => "; the upstream is a separate server\n",
            Place::Envoy => {
                "; the upstream is a direct response of the same Envoy, whose worker does that work too\n"
            }
        };
        if !self.left_out.is_empty() {
            text += &format!(
                "- left out, as they do not start: `{}`\n",
                self.left_out.join("`, `")
            );
        }
        for (name, requests) in &self.results.uncounted {
            text += &format!(
                "- **`{name}`: {requests} requests in all were not counted in time**; the machine was too busy\n"
            );
        }
        text += "\n![Throughput, latency and processor time of all setups](results.svg)\n\n## Targets\n\n";
        text += &self.targets();
        text += "\n## Setups\n\n";
        text += &self.setups();
        text += "\n## Module and start\n\n";
        text += &self.start();
        if let Some(tail) = self.tail {
            text += &format!(
                "\n## Tail\n\nAn open loop of {}/s, half of what Headgate does here with 128 connections, every request \
                 traced by the shipped `envoy/tracing.yaml`, also without a limiter; medians of {} round{}. p99: {} ms \
                 without a limiter, {} ms with Headgate, {} ms added.\n",
                grouped(tail.rate),
                tail.rounds,
                if tail.rounds == 1 { "" } else { "s" },
                millis(tail.floor),
                millis(tail.headgate),
                millis(tail.added),
            );
        }
        for load in self.results.loads() {
            text += &format!("\n## {load}\n\n{}", self.table(load));
        }
        text
    }

    fn targets(&self) -> String {
        let mut rows = vec![["measure", "target", "this run", "reached"]
            .map(str::to_owned)
            .to_vec()];
        for target in targets(self.results, self.start, self.tail) {
            let Target {
                measure,
                bound,
                value,
            } = &target;
            let number = |value: f64| match bound {
                Bound::Under(_) => format!("{:.0} KB", value / 1e3),
                Bound::Within(_) => format!("{} ms", millis(value)),
                _ => format!("{value:.2}×"),
            };
            let goal = match bound {
                Bound::AtLeast(bound) => format!("at least {}", number(*bound)),
                Bound::AtMost(bound) => format!("at most {}", number(*bound)),
                Bound::Under(bound) | Bound::Within(bound) => format!("under {}", number(*bound)),
            };
            let reached = match target.reached() {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "not measured",
            };
            rows.push(vec![
                measure.clone(),
                goal,
                value.map_or("–".into(), number),
                reached.into(),
            ]);
        }
        table(&rows, &[])
    }

    fn setups(&self) -> String {
        let mut rows = vec![vec!["setup".to_owned(), "what it is".to_owned()]];
        rows.extend(
            self.results
                .setups
                .iter()
                .map(|setup| vec![format!("`{}`", setup.name), setup.what.clone()]),
        );
        table(&rows, &[])
    }

    fn start(&self) -> String {
        let Start {
            module_bytes,
            floor,
            headgate,
            first_floor,
            first_headgate,
        } = self.start;
        let row = |cells: [String; 3]| cells.to_vec();
        let rows = vec![
            row(["".into(), "`none`".into(), "headgate (× `none`)".into()]),
            row([
                "the module".into(),
                "–".into(),
                format!("{:.0} KB", module_bytes / 1e3),
            ]),
            row([
                "Envoy's start until its workers run, both roles compiled".into(),
                format!("{floor:.0} ms"),
                format!("{headgate:.0} ms ({:.2}×)", headgate / floor),
            ]),
            row([
                "the first request: connections, streams, the script new to Redis".into(),
                format!("{first_floor:.1} ms"),
                format!("{first_headgate:.1} ms ({:.2}×)", first_headgate / first_floor),
            ]),
        ];
        table(&rows, &[1, 2])
    }

    fn table(&self, load: Load) -> String {
        let heads = [
            "setup",
            "requests/s",
            "µs added a request",
            "p50 ms",
            "p50 added ms",
            "p99 ms",
            "Envoy CPU µs",
            "service CPU µs",
            "Redis CPU µs",
            "Redis calls",
            "denied",
        ];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        for setup in &self.results.setups {
            let name = setup.name.as_str();
            if !setup.takes(load) || self.results.median(name, load, RATE).is_none() {
                continue;
            }
            let share = |metric: Metric| self.results.median(name, load, metric);
            rows.push(vec![
                format!("`{name}`"),
                self.figure(name, load, RATE, &grouped),
                self.added(name, load, TIME, 1.0),
                self.figure(name, load, P50, &millis),
                self.added(name, load, P50, 1e3),
                self.figure(name, load, P99, &millis),
                self.figure(name, load, ENVOY_CPU, &|micros| format!("{micros:.1}")),
                self.figure(name, load, SERVICE_CPU, &|micros| format!("{micros:.1}")),
                self.figure(name, load, REDIS_CPU, &|micros| format!("{micros:.1}")),
                share(REDIS_CALLS).map_or("–".into(), |calls| format!("{calls:.2}")),
                share(DENIED).map_or("–".into(), |denied| format!("{:.0}%", denied * 100.0)),
            ]);
        }
        table(&rows, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    }

    /// `12,900 (0.78 | 1.71)`: the figure, its ratio to `none`, its ratio to `rls`.
    fn figure(&self, name: &str, load: Load, metric: Metric, show: &dyn Fn(f64) -> String) -> String {
        let Some(value) = self.results.median(name, load, metric) else {
            return "–".into();
        };
        let ratio = |to: &str| {
            self.results
                .ratio(name, to, load, metric)
                .map_or("–".into(), |ratio| format!("{ratio:.2}"))
        };
        format!("{} ({} · {})", show(value), ratio(NONE), ratio(RLS))
    }

    /// `0.03 (0.31)`: what the setup adds to `none`, and its ratio to what `rls` adds.
    fn added(&self, name: &str, load: Load, metric: Metric, unit: f64) -> String {
        let Some(value) = self
            .results
            .added(name, load, metric)
            .filter(|_| name != NONE && !name.starts_with("redis/"))
        else {
            return "–".into();
        };
        let ratio = self
            .results
            .added_ratio(name, load, metric)
            .map_or("–".into(), |ratio| format!("{ratio:.2}"));
        if unit == 1.0 {
            format!("{value:.1} ({ratio})")
        } else {
            format!("{} ({ratio})", millis(value))
        }
    }
}

/// µs as ms, with three significant digits.
fn millis(micros: f64) -> String {
    let millis = micros / 1e3;
    let digits = if millis.abs() < 1.0 {
        3
    } else if millis.abs() < 10.0 {
        2
    } else {
        1
    };
    format!("{millis:.digits$}")
}

/// 12,900
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A table with aligned columns. The columns in `right` are aligned to the right.
pub fn table(rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
            .max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            text += &if right.contains(&column) {
                format!("| {cell:>width$} ")
            } else {
                format!("| {cell:<width$} ")
            };
        }
        text += "|\n";
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                text += &if right.contains(&column) {
                    format!("|{:->width$}-:", "", width = width)
                } else {
                    format!("|-{:->width$}-", "", width = width)
                };
            }
            text += "|\n";
        }
    }
    text
}
