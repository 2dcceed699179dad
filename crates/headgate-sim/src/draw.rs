//! Draws a random scenario: policies, number of Envoys, requests and faults.

use crate::choices::Choices;
use crate::fault::{Fault, PlannedFault, Target};
use crate::network::{NetworkSettings, LAST_SLOT, OP_TIMEOUT};
use crate::policies;
use crate::request::Request;
use crate::time::{Micros, MS, SECOND};
use crate::world::{Arrival, Scenario};
use std::rc::Rc;

/// All faults have ended at this time after the start.
pub const FAULTS_END: Micros = 4 * SECOND;

/// At this time everything has recovered, and a last series of requests starts.
pub const WELL_AGAIN: Micros = 12 * SECOND;

/// A random scenario.
pub fn draw(choices: &mut Choices) -> Scenario {
    let first = choices.index(policies::COUNT);
    let network = network(choices);
    let mut faults = match choices.below(5) {
        0 => Vec::new(),
        _ => faults(choices, &network),
    };
    let mut policies = vec![policies::policy(first)];
    if choices.percent(50) {
        policies.push(policies::policy(choices.index(policies::COUNT)));
    }
    let leased = policies
        .iter()
        .any(|policy| policy.limits.iter().any(|limit| limit.lease.is_some()));
    let mut arrivals = arrivals(choices, &network, leased);
    align_with_requests(choices, &mut faults, &arrivals);
    arrivals.extend(afterwards(choices, &faults, &network));
    arrivals.sort_by_key(|arrival| arrival.at);
    Scenario {
        // At a random position in the windows.
        unix_us: 1_700_000_000 * SECOND + choices.below(20 * SECOND),
        seed: choices.below(u64::MAX),
        network,
        policies,
        faults,
        arrivals,
    }
}

fn network(choices: &mut Choices) -> NetworkSettings {
    let latency = *choices.pick(&[(100, 500), (200, 2_000), (MS, 8 * MS), (3 * MS, 12 * MS)]);
    NetworkSettings {
        envoys: 1 + choices.index(3),
        workers: 1 + choices.index(2),
        shards: *choices.pick(&[0, 1, 2, 3, 3, 4]),
        discovery: choices.percent(80),
        hop: *choices.pick(&[20, 100, 1_000]),
        latency,
        op_timeout: OP_TIMEOUT,
        stream_life: match choices.percent(25) {
            true => choices.between(20 * MS..=SECOND),
            false => 240 * SECOND,
        },
        prefix: "ratelimit".to_owned(),
    }
}

fn which(choices: &mut Choices, count: usize) -> Target {
    match choices.percent(25) {
        true => Target::All,
        false => Target::One(choices.index(count)),
    }
}

fn faults(choices: &mut Choices, network: &NetworkSettings) -> Vec<PlannedFault> {
    let count = 1 + choices.index(4);
    (0..count)
        .map(|_| {
            let fault = fault(choices, network);
            let from = match choices.percent(20) {
                true => 0,
                false => choices.below(3 * SECOND),
            };
            let longest = match fault {
                Fault::Stall { .. } => 400 * MS,
                _ => 2 * SECOND,
            };
            let until = match fault.is_instantaneous() {
                true => from,
                false => (from + choices.between(MS..=longest)).min(FAULTS_END),
            };
            PlannedFault { from, until, fault }
        })
        .collect()
}

/// Moves some faults of workers and streams to a time at which a request is in progress there.
fn align_with_requests(choices: &mut Choices, faults: &mut [PlannedFault], arrivals: &[Arrival]) {
    for planned in faults.iter_mut() {
        let envoy = match &mut planned.fault {
            Fault::Stall { envoy, .. }
            | Fault::BreakStreams { envoy, .. }
            | Fault::Garbage { envoy }
            | Fault::OldGuard { envoy }
            | Fault::Reconfigure { envoy, .. } => envoy,
            _ => continue,
        };
        if choices.percent(50) || arrivals.is_empty() {
            continue;
        }
        let arrival = choices.pick(arrivals);
        if arrival.at >= FAULTS_END - SECOND {
            continue;
        }
        *envoy = Target::One(arrival.envoy);
        let lasts = planned.until - planned.from;
        // Before the call leaves the Envoy, while it is on the network, or when its reply arrives.
        let within = *choices.pick(&[MS, 2 * MS, 6 * MS]);
        planned.from = arrival.at + choices.below(within);
        planned.until = (planned.from + lasts).min(FAULTS_END);
    }
    faults.sort_by_key(|planned| planned.from);
}

/// Draws requests that arrive while a fault ends, when many things happen at the same time.
fn afterwards(choices: &mut Choices, faults: &[PlannedFault], network: &NetworkSettings) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for planned in faults.iter().filter(|planned| !planned.fault.is_instantaneous()) {
        if choices.percent(60) {
            continue;
        }
        let place = choices.index(network.envoys * network.workers);
        for _ in 0..4 + choices.below(12) {
            let at = (planned.until + choices.below(250 * MS)).saturating_sub(100 * MS);
            arrivals.push(arrival(choices, network, at, place, 2));
        }
    }
    arrivals
}

/// Errors of a node, and whether only commands that write get them.
const ERRORS: [(&str, bool); 9] = [
    ("OOM command not allowed when used memory > 'maxmemory'.", true),
    ("READONLY You can't write against a read only replica.", true),
    ("MISCONF Redis is configured to save RDB snapshots", true),
    ("LOADING Redis is loading the dataset in memory", false),
    ("BUSY Redis is busy running a script.", false),
    ("CLUSTERDOWN Hash slot not served", false),
    ("NOAUTH Authentication required.", false),
    ("MOVED 1234 192.0.2.9:7000", false),
    ("ASK 1234 192.0.2.9:7000", false),
];

