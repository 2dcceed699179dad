//! The benchmark compares limiters on one machine, with one Envoy binary and one load. `make bench` runs it. With the
//! argument `pairs` it compares two modules instead: see [`pairs`].
//!
//! Every setup has its own Envoy with one worker, and all of them use the same small upstream. A round measures each
//! setup at each load, one after the other, while all other Envoys are paused. Ratios are taken within a round, and the
//! figures are medians over the rounds: so if the machine becomes slower during the run, all setups are affected
//! equally.
//!
//! Environment variables, with their defaults: `ROUNDS` (5), `SECONDS` for each measurement (3), `SETUPS` (all; for
//! example `none,rls,headgate/log`: a name selects all setups that begin with it, and `tail` is the tail latency at
//! half load), `CONNECTIONS` (1,32,128), `KEYS` (1000,100000), `UPSTREAM` (`envoy`: a direct response of the same
//! Envoy, whose worker does that work too; `own`: a server of the runner), `PATH_SENT` (/; the path of the requests),
//! `BENCH_OUT` (the folder of `results.md` and `results.svg`; bench).

#[path = "../../tests/e2e/harness/mod.rs"]
mod harness;

mod catalogue;
mod chart;
mod config;
mod cpu;
mod host_calls;
mod interval;
mod load;
mod machine;
mod options;
mod pairs;
mod ratelimit;
mod redis_benchmark;
mod report;
mod results;
mod running;
mod script;
mod start_time;
mod tail;
mod targets;
mod upstream;

use options::Options;
use results::Results;
use running::{Running, World};
use std::time::Instant;

fn main() {
    match std::env::args().any(|argument| argument == "pairs") {
        true => pairs::run(&Options::of_pairs()),
        false => side_by_side(&Options::from_env()),
    }
}

fn side_by_side(options: &Options) {
    let world = World::start(options);
    let mut left_out = Vec::new();
    let mut running = Vec::new();
    for setup in catalogue::setups(options) {
        let name = setup.name.clone();
        eprintln!("bench: starting {name}");
        match Running::start(setup, &world) {
            Ok(started) => running.push(started),
            Err(why) => {
                eprintln!("bench: without {name}: {why}");
                left_out.push(name);
            }
        }
    }
    let results = measure(options, &world, &mut running);
    drop(running);
    let start = start_time::measure(options, &world);
    let tail = tail::measure(options, &world);
    let report = report::Report {
        options,
        results: &results,
        start: &start,
        tail: tail.as_ref(),
        left_out: &left_out,
    };
    let text = report.markdown();
    println!("{text}");
    let out = options.out.as_path();
    std::fs::create_dir_all(out).expect("the directory of the results");
    std::fs::write(out.join("results.md"), text).expect("bench/results.md");
    std::fs::write(out.join("results.svg"), chart::svg(&results)).expect("bench/results.svg");
    eprintln!("bench: wrote {0}/results.md and {0}/results.svg", out.display());
}

/// Measures all rounds. For each load the setups are measured one after the other; each round begins with a different
/// setup.
fn measure(options: &Options, world: &World, running: &mut [Running]) -> Results {
    let mut results = Results::new(running.iter().map(|started| started.setup.clone()).collect());
    for started in running.iter_mut() {
        started.warm_up(world);
    }
    let cells: usize = options
        .loads()
        .iter()
        .map(|load| running.iter().filter(|r| r.setup.takes(*load)).count())
        .sum();
    let (start, mut done, all) = (Instant::now(), 0, cells * options.rounds);
    for round in 0..options.rounds {
        for load in options.loads() {
            for turn in 0..running.len() {
                let index = (turn + round) % running.len();
                let started = &mut running[index];
                if !started.setup.takes(load) {
                    continue;
                }
                let sample = started.measure(load, options.seconds, world);
                done += 1;
                let left = start
                    .elapsed()
                    .mul_f64((all - done) as f64 / done as f64)
                    .as_secs();
                eprintln!(
                    "bench: {done}/{all} ({} min {:02} s left) {load} {}: {sample}",
                    left / 60,
                    left % 60,
                    started.setup.name
                );
                results.add(index, load, sample);
            }
        }
    }
    for started in running {
        let uncounted = started.uncounted();
        if uncounted > 0 {
            results.uncounted.insert(started.setup.name.clone(), uncounted);
        }
    }
    results
}
