//! The fault suite, `make chaos`: three masters, three replicas, an Envoy for each `on_error`, steady
//! traffic, one fault after another, and beside each an identical stretch without it. Checks every answer against
//! what the limits allow, and writes the table into `docs/reliability.md`.
//!
//! `cargo test --test chaos -- WORD…` runs only the faults whose names contain one of the words, and writes nothing.

#[path = "../e2e/harness/mod.rs"]
mod harness;

mod faults;
mod traffic;

use faults::{Fault, Lab, FAULTS};
use harness::{root, Envoy, RawConnection, RedisCluster};
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

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let start = Instant::now();
    let lab = Arc::new(tokio::task::spawn_blocking(lab).await.expect("a lab"));
    let mut table = HEAD.to_owned();
    let mut failures = Vec::new();
    let mut uncounted = [0; MODES.len()];
    for fault in FAULTS {
        if !words.is_empty() && !words.iter().any(|word| fault.name.contains(word.as_str())) {
            continue;
        }
        let control = stretch(&lab, &FAULTS[0], &format!("{}-without", name(fault))).await;
        let tallies = stretch(&lab, fault, &name(fault)).await;
        for (n, (tally, control)) in tallies.iter().zip(&control).enumerate() {
            uncounted[n] += tally.uncounted + control.uncounted;
            let row = row(fault.name, MODES[n], tally, control);
            print!("{row}");
            table.push_str(&row);
            check(fault, MODES[n], tally, &mut failures);
            check(&FAULTS[0], MODES[n], control, &mut failures);
        }
    }
    if words.is_empty() || words.iter().any(|word| word == "burst") {
        let row = burst(&lab, &mut failures).await;
        print!("{row}");
        table.push_str(&row);
    }
    for (n, envoy) in lab.envoys.iter().enumerate() {
        let marked = envoy
            .access_log(0)
            .iter()
            .filter(|entry| {
                entry["decision"] == "failed_open" || (entry["by"] == "local" && entry["status"] == 200)
            })
            .count() as u64;
        println!(
            "on_error: {}: {} passes without a count, {marked} of them marked in filter state",
            MODES[n], uncounted[n]
        );
        if !envoy.is_running() || envoy.log().contains("Proxy-Wasm plugin in-VM backtrace") {
            failures.push(format!("on_error: {}: Envoy or its VM has crashed", MODES[n]));
        }
        if marked < uncounted[n] {
            failures.push(format!(
                "{} of {} uncounted passes are marked",
                marked, uncounted[n]
            ));
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
        write_table(&table, splits);
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
            .access_log("{decision: '%FILTER_STATE(wasm.ratelimit_decision:PLAIN)%', by: '%FILTER_STATE(wasm.ratelimit_by:PLAIN)%', status: '%RESPONSE_CODE%'}")
            .edit(|config| {
                // Callers cannot see who counted; this one must.
                let by = serde_json::json!({"key": "x-test-by", "value": "%FILTER_STATE(wasm.ratelimit_by:PLAIN)%"});
                harness::config::hcm(config)["route_config"]["response_headers_to_add"] = serde_json::json!([{"header": by}]);
            })
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

fn name(fault: &Fault) -> String {
    fault.name.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// Traffic on both Envoys before, during and after the fault; and the lab as it was.
async fn stretch(lab: &Arc<Lab>, fault: &'static Fault, name: &str) -> Vec<Tally> {
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
    let begun = Instant::now();
    let worker = lab.clone();
    let began = tokio::task::spawn_blocking(move || (fault.begin)(&worker));
    tokio::time::sleep(DURING).await;
    lab.over.store(true, Ordering::Relaxed);
    began.await.expect("the fault");
    let worker = lab.clone();
    tokio::task::spawn_blocking(move || (fault.end)(&worker))
        .await
        .expect("its end");
    phase(2);
    let _whole = begun.elapsed();
    tokio::time::sleep(AFTER).await;
    let mut tallies = Vec::new();
    for one in traffic {
        tallies.push(one.end().await);
    }
    let worker = lab.clone();
    tokio::task::spawn_blocking(move || worker.restore())
        .await
        .expect("a lab as it was");
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
    hold(tally.wrongly_denied == 0, "callers were denied who had room");
    hold(
        fault.loses || tally.wrongly_allowed == 0,
        "callers passed over their limits, and no data was lost",
    );
    match mode {
        "deny" => hold(tally.uncounted == 0, "on_error: deny let requests pass uncounted"),
        _ => hold(tally.refused == 0, "on_error: allow refused requests"),
    }
}

/// Ten times the limit from 1,000 clients at once: each gets exactly its limit.
async fn burst(lab: &Lab, failures: &mut Vec<String>) -> String {
    const CLIENTS: usize = 1_000;
    const LIMIT: usize = 1;
    let envoy = &lab.envoys[1];
    let start = Instant::now();
    let port = envoy.port;
    let tasks = (0..CLIENTS).map(|client| {
        tokio::spawn(async move {
            let mut raw = RawConnection::open(port).await;
            let request = format!("GET /tiny HTTP/1.1\r\nhost: test\r\nx-api-key: burst-{client}\r\n\r\n");
            let mut statuses = Vec::new();
            for _ in 0..LIMIT * 10 {
                let sent = raw.write(&request).await;
                statuses.push(sent.and(raw.receive().await).map(|(status, ..)| status));
            }
            statuses
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut passed = vec![0; CLIENTS];
    let (mut refused, mut errors, mut first_error) = (0, 0, None);
    for (client, task) in tasks.into_iter().enumerate() {
        for status in task.await.expect("a client's task") {
            match status {
                Ok(200) => passed[client] += 1,
                Ok(429) => {}
                Ok(503) => refused += 1,
                other => {
                    errors += 1;
                    first_error.get_or_insert(format!("{other:?}"));
                }
            }
        }
    }
    let over: usize = passed
        .iter()
        .map(|passed: &usize| passed.saturating_sub(LIMIT))
        .sum();
    let under: usize = passed.iter().map(|passed| LIMIT.saturating_sub(*passed)).sum();
    if over > 0 || errors > 0 || under > refused {
        failures.push(format!(
            "burst: {over} too many, {under} too few, {refused} refused, {errors} errors: {first_error:?}"
        ));
    }
    format!(
        "| 10 × the limit from 1,000 clients at once | deny | {} | {} | {over} | 0 | {refused} | 0 | {errors} | | {:.0} ms in all | | |\n",
        CLIENTS * LIMIT * 10, under.saturating_sub(refused), start.elapsed().as_secs_f64() * 1e3
    )
}

fn write_table(table: &str, splits: u64) {
    let path = root().join("docs/reliability.md");
    let text = std::fs::read_to_string(&path).expect("docs/reliability.md");
    let (begin, end) = ("<!-- make chaos: begin -->\n", "<!-- make chaos: end -->");
    let (head, rest) = text.split_once(begin).expect("the place of the table");
    let (_, tail) = rest.split_once(end).expect("the end of the table");
    let output = |command: &str, arguments: &[&str]| {
        let output = std::process::Command::new(command)
            .args(arguments)
            .output()
            .expect(command);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let date = output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]);
    let redis = output("redis-server", &["--version"]);
    let redis = redis
        .split(' ')
        .find(|word| word.starts_with("v="))
        .unwrap_or("v=?")
        .to_owned();
    let mut new = String::new();
    let _ = writeln!(
        new,
        "{date}, Envoy {}, Redis {}, {} CPUs shared with Redis and the callers; calls split while slots moved: {splits}.\n\n{table}",
        harness::DEFAULT_ENVOY,
        redis.trim_start_matches("v="),
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    std::fs::write(&path, format!("{head}{begin}{new}{end}{tail}")).expect("docs/reliability.md");
}
