//! The fault suite, `make chaos`: three masters, three replicas, an Envoy for each `on_error`, steady
//! traffic, one fault after another, and beside each an identical stretch without it. Checks every answer against
//! what the limits allow, and writes the table into `docs/reliability.md`.
//!
//! `cargo test --test chaos -- WORD…` runs only the faults whose names contain one of the words, and writes nothing.

#[path = "../e2e/harness/mod.rs"]
mod harness;

mod burst;
mod faults;
mod traffic;

use faults::{Fault, Lab, FAULTS};
use harness::{root, Envoy, RedisCluster};
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use traffic::{Tally, Traffic, LIMITS};

const MODES: [&str; 3] = ["allow", "deny", "local"];
const BEFORE: Duration = Duration::from_millis(1_500);
const DURING: Duration = Duration::from_millis(2_500);
const AFTER: Duration = Duration::from_millis(2_500);

const HEAD: &str = "| fault | on_error | requests | wrongly denied | wrongly allowed | uncounted | refused | charged in vain | errors | p50 / p99 ms before | during | after | without: during |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";

/// The suite may not set the machine's clock.
const SIMULATED: &str = "| a Redis host's clock steps back | | simulated in virtual time for each algorithm: `tests/script` | | 0 | | | | | | | | |\n";

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let (start, began) = (Instant::now(), now());
    let lab = Arc::new(tokio::task::spawn_blocking(lab).await.expect("a lab"));
    let mut table = HEAD.to_owned();
    let mut failures = Vec::new();
    let (mut uncounted, mut repeated) = ([0; MODES.len()], [0; MODES.len()]);
    for fault in FAULTS {
        if !words.is_empty() && !words.iter().any(|word| fault.name.contains(word.as_str())) {
            continue;
        }
        let without = format!("{}-without", name(fault));
        let control = stretch(&lab, &FAULTS[0], &without, &mut failures).await;
        let tallies = stretch(&lab, fault, &name(fault), &mut failures).await;
        for (n, (tally, control)) in tallies.iter().zip(&control).enumerate() {
            uncounted[n] += tally.uncounted + control.uncounted;
            repeated[n] += tally.repeated + control.repeated;
            let row = row(fault.name, MODES[n], tally, control);
            print!("{row}");
            table.push_str(&row);
            check(fault, MODES[n], tally, &mut failures);
            check(&FAULTS[0], MODES[n], control, &mut failures);
        }
    }
    if words.is_empty() || words.iter().any(|word| word == "burst") {
        for http2 in [false, true] {
            let row = burst::burst(&lab, http2, &mut failures).await;
            print!("{row}");
            table.push_str(&row);
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await; // the access logs' last lines
    for (n, envoy) in lab.envoys.iter().enumerate() {
        let marks = marks(envoy, uncounted[n], repeated[n]);
        println!(
            "on_error: {}: {}",
            MODES[n],
            marks.as_ref().unwrap_or_else(|wrong| wrong)
        );
        if let Err(wrong) = marks {
            failures.push(format!("on_error: {}: {wrong}", MODES[n]));
        }
        if !envoy.is_running() || envoy.log().contains("Uncaught") || envoy.log().contains("in-VM backtrace")
        {
            failures.push(format!("on_error: {}: Envoy or its VM has crashed", MODES[n]));
        }
    }
    let splits: u64 = lab
        .envoys
        .iter()
        .flat_map(|envoy| envoy.stats("headgate_split_calls_total").into_values())
        .sum();
    println!(
        "calls split while slots moved: {splits}; took {:?}",
        start.elapsed()
    );
    if words.is_empty() {
        table.push_str(SIMULATED);
        write_table(&table, &began, splits, &failures);
    }
    if !failures.is_empty() {
        println!("\nwhat must not be:\n{}", failures.join("\n"));
        std::process::exit(1);
    }
}

fn lab() -> Lab {
    let cluster = RedisCluster::start_with(3, 3, &["--enable-debug-command", "yes"], None);
    let policies: Vec<String> = MODES
        .iter()
        .map(|mode| format!("{{on_error: {mode}, limits: [{LIMITS}]}}"))
        .collect();
    let envoys = policies.iter().map(|policy| {
        let builder = Envoy::with(&cluster)
            .impatient()
            .concurrency(2)
            .policy(policy)
            .dynamic();
        builder
            .access_log("{decision: '%FILTER_STATE(wasm.ratelimit_decision:PLAIN)%', by: '%FILTER_STATE(wasm.ratelimit_by:PLAIN)%', status: '%RESPONSE_CODE%', key: '%REQ(x-api-key)%'}")
            .edit(|config| {
                // Callers cannot see which store counted; this test must.
                let by = serde_json::json!({"key": "x-test-by", "value": "%FILTER_STATE(wasm.ratelimit_by:PLAIN)%"});
                harness::config::hcm(config)["route_config"]["response_headers_to_add"] = serde_json::json!([{"header": by}]);
            })
            .edit(harness::config::many_streams) // for the burst over four connections
            .start()
    });
    let envoys = envoys.collect();
    Lab {
        cluster,
        envoys,
        policies,
        over: AtomicBool::new(false),
    }
}

/// Every pass without a count is marked in filter state and counted in a metric, and nothing else is. Callers that
/// hung up do not see their marks; a repeated request may have left one more.
fn marks(envoy: &Envoy, uncounted: u64, repeated: u64) -> Result<String, String> {
    let log = envoy.access_log(0);
    let marked = |own: bool| {
        let passes = log.iter().filter(|entry| {
            entry["decision"] == "failed_open" || (entry["by"] == "local" && entry["status"] == 200)
        });
        passes.filter(|entry| own != (entry["key"] == "rude")).count() as u64
    };
    let metric: u64 = ["failed_open;by=none", "allowed;by=local"]
        .iter()
        .flat_map(|what| {
            envoy
                .stats(&format!("headgate_requests_total;instance=main;decision={what}"))
                .into_values()
        })
        .sum();
    let text = format!(
        "{uncounted} passes without a count were seen, {} are marked in filter state, {} with those who hung up, and \
        {metric} in the metric; {repeated} requests repeated",
        marked(true),
        marked(true) + marked(false),
    );
    let marked_right = (uncounted..=uncounted + repeated).contains(&marked(true));
    match marked_right && metric == marked(true) + marked(false) {
        true => Ok(text),
        false => Err(text),
    }
}

fn now() -> String {
    output("date", &["-u", "+%Y-%m-%d %H:%M"])
}

fn output(command: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(command).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{command}: {error}"));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn name(fault: &Fault) -> String {
    fault.name.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// Runs what blocks; a panic in it is a failure of this fault and does not end the suite.
async fn act(
    lab: &Arc<Lab>,
    what: &str,
    failures: &mut Vec<String>,
    act: impl FnOnce(&Lab) + Send + 'static,
) -> bool {
    let lab = lab.clone();
    let done = tokio::task::spawn_blocking(move || act(&lab)).await;
    if done.is_err() {
        failures.push(format!("{what}: not done"));
    }
    done.is_ok()
}

/// Traffic on all Envoys before, during and after the fault; and the lab as it was.
async fn stretch(
    lab: &Arc<Lab>,
    fault: &'static Fault,
    name: &str,
    failures: &mut Vec<String>,
) -> Vec<Tally> {
    let traffic: Vec<Traffic> = lab
        .envoys
        .iter()
        .map(|envoy| Traffic::start(envoy.port, name))
        .collect();
    let phase = |phase: usize| {
        traffic
            .iter()
            .for_each(|one| one.phase.store(phase, Ordering::Relaxed))
    };
    tokio::time::sleep(BEFORE).await;
    phase(1);
    lab.over.store(false, Ordering::Relaxed);
    let worker = lab.clone();
    let begun = tokio::task::spawn_blocking(move || (fault.begin)(&worker));
    tokio::time::sleep(DURING).await;
    lab.over.store(true, Ordering::Relaxed);
    if begun.await.is_err() {
        failures.push(format!("{}: its beginning is not done", fault.name));
    }
    act(lab, &format!("{}: its end", fault.name), failures, fault.end).await;
    phase(2);
    tokio::time::sleep(AFTER).await;
    let mut tallies = Vec::new();
    for one in traffic {
        tallies.push(one.end().await);
    }
    for _ in 0..3 {
        if act(
            lab,
            &format!("{}: the lab as it was", fault.name),
            failures,
            Lab::restore,
        )
        .await
        {
            break;
        }
    }
    tallies
}

fn row(name: &str, mode: &str, tally: &Tally, control: &Tally) -> String {
    let times = |tally: &Tally, phase| {
        format!(
            "{:.1} / {:.0}",
            tally.percentile(phase, 0.5),
            tally.percentile(phase, 0.99)
        )
    };
    format!(
        "| {name} | {mode} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        tally.requests,
        tally.wrongly_denied,
        tally.wrongly_allowed,
        tally.uncounted,
        tally.refused,
        tally.charged_in_vain,
        tally.errors,
        times(tally, 0),
        times(tally, 1),
        times(tally, 2),
        times(control, 1)
    )
}

fn check(fault: &Fault, mode: &str, tally: &Tally, failures: &mut Vec<String>) {
    let mut hold = |good: bool, what: &str| {
        if !good {
            failures.push(format!("{} ({mode}): {what}", fault.name));
        }
    };
    hold(
        tally.errors == 0,
        &format!("{} errors, the first: {:?}", tally.errors, tally.first_error),
    );
    hold(tally.wrongly_denied == 0, "callers were denied below their limit");
    hold(
        fault.loses || tally.wrongly_allowed == 0,
        "callers passed over their limits, and no data was lost",
    );
    match mode {
        "deny" => hold(tally.uncounted == 0, "on_error: deny let requests pass uncounted"),
        _ => hold(tally.refused == 0, "on_error: allow refused requests"),
    }
}

fn write_table(table: &str, began: &str, splits: u64, failures: &[String]) {
    let path = root().join("docs/reliability.md");
    let text = std::fs::read_to_string(&path).expect("docs/reliability.md");
    let (begin, end) = ("<!-- make chaos: begin -->\n", "<!-- make chaos: end -->");
    let (head, rest) = text.split_once(begin).expect("the place of the table");
    let (_, tail) = rest.split_once(end).expect("the end of the table");
    let redis = output("redis-server", &["--version"]);
    let redis = redis
        .split(' ')
        .find_map(|word| word.strip_prefix("v="))
        .unwrap_or("?");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').nth(2).unwrap_or("?");
    let mut new = format!(
        "{began} to {} UTC, Envoy {}, Redis {redis}, {} CPUs shared with Redis and the callers (load average {load}); \
        calls split while slots moved: {splits}.\n\n{table}",
        now(),
        harness::default_envoy(),
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    if !failures.is_empty() {
        let _ = write!(new, "\nWhat must not be:\n\n- {}\n", failures.join("\n- "));
    }
    std::fs::write(&path, format!("{head}{begin}{new}{end}{tail}")).expect("docs/reliability.md");
}