fn fault(choices: &mut Choices, network: &NetworkSettings) -> Fault {
    let shards = network.shards.max(1);
    let shard = which(choices, shards);
    let envoy = which(choices, network.envoys);
    match choices.below(27) {
        0 => Fault::Down {
            shard,
            loses: choices.percent(50),
        },
        1 | 2 => Fault::Frozen { shard },
        3 => Fault::Failover {
            shard: choices.index(shards),
            lag: choices.below(50 * MS),
            clock_us: *choices.pick(&[0, 0, 40_000, -40_000]),
        },
        4 => Fault::Latency {
            shard,
            extra: choices.below(120) * MS,
        },
        5 | 6 => Fault::Loss {
            shard,
            percent: choices.between(1..=40),
            before: choices.percent(50),
        },
        7 => {
            let (text, writes) = *choices.pick(&ERRORS);
            Fault::Error { shard, text, writes }
        }
        8 => Fault::ScriptFlush { shard },
        9 | 10 => {
            let first = choices.below(u64::from(LAST_SLOT)) as u16;
            let last = first + choices.below(u64::from(LAST_SLOT - first) + 1) as u16;
            Fault::Moving {
                first,
                last,
                to: choices.index(shards),
            }
        }
        11 => Fault::ClockStep {
            shard,
            by_us: *choices.pick(&[-3_000_000, -50_000, 50_000, 700_000]),
        },
        12 => Fault::BreakStreams {
            envoy,
            status: *choices.pick(&[0, 13, 14]),
        },
        13 => Fault::Garbage { envoy },
        14 => Fault::NoStreams { envoy },
        15 => Fault::StreamsDie { envoy },
        16 => Fault::SendFails { envoy },
        17 => Fault::NoHost { envoy },
        18 => Fault::UpstreamFailure { envoy },
        19 => Fault::GuardRefuses { envoy },
        20 => Fault::Mute { envoy },
        24 | 25 => Fault::OldGuard { envoy },
        21..=23 => Fault::Stall {
            envoy,
            worker: which(choices, network.workers),
        },
        _ => Fault::Reconfigure {
            envoy,
            loses: choices.percent(30),
        },
    }
}

/// Draws bursts, steady traffic and single requests, and then some requests after the recovery.
fn arrivals(choices: &mut Choices, network: &NetworkSettings, leased: bool) -> Vec<Arrival> {
    let clients = 1 + choices.index(4);
    let mut times = Vec::new();
    for _ in 0..1 + choices.index(3) {
        let start = choices.below(2 * SECOND);
        let (count, apart) = match choices.below(4) {
            // More requests at once than the filter carries out in one call of its VM.
            0 if choices.percent(10) => (150, 0),
            0 => (5 + choices.below(25), 0),
            1 => (10 + choices.below(40), choices.between(MS..=30 * MS)),
            2 if leased => (60 + choices.below(60), choices.between(MS..=8 * MS)),
            _ => (5 + choices.below(15), choices.between(20 * MS..=200 * MS)),
        };
        let spread = choices.below(2) * apart;
        times.extend((0..count).map(|n| start + n * apart + choices.below(spread + 1)));
    }
    let places = (network.envoys * network.workers) as u64;
    times.extend((0..2 * places).map(|n| WELL_AGAIN + n * 150 * MS));
    times.sort_unstable();
    let mut arrivals = Vec::with_capacity(times.len());
    for (n, at) in times.into_iter().enumerate() {
        let place = match at >= WELL_AGAIN {
            // Every worker gets requests.
            true => n as u64 % places,
            false => choices.below(places),
        };
        arrivals.push(arrival(choices, network, at, place as usize, clients));
    }
    arrivals
}

fn arrival(
    choices: &mut Choices,
    network: &NetworkSettings,
    at: Micros,
    place: usize,
    clients: usize,
) -> Arrival {
    let client = choices.index(clients);
    let target = *choices.pick(&["/a", "/a", "/a", "/b", "/b?x=1", "/free"]);
    let mut request = Request::new("GET", target, "api.example.com");
    if !choices.percent(5) {
        request.push("x-api-key", &format!("key-{client}"));
    }
    if choices.percent(50) {
        let cost = choices.pick(&["0", "1", "2", "7", "25", "99", "-1", "many"]);
        request.push("x-cost", cost);
    }
    if choices.percent(10) {
        request.push("x-ratelimit-remaining", "1000000");
    }
    request.address = Some([192, 0, 2, 1 + (client / 2) as u8].into());
    let mut response = vec![(":status".to_owned(), "200".to_owned())];
    if choices.percent(80) {
        let tokens = choices.pick(&["0", "1", "3", "8", "60", "none"]);
        response.push(("x-tokens".to_owned(), (*tokens).to_owned()));
    }
    match choices.below(20) {
        0 => response[0].1 = "429".to_owned(),
        1 | 2 => response.push(("x-ratelimit-remaining".to_owned(), "5000".to_owned())),
        _ => {}
    }
    let leaves = choices.percent(12);
    let answers = !leaves || choices.percent(70);
    Arrival {
        at,
        envoy: place / network.workers,
        worker: place % network.workers,
        request: Rc::new(request),
        identity: None,
        answered_after: answers.then(|| choices.below(60 * MS)),
        response: response.into(),
        leaves_after: leaves.then(|| choices.below(130 * MS)),
    }
}
