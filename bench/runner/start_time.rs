//! Measures how much later Envoy is ready because of the module.

use crate::catalogue::Store;
use crate::harness::{Envoy, EnvoyBuilder};
use crate::options::Options;
use crate::results::median;
use crate::running::World;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Instant;

pub struct Start {
    pub module_bytes: f64,
    /// ms from the first line of Envoy's log to its workers' start, without a limiter.
    pub floor: f64,
    /// The same with Headgate: two roles, a VM for each on each thread.
    pub headgate: f64,
    /// ms that the first request took, without a limiter.
    pub first_floor: f64,
    /// The same with Headgate. This request opens the streams to Redis, and the script may be new to Redis.
    pub first_headgate: f64,
}

/// In each round starts an Envoy without a limiter and then one with Headgate.
pub fn measure(options: &Options, world: &World) -> Start {
    let policy = "limits: [{name: one, rate: 10000000/hour, algorithm: fixed_window}]\n";
    let [mut floor, mut headgate, mut first_floor, mut first_headgate] = [const { Vec::new() }; 4];
    for _ in 0..options.rounds {
        let (start, first) = once(world.floor(), |_| ());
        floor.push(start);
        first_floor.push(first);
        world.cluster.flush_scripts();
        let (start, first) = once(world.headgate(Store::Cluster, policy), |envoy| {
            world.wait_until_known(Store::Cluster, envoy);
        });
        headgate.push(start);
        first_headgate.push(first);
    }
    let middle = |values: Vec<f64>| median(values.into_iter()).unwrap_or(f64::NAN);
    Start {
        module_bytes: std::fs::metadata(module()).map_or(f64::NAN, |file| file.len() as f64),
        floor: middle(floor),
        headgate: middle(headgate),
        first_floor: middle(first_floor),
        first_headgate: middle(first_headgate),
    }
}

fn module() -> PathBuf {
    let own = std::env::var("HEADGATE_WASM").map(PathBuf::from);
    own.unwrap_or_else(|_| crate::harness::root().join("target/headgate.wasm"))
}

/// Returns the ms until the workers start, and the ms of the first request.
fn once(builder: EnvoyBuilder, then: impl Fn(&Envoy)) -> (f64, f64) {
    let envoy = builder
        .try_start()
        .unwrap_or_else(|log| panic!("Envoy does not start: {log}"));
    then(&envoy);
    let log = envoy.log();
    let at = |line: &str| -> Option<f64> {
        // [2026-05-01 10:00:00.123][7][info][main] …
        let mut parts = line.get(12..24)?.split(':');
        let [hours, minutes, seconds] = [parts.next()?, parts.next()?, parts.next()?];
        Some(
            (hours.parse::<f64>().ok()? * 60.0 + minutes.parse::<f64>().ok()?) * 60.0
                + seconds.parse::<f64>().ok()?,
        )
    };
    let first = log.lines().find_map(at).unwrap_or(f64::NAN);
    let ready = log
        .lines()
        .find(|line| line.contains("starting workers"))
        .and_then(at)
        .unwrap_or(f64::NAN);
    let day = 86_400.0;
    (((ready - first) % day + day) % day * 1e3, first_request(&envoy))
}

fn first_request(envoy: &Envoy) -> f64 {
    let mut stream = TcpStream::connect(("127.0.0.1", envoy.port)).expect("a connection to Envoy");
    let start = Instant::now();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: bench\r\nx-api-key: first\r\nconnection: close\r\n\r\n")
        .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    start.elapsed().as_secs_f64() * 1e3
}
