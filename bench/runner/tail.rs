//! Measures the tail latency: the p99 that Headgate adds, at half of its maximum throughput, with every request traced.
//!
//! The load is an open loop: requests are due at fixed times, whether or not earlier requests were answered, and
//! latency is measured from the time at which a request was due. A closed loop, as in wrk, sends fewer requests while
//! answers are slow, and so hides delays (coordinated omission).

use crate::catalogue::Store;
use crate::config;
use crate::harness::{Envoy, EnvoyBuilder, RawConnection, Upstream};
use crate::load::{self, Callers};
use crate::options::{Load, Options};
use crate::results::median;
use crate::running::World;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Medians of the rounds.
pub struct Tail {
    /// Requests a second.
    pub rate: f64,
    /// µs, without a limiter.
    pub floor: f64,
    /// µs, with Headgate.
    pub headgate: f64,
    /// µs: the difference, taken within a round.
    pub added: f64,
    /// Rounds.
    pub rounds: usize,
}

/// Enough connections, so that one is idle for each request.
const CONNECTIONS: usize = 256;

/// `None` if `SETUPS` does not select it.
pub fn measure(options: &Options, world: &World) -> Option<Tail> {
    if !options.wants("tail") {
        return None;
    }
    let policy = "limits: [{name: one, rate: 10000000/hour, algorithm: fixed_window}]\n";
    let collector = Upstream::start();
    let floor = start(world.floor(), &collector);
    let headgate = start(world.headgate(Store::Cluster, policy), &collector);
    world.wait_until_known(Store::Cluster, &headgate);
    let busy = |envoy: &Envoy, seconds| {
        load::run(envoy.port, &options.path, Load::FULL, Callers::All, seconds).rate()
    };
    busy(&floor, 1);
    busy(&headgate, 1);
    let (mut rates, mut floors, mut headgates) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let rate = busy(&headgate, options.seconds) / 2.0;
        let duration = Duration::from_secs(options.seconds);
        let p99 = |envoy: &Envoy| p99(envoy.port, &options.path, rate, duration);
        let (without, with) = match round % 2 {
            0 => (p99(&floor), p99(&headgate)),
            _ => {
                let with = p99(&headgate);
                (p99(&floor), with)
            }
        };
        eprintln!(
            "bench: tail, {rate:.0}/s: p99 {without:.0} µs without a limiter, {with:.0} µs with Headgate"
        );
        rates.push(rate);
        floors.push(without);
        headgates.push(with);
    }
    let added = headgates
        .iter()
        .zip(&floors)
        .map(|(with, without)| with - without);
    Some(Tail {
        added: median(added)?,
        rate: median(rates.into_iter())?,
        floor: median(floors.into_iter())?,
        headgate: median(headgates.into_iter())?,
        rounds: options.rounds,
    })
}

fn start(builder: EnvoyBuilder, collector: &Upstream) -> Envoy {
    let port = collector.port;
    builder
        .edit(move |config| config::add_tracing(config, port))
        .try_start()
        .unwrap_or_else(|log| panic!("Envoy does not start: {log}"))
}

/// The p99 of all requests of an open loop at this rate. The first tenth of the time, in which connections open, is
/// left out.
fn p99(port: u16, path: &str, rate: f64, duration: Duration) -> f64 {
    let path: Rc<str> = path.into();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut micros = tokio::task::LocalSet::new().block_on(&runtime, async move {
        let ticket = Rc::new(Cell::new(0_u32));
        let start = Instant::now() + Duration::from_millis(100);
        let callers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                tokio::task::spawn_local(caller(port, path.clone(), ticket.clone(), start, rate, duration))
            })
            .collect();
        let mut micros = Vec::new();
        for caller in callers {
            micros.extend(caller.await.expect("a caller"));
        }
        micros
    });
    micros.sort_unstable_by(f64::total_cmp);
    let wanted = rate * duration.as_secs_f64() * 0.9;
    assert!(
        micros.len() as f64 > wanted * 0.95,
        "{} of {wanted:.0} requests were sent",
        micros.len()
    );
    micros[micros.len() * 99 / 100]
}

/// One connection. In a loop it takes the next request, waits until the request is due, and sends it. The timers of
/// this runtime have whole milliseconds: a delay by that is not part of the latency, but a delay by a busy connection
/// is.
async fn caller(
    port: u16,
    path: Rc<str>,
    ticket: Rc<Cell<u32>>,
    start: Instant,
    rate: f64,
    duration: Duration,
) -> Vec<f64> {
    let mut connection = RawConnection::open(port).await;
    let mut micros = Vec::new();
    loop {
        let number = ticket.replace(ticket.get() + 1);
        let after = Duration::from_secs_f64(f64::from(number) / rate);
        if after >= duration {
            return micros;
        }
        let mut due = start + after;
        if Instant::now() < due {
            tokio::time::sleep_until(due.into()).await;
            due = Instant::now();
        }
        let client = number as usize % Load::FULL.keys;
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nx-api-key: client-{client:06}\r\n\r\n");
        connection.write(request).await.expect("an open connection");
        let (status, head, _) = connection.receive().await.expect("an answer");
        assert_eq!(status, 200, "{head}");
        if after >= duration / 10 {
            micros.push(due.elapsed().as_secs_f64() * 1e6);
        }
    }
}
