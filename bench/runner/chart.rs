//! Draws the results as a picture, with a row for each setup and a column of bars for each figure. It works on light
//! and on dark pages.

use crate::catalogue::{NONE, RATELIMIT, RLS};
use crate::options::Load;
use crate::report::grouped;
use crate::results::{Metric, Results, P50, P99, RATE};
use std::fmt::Write;

const ROW: f64 = 22.0;
const TOP: f64 = 92.0;
const NAMES: f64 = 272.0;
const COLUMN: f64 = 226.0;
/// The length of the longest bar. The number is to the right of the bar.
const BAR: f64 = 72.0;

/// The colours follow the page: dark on light, or light on dark. The picture has no background.
const STYLE: &str = "
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 15px } .head { font-weight: 600 } .small { fill: #57606a; font-size: 11px }
.floor { fill: #8c959f } .other { fill: #bf8700 } .redis { fill: #cf222e } .headgate { fill: #0969da }
.faint { opacity: .45 } .rule { stroke: #8c959f; stroke-opacity: .35 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 }
  .floor { fill: #767e88 } .other { fill: #d29922 } .redis { fill: #f85149 } .headgate { fill: #4493f8 }
}
";

struct Column {
    title: &'static str,
    load: Load,
    metric: Metric,
    /// The part of the bar that is drawn in a faint colour.
    faint: Option<Faint>,
    show: fn(f64) -> String,
}

enum Faint {
    /// The part that Envoy without a limiter takes.
    Floor,
    Part(Metric),
}

const CPU: Metric = |sample| sum([sample.envoy_cpu, sample.service_cpu, sample.redis_cpu]);
const OTHER_CPU: Metric = |sample| sum([0.0, sample.service_cpu, sample.redis_cpu]);

/// The sum of the values that are not NaN.
fn sum(micros: [f64; 3]) -> f64 {
    micros.iter().filter(|micros| micros.is_finite()).sum()
}

fn columns() -> [Column; 5] {
    let column = |title, load, metric, faint, show| Column {
        title,
        load,
        metric,
        faint,
        show,
    };
    [
        column("requests/s", Load::FULL, RATE, None, grouped as fn(f64) -> String),
        column("p50", Load::LONE, P50, Some(Faint::Floor), millis),
        column("p50", Load::FULL, P50, Some(Faint::Floor), millis),
        column("p99", Load::FULL, P99, Some(Faint::Floor), millis),
        column(
            "CPU a request",
            Load::FULL,
            CPU,
            Some(Faint::Part(OTHER_CPU)),
            micros,
        ),
    ]
}

fn micros(micros: f64) -> String {
    format!("{micros:.0} µs")
}

fn millis(micros: f64) -> String {
    let digits = if micros < 1e4 { 2 } else { 1 };
    format!("{:.digits$} ms", micros / 1e3)
}

pub fn svg(results: &Results) -> String {
    let names: Vec<&str> = results.setups.iter().map(|setup| setup.name.as_str()).collect();
    let columns = columns();
    let width = NAMES + COLUMN * columns.len() as f64;
    let bottom = TOP + ROW * names.len() as f64;
    let height = bottom + 46.0;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" aria-label=\"Throughput, latency and processor time of all setups\">\n\
         <style>{STYLE}</style>"
    );
    text(
        &mut out,
        "title",
        START,
        (12.0, 24.0),
        "What a limiter costs inside Envoy",
    );
    let how = "One Envoy worker, 1,000 keys. Behind each figure its ratio to none · to rls.";
    text(&mut out, "small", START, (12.0, 42.0), how);
    for (row, name) in names.iter().enumerate() {
        text(
            &mut out,
            "",
            END,
            (NAMES - 12.0, TOP + ROW * row as f64 + 15.0),
            name,
        );
    }
    for (index, column) in columns.iter().enumerate() {
        let x = NAMES + COLUMN * index as f64;
        text(&mut out, "head", START, (x, TOP - 24.0), column.title);
        let connections = column.load.connections;
        let plural = if connections == 1 { "" } else { "s" };
        let load = format!("{connections} connection{plural}");
        text(&mut out, "small", START, (x, TOP - 9.0), &load);
        let y = TOP - 2.0;
        let _ = writeln!(out, "<path class=\"rule\" d=\"M{x} {y}V{}\"/>", bottom + 2.0);
        bars(&mut out, results, column, &names, x);
    }
    legend(&mut out, height - 16.0);
    out + "</svg>\n"
}

fn bars(out: &mut String, results: &Results, column: &Column, names: &[&str], x: f64) {
    let value = |name: &str| results.median(name, column.load, column.metric);
    // Redis alone may exceed the scale of the setups with an Envoy
    let scaled = names.iter().filter(|name| !name.starts_with("redis/"));
    let longest = scaled.filter_map(|name| value(name)).fold(0.0, f64::max);
    for (row, name) in names.iter().enumerate() {
        let Some(whole) = value(name) else {
            continue;
        };
        let y = TOP + ROW * row as f64;
        let faint = match column.faint {
            Some(Faint::Floor) => value(NONE),
            Some(Faint::Part(metric)) => results.median(name, column.load, metric),
            None => None,
        };
        let length = (whole / longest).min(1.0) * BAR;
        let light = (faint.unwrap_or(0.0) / longest * BAR).min(length);
        bar(out, &format!("{} faint", class(name)), (x, y), light);
        bar(out, class(name), (x + light, y), length - light);
        let beyond = if whole > longest { "› " } else { "" };
        let figure = format!("{beyond}{}", (column.show)(whole));
        text(out, "", START, (x + length + 5.0, y + 15.0), &figure);
        let ratio = |to: &str| {
            let ratio = results.ratio(name, to, column.load, column.metric);
            ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"))
        };
        let ratios = format!("{} · {}", ratio(NONE), ratio(RLS));
        text(out, "small", END, (x + COLUMN - 14.0, y + 15.0), &ratios);
    }
}

fn legend(out: &mut String, y: f64) {
    let entries = [
        ("floor", "none, local"),
        ("other", "rls, ratelimit"),
        ("redis", "redis-benchmark"),
        ("headgate", "headgate"),
    ];
    let mut x = 12.0;
    for (class, label) in entries {
        bar(out, class, (x, y - 15.0), 12.0);
        text(out, "small", START, (x + 17.0, y), label);
        x += 40.0 + 6.5 * label.len() as f64;
    }
    let faint = "Faint: in latency what none takes too, the rest is added; in CPU what is not Envoy: Redis, the service. › longer than drawn.";
    text(out, "small", START, (x, y), faint);
}

fn bar(out: &mut String, class: &str, (x, y): (f64, f64), length: f64) {
    if length > 0.0 {
        let y = y + 4.0;
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y}\" width=\"{length:.1}\" height=\"14\"/>"
        );
    }
}

fn class(name: &str) -> &'static str {
    match name {
        NONE | "local" => "floor",
        RLS => "other",
        name if name.starts_with(RATELIMIT) => "other",
        name if name.starts_with("redis/") => "redis",
        _ => "headgate",
    }
}

const START: &str = "start";
const END: &str = "end";

fn text(out: &mut String, class: &str, anchor: &str, (x, y): (f64, f64), text: &str) {
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}
