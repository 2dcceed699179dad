//! Compares two modules, for example before and after a change: `make bench-pairs BASE=path/to/other.wasm`.
//!
//! For each setup two Envoys have the same policy, one with the module `BASE`, one with the new module
//! (`target/headgate.wasm`, or `HEADGATE_WASM`). A pair is one measurement of each Envoy, one directly after the other,
//! while the other Envoy is paused; the order alternates from pair to pair. The report has the median of the pairs'
//! ratios new/base with an interval by [`Ranks`], so other work on the machine makes the interval wider, but shifts it
//! only a little.
//!
//! Environment variables, with their defaults. They are the same as in [`crate`], except: `BASE`, `PAIRS` (15),
//! `SECONDS` (2), `SETUPS` (four of the catalogue; `headgate/paths` is another), `CONNECTIONS` (128), `KEYS` (1000),
//! `BENCH_OUT` (the folder of `pairs.md`; target).

use crate::catalogue::{self, Setup};
use crate::harness::filter_module;
use crate::interval::Ranks;
use crate::machine;
use crate::options::{Load, Options};
use crate::report::{grouped, table};
use crate::results::{median, Metric, Results, DENIED, ENVOY_CPU, RATE};
use crate::running::{Running, World};
use std::path::{Path, PathBuf};

const BASE: &str = "base";
const NEW: &str = "new";

const HEADS: [&str; 8] = [
    "setup",
    "load",
    "pairs",
    "Envoy CPU µs a request",
    "new/base",
    "requests/s",
    "new/base",
    "denied",
];

pub fn run(options: &Options) {
    let modules = [(BASE, base()), (NEW, filter_module())];
    let setups = catalogue::paired(options);
    assert!(!setups.is_empty(), "SETUPS names no setup with Headgate");
    let world = World::start(options);
    let ranks = Ranks::of(options.rounds);
    let mut rows = vec![HEADS.map(str::to_owned).to_vec()];
    let mut notes = String::new();
    for setup in setups {
        let started = modules.each_ref().map(|(which, module)| {
            let setup = setup.with_module(&name(&setup, which), module);
            Running::start(setup, &world)
        });
        let mut running: Vec<Running> = started
            .into_iter()
            .collect::<Result<_, _>>()
            .unwrap_or_else(|why| panic!("{}: {why}", setup.name));
        let results = crate::measure(options, &world, &mut running);
        rows.extend(results.loads().iter().map(|load| {
            let of = Pairs {
                setup: &setup,
                results: &results,
                load: *load,
                ranks,
            };
            of.row()
        }));
        for (name, requests) in &results.uncounted {
            notes += &format!("- **`{name}`: {requests} requests in all were not counted in time**\n");
        }
    }
    let text = head(options, &modules, ranks) + &notes + "\n" + &table(&rows, &[2, 3, 4, 5, 6, 7]);
    println!("{text}");
    let file = options.out.join("pairs.md");
    std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    eprintln!("bench: wrote {}", file.display());
}

fn base() -> PathBuf {
    let path = std::env::var("BASE").unwrap_or_default();
    assert!(
        Path::new(&path).is_file(),
        "BASE={path}: name the module to compare with"
    );
    std::path::absolute(path).expect("a path")
}

fn name(setup: &Setup, which: &str) -> String {
    format!("{}, {which}", setup.name)
}

fn head(options: &Options, modules: &[(&str, PathBuf); 2], ranks: Option<Ranks>) -> String {
    let mut text =
        "# Pairs\n\nWritten by `make bench-pairs`. Figures are medians, base → new; ratios are taken within \
                    a pair, and then their median.\n\n"
            .to_owned();
    for fact in machine::facts() {
        text += &format!("- {fact}\n");
    }
    for (which, module) in modules {
        let file = module.file_name().unwrap_or_default().to_string_lossy();
        let bytes = std::fs::metadata(module).map_or(f64::NAN, |file| file.len() as f64);
        text += &format!("- {which}: `{file}`, {} bytes\n", grouped(bytes));
    }
    let Options {
        rounds,
        seconds,
        path,
        ..
    } = options;
    text += &format!("- {rounds} pairs of {seconds} s for each module, GET `{path}`; ");
    text += &match ranks {
        Some(Ranks {
            lower,
            upper,
            coverage,
        }) => format!(
            "in brackets the ratios of ranks {lower} and {upper}, which enclose the true median with {:.1}% \
             confidence\n",
            coverage * 100.0
        ),
        None => "**too few for an interval**\n".to_owned(),
    };
    text
}

struct Pairs<'a> {
    setup: &'a Setup,
    results: &'a Results,
    load: Load,
    ranks: Option<Ranks>,
}

impl Pairs<'_> {
    fn row(&self) -> Vec<String> {
        vec![
            format!("`{}`", self.setup.name),
            self.setup.load(self.load).to_string(),
            self.ratios(RATE).len().to_string(),
            self.figures(ENVOY_CPU, |micros| format!("{micros:.1}")),
            self.ratio(ENVOY_CPU),
            self.figures(RATE, grouped),
            self.ratio(RATE),
            self.figures(DENIED, |share| format!("{:.0}%", share * 100.0)),
        ]
    }

    fn figures(&self, metric: Metric, show: fn(f64) -> String) -> String {
        let [base, new] = [BASE, NEW].map(|which| {
            let figure = self.results.median(&name(self.setup, which), self.load, metric);
            figure.map_or("–".into(), show)
        });
        format!("{base} → {new}")
    }

    fn ratios(&self, metric: Metric) -> Vec<f64> {
        let [base, new] = [BASE, NEW].map(|which| name(self.setup, which));
        let ratios = self
            .results
            .ratios_of((&new, self.load), (&base, self.load), metric);
        ratios.collect()
    }

    /// `0.987 [0.971, 1.003]`
    fn ratio(&self, metric: Metric) -> String {
        let ratios = self.ratios(metric);
        let interval = self.ranks.and_then(|ranks| ranks.interval(&ratios));
        let interval = interval.map_or("–".into(), |(lower, upper)| format!("{lower:.3}, {upper:.3}"));
        match median(ratios.into_iter()) {
            Some(middle) => format!("{middle:.3} [{interval}]"),
            None => "–".into(),
        }
    }
}
