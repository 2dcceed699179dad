//! What a client costs in Redis: memory, time of the script, and the whole of Redis's CPU time. Prints the tables of
//! docs/capacity.md: `cargo test --release --test script capacity -- --ignored --nocapture`

use crate::server::{text, Client, Server};
use crate::speed::{group, usec_per_call, CALLS, CLIENTS, PIPELINE};
use headgate_core::limit::{Algorithm, Align, Group};
use headgate_core::redis::resp::Value;
use headgate_core::script::{body, sha1_hex, Mode};

/// Longer than it takes to fill a log call by call.
const HOUR: u64 = 3_600_000;

const FIXED: Algorithm = Algorithm::FixedWindow { align: Align::Epoch };
const COUNTER: Algorithm = Algorithm::SlidingWindowCounter;
const GCRA: Algorithm = Algorithm::Gcra { burst: 0 };
const LOG: Algorithm = Algorithm::SlidingWindowLog;

const KINDS: [(&str, &[Algorithm]); 6] = [
    ("`fixed_window`", &[FIXED]),
    ("`sliding_window_counter`", &[COUNTER]),
    ("`gcra`", &[GCRA]),
    ("two counters of one client", &[COUNTER; 2]),
    ("four counters of one client", &[COUNTER; 4]),
    ("`sliding_window_log`", &[LOG]),
];

fn count(client: &mut Client, group: &Group) {
    client.add_call("EVALSHA", sha1_hex(), group, Mode::Count);
}

fn info(client: &mut Client, section: &str, name: &str) -> f64 {
    let text = text(&client.run(&["INFO", section]));
    let figure = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    figure.expect("a figure").trim().parse().expect("a number")
}

/// Bytes a client after so many calls of each, one by one as they come: `MEMORY USAGE` of its keys, and all
/// that Redis has grown by, with its tables of keys and of expiries.
fn memory(
    client: &mut Client,
    algorithms: &[Algorithm],
    limit: u64,
    calls: u64,
    clients: usize,
) -> (f64, f64) {
    client.run(&["FLUSHALL"]);
    let empty = info(client, "memory", "used_memory");
    let groups: Vec<Group> = (0..clients)
        .map(|at| group(at, algorithms, limit, HOUR))
        .collect();
    for _ in 0..calls {
        for some in groups.chunks(100) {
            some.iter().for_each(|group| count(client, group));
            for reply in client.send() {
                assert!(matches!(reply, Value::Array(_)), "{reply:?}");
            }
        }
    }
    let grown = info(client, "memory", "used_memory") - empty;
    let mut usage = 0;
    for key in groups.iter().flat_map(|group| &group.keys) {
        let key = std::str::from_utf8(key).expect("a key of text");
        if client.int(&["EXISTS", key]) == 1 {
            usage += client.int(&["MEMORY", "USAGE", key, "SAMPLES", "0"]);
        }
    }
    let each = |bytes: f64| bytes / clients as f64;
    (each(usage as f64), each(grown))
}

/// Redis's CPU time for a call in µs, including reading and replying, with this many calls in flight.
fn cpu_per_call(client: &mut Client, groups: &[Group], pipeline: usize) -> f64 {
    let spent =
        |client: &mut Client| info(client, "cpu", "used_cpu_user") + info(client, "cpu", "used_cpu_sys");
    let mut best = f64::MAX;
    for _ in 0..3 {
        let before = spent(client);
        for call in 0..CALLS {
            count(client, &groups[call % groups.len()]);
            if call % pipeline == pipeline - 1 {
                client.send();
            }
        }
        client.send();
        best = best.min((spent(client) - before) * 1e6 / CALLS as f64);
    }
    best
}

fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let parts: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|part| std::str::from_utf8(part).expect("digits"))
        .collect();
    parts.join(",")
}

/// A server that knows the script.
fn prepared() -> (Server, Client) {
    let server = Server::start();
    let mut client = server.client();
    client.run(&["SCRIPT", "LOAD", body()]);
    let version = text(&client.run(&["INFO", "server"]));
    let version = version
        .lines()
        .find_map(|line| line.strip_prefix("redis_version:"));
    println!("\nRedis {}\n", version.expect("a version"));
    (server, client)
}

#[test]
#[ignore = "fills logs; prints a table of docs/capacity.md"]
fn capacity_in_memory() {
    let (_server, mut client) = prepared();
    println!("| bytes a client | N = 10 | N = 100 | N = 1,000 |\n|---|---|---|---|");
    memory(&mut client, &[FIXED], 10, 10, 100); // what comes with the first calls
    for (name, algorithms) in KINDS {
        let is_log = algorithms == [LOG];
        let row = [(10, 2_000), (100, 1_000), (1_000, 200)].map(|(limit, clients)| {
            // a counter is as large after its tenth call as it will ever be
            memory(
                &mut client,
                algorithms,
                limit,
                if is_log { limit } else { 10 },
                clients,
            )
        });
        let cells = row.map(|(usage, all)| format!("{} ({})", grouped(usage), grouped(all)));
        println!("| {name} | {} |", cells.join(" | "));
        assert!(
            is_log || row.iter().all(|(usage, _)| (usage / row[0].0 - 1.0).abs() < 0.05),
            "{name} depends on N: {row:?}"
        );
    }
}

#[test]
#[ignore = "measures time; prints a table of docs/capacity.md"]
fn capacity_in_calls() {
    let (_server, mut client) = prepared();
    println!("| | script, µs | all of Redis, µs: 16 calls at once | one by one | calls a second a shard |");
    println!("|---|---|---|---|---|");
    let rows = KINDS.iter().flat_map(|(name, algorithms)| match *algorithms {
        [LOG] => vec![
            (format!("{name}, 100 in it"), *algorithms, 100),
            (format!("{name}, 1,000"), *algorithms, 1_000),
        ],
        _ => vec![(name.to_string(), *algorithms, 1)],
    });
    for (name, algorithms, used) in rows {
        // each call passes: the expensive case
        let groups: Vec<Group> = (0..CLIENTS)
            .map(|at| group(at, algorithms, 10_000, HOUR))
            .collect();
        let first = |client: &mut Client, at: usize| {
            let mut group = groups[at].clone();
            group.charges.iter_mut().for_each(|charge| charge.cost = used);
            count(client, &group);
        };
        let script = usec_per_call(&mut client, first, |client, at| count(client, &groups[at]));
        let [many, one] = [PIPELINE, 1].map(|pipeline| cpu_per_call(&mut client, &groups, pipeline));
        let bound = grouped((1e3 / many).floor() * 1e3);
        println!("| {name} | {script:.1} | {many:.1} | {one:.1} | {bound} |");
        assert!(
            many < one,
            "{name}: many calls at once are read with one system call: {many}, {one} us"
        );
    }
}
