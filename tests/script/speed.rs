//! What one call costs inside Redis, next to the smallest script that counts at all. Prints a table:
//! `cargo test --release --test script speed -- --ignored --nocapture`

use crate::server::{text, Client, Server};
use headgate_core::fixtures;
use headgate_core::limit::{Algorithm, Align, Charge, Group};
use headgate_core::script::{body, sha1_hex, Mode};

pub const CLIENTS: usize = 1_000;
pub const PIPELINE: usize = 16;
/// Each figure is the best of several rounds of many calls, because other processes use the machine too.
const ROUNDS: usize = 6;
pub const CALLS: usize = 20_000;

/// A common fixed window, with the figures for the caller.
const REFERENCE: &str = "local t = redis.call('TIME') \
    local n = redis.call('INCRBY', KEYS[1], ARGV[2]) \
    local ttl = redis.call('PTTL', KEYS[1]) \
    if ttl < 0 then ttl = ARGV[3] - t[1] * 1000 % ARGV[3] redis.call('PEXPIRE', KEYS[1], ttl) end \
    return {n <= tonumber(ARGV[1]) and 1 or 0, ARGV[1] - n, ttl}";

/// One client's limits of N in a period of this many ms, as they are stored in Redis.
pub fn group(client: usize, algorithms: &[Algorithm], limit: u64, period_ms: u64) -> Group {
    let hash = format!("ratelimit:main:{{api_key:{client:032x}}}");
    let mut keys = vec![hash.clone().into_bytes()];
    let is_log = |algorithm: &Algorithm| *algorithm == Algorithm::SlidingWindowLog;
    if algorithms.iter().all(is_log) {
        keys.clear();
    }
    let mut charges = Vec::new();
    for (at, algorithm) in algorithms.iter().enumerate() {
        let field = format!("limit-{at}:{}:{period_ms}", algorithm.form().as_str());
        let mut key = 0;
        if is_log(algorithm) {
            key = keys.len();
            keys.push(format!("{hash}:{field}").into_bytes());
        }
        charges.push(Charge {
            key,
            field: field.into(),
            ..fixtures::charge(at, *algorithm, fixtures::rate(limit, period_ms))
        });
    }
    Group { keys, charges }
}

/// Redis's own time of a call, in µs, after each client's `first` one.
pub fn usec_per_call(
    client: &mut Client,
    first: impl Fn(&mut Client, usize),
    add: impl Fn(&mut Client, usize),
) -> f64 {
    client.run(&["FLUSHALL"]);
    for at in 0..CLIENTS {
        first(client, at);
        client.send();
    }
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        client.run(&["CONFIG", "RESETSTAT"]);
        for call in 0..CALLS {
            add(client, call % CLIENTS);
            if call % PIPELINE == PIPELINE - 1 {
                client.send();
            }
        }
        client.send();
        let stats = text(&client.run(&["INFO", "commandstats"]));
        let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:"));
        let figure = line.and_then(|line| {
            line.split(',')
                .find_map(|part| part.strip_prefix("usec_per_call="))
        });
        best = best.min(figure.expect("a figure").parse().expect("a number"));
    }
    best
}

#[test]
#[ignore = "measures time; prints a table"]
fn a_call_costs_redis_a_few_times_what_incrby_costs() {
    let server = Server::start();
    let mut client = server.client();
    let reference = text(&client.run(&["SCRIPT", "LOAD", REFERENCE]));
    client.run(&["SCRIPT", "LOAD", body()]);
    let incrby = |client: &mut Client, at| {
        client.add(&[
            "EVALSHA",
            &reference,
            "1",
            &format!("ratelimit:{at:040x}"),
            "10000",
            "1",
            "60000",
        ]);
    };
    let incrby = usec_per_call(&mut client, incrby, incrby);
    println!("{:40} {incrby:5.2} us", "INCRBY, fixed window");

    let fixed = Algorithm::FixedWindow { align: Align::Epoch };
    let (counter, log) = (Algorithm::SlidingWindowCounter, Algorithm::SlidingWindowLog);
    let gcra = Algorithm::Gcra { burst: 0 };
    let (passing, spent) = ((10_000, 1), (100, 100));
    // N and the cost of each client's first call.
    for (name, algorithms, (limit, cost), most) in [
        ("fixed window, passing", &[fixed][..], passing, 4.0),
        ("fixed window, denied", &[fixed], spent, 4.0),
        ("counter, passing", &[counter], passing, 4.0),
        ("counter, denied", &[counter], spent, 4.0),
        ("four counters in one hash, passing", &[counter; 4], passing, 7.0),
        ("four counters in one hash, denied", &[counter; 4], spent, 7.0),
        ("gcra, passing", &[gcra], passing, 5.0),
        ("log of 1 to 121, passing", &[log], passing, 4.5),
        ("log of 1,000, passing", &[log], (10_000, 1_000), 4.5),
        ("log of 100, denied", &[log], spent, 3.5),
        ("log of 1,000, denied", &[log], (1_000, 1_000), 3.5),
        (
            "counter and log of 1 to 121, passing",
            &[counter, log],
            passing,
            7.0,
        ),
    ] {
        let groups: Vec<Group> = (0..CLIENTS)
            .map(|at| group(at, algorithms, limit, 60_000))
            .collect();
        let first = |client: &mut Client, at: usize| {
            let mut group = groups[at].clone();
            group.charges.iter_mut().for_each(|charge| charge.cost = cost);
            client.add_call("EVALSHA", sha1_hex(), &group, Mode::Count);
        };
        let figure = usec_per_call(&mut client, first, |client, at| {
            client.add_call("EVALSHA", sha1_hex(), &groups[at], Mode::Count);
        });
        println!("{name:40} {figure:5.2} us");
        assert!(figure < most * incrby, "{name}: {figure} us, INCRBY {incrby}");
    }
}
