//! `headgate simulate`: how many requests of some traffic a policy denies, by limit and by client, without a Redis.

use super::fault::{self, Sizes};
use super::policies::{load, Loaded};
use super::tally::Tally;
use super::traffic::{self, Event};
use super::{input, replay, Failure, Output};
use clap::builder::TypedValueParser;
use headgate_core::model::{Cost, Policy};
use headgate_sim::network::{NetworkSettings, OP_TIMEOUT};
use headgate_sim::time::{Micros, SECOND};
use headgate_sim::world::{Arrival, Scenario, World};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Masters of the Redis Cluster without `--shards`.
const SHARDS: usize = 3;

/// How long a fault without an end lasts after the last request, in µs.
const OUTLASTS: Micros = 60 * SECOND;

/// Headers of a response that carry costs.
type Response = Rc<[(String, String)]>;

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["traffic", "replay"])))]
pub struct SimulateArgs {
    /// A file that `headgate check` accepts
    file: String,
    /// Traffic in one line; may be repeated, and all lines run together
    #[arg(long, value_name = "LINE", long_help = format!("Traffic in one line; may be repeated, and all lines run together: {}", traffic::GRAMMAR))]
    traffic: Vec<String>,
    /// An access log: the shipped JSON lines, common log format or Envoy's default
    #[arg(long, value_name = "LOG")]
    replay: Option<String>,
    /// Only this instance, if the file has several
    #[arg(long)]
    instance: Option<String>,
    /// Writes a plot of allowed and denied requests over time
    #[arg(long, value_name = "FILE")]
    svg: Option<String>,
    /// A fault of Redis or of an Envoy; may be repeated
    #[arg(long, value_name = "FAULT", long_help = format!("A fault of Redis or of an Envoy; may be repeated: {}", fault::GRAMMAR))]
    fault: Vec<String>,
    /// How many Envoys share the traffic; each counts by itself what Redis does not
    #[arg(long, value_name = "N", value_parser = count(100))]
    envoys: Option<usize>,
    /// Workers in each Envoy; each has its own leases and verdict cache
    #[arg(long, value_name = "N", value_parser = count(64))]
    workers: Option<usize>,
    /// Masters in the Redis Cluster; 3 where there are faults
    #[arg(long, value_name = "N", value_parser = count(100))]
    shards: Option<usize>,
    /// How many clients the table shows, those with most denials first
    #[arg(long, default_value_t = 10, value_name = "N")]
    clients: usize,
    /// JSON, for scripts
    #[arg(long)]
    json: bool,
}

impl SimulateArgs {
    /// Whether Envoys and Redis are simulated as in production: several of them, with latency and faults.
    fn is_real(&self) -> bool {
        !self.fault.is_empty() || self.envoys.is_some() || self.workers.is_some() || self.shards.is_some()
    }
}

fn count(most: u16) -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u16)
        .range(1..=i64::from(most))
        .map(usize::from)
}

pub fn run(args: &SimulateArgs) -> Result<Output, Failure> {
    let mut all = load(&args.file, args.instance.as_deref())?;
    let (Some(loaded), true) = (all.pop(), all.is_empty()) else {
        return Err(Failure::new(format!(
            "{}: several instances; choose one by --instance",
            args.file
        )));
    };
    let hasher = input::hasher();
    let mut events = Vec::new();
    for line in &args.traffic {
        events.extend(traffic::generate(line, &loaded.policy, &hasher)?);
    }
    let mut notes = Vec::new();
    if !loaded.policy.enabled {
        notes.push("enabled: false: the filter passes everything; this is what it would do".to_owned());
    }
    if let Some(file) = &args.replay {
        let replay = replay::read(&input::read(file)?, &loaded.policy, &hasher)?;
        if replay.skipped > 0 {
            notes.push(format!(
                "{} lines are not understood, the first is {file}:{}",
                replay.skipped, replay.first_skipped
            ));
        }
        if replay.without_address > 0 {
            notes.push(format!(
                "{} requests have no address in the log, and each of their clients one of its own here: limits by address \
                 count less than they would; log %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% as \"address\"",
                replay.without_address
            ));
        }
        events.extend(replay.events);
    }
    events.sort_by_key(|event| event.time_us);
    let tally = simulate(args, &loaded, &events)?;
    if let Some(file) = &args.svg {
        std::fs::write(file, tally.plot().svg()).map_err(|error| Failure::new(format!("{file}: {error}")))?;
    }
    Ok(Output::text(match args.json {
        true => format!("{:#}\n", tally.json(&loaded, args.clients, &notes)),
        false => tally.text(&loaded, args.clients, &notes),
    }))
}

/// Runs the requests through simulated Envoys and a simulated Redis.
fn simulate<'e>(args: &SimulateArgs, loaded: &Loaded, events: &'e [Event]) -> Result<Tally<'e>, Failure> {
    let sizes = Sizes {
        shards: args.shards.unwrap_or(SHARDS),
        envoys: args.envoys.unwrap_or(1),
    };
    let start_us = events.first().map_or(0, |event| event.time_us);
    let end = events.last().map_or(0, |event| event.time_us - start_us) + OUTLASTS;
    let mut faults = Vec::new();
    for text in &args.fault {
        let fault = fault::parse(text, sizes);
        let mut planned =
            fault.map_err(|error| Failure::new(format!("--fault: {error}. Write {}", fault::GRAMMAR)))?;
        planned.until = planned.until.min(end.max(planned.from));
        faults.push(planned);
    }
    let workers = args.workers.unwrap_or(1);
    let network = NetworkSettings {
        envoys: sizes.envoys,
        workers,
        // Without faults it makes no difference where a counter lives.
        shards: if args.is_real() { sizes.shards } else { 0 },
        discovery: true,
        // A Redis nearby; without faults, one that takes no time.
        hop: if args.is_real() { 50 } else { 0 },
        latency: if args.is_real() { (150, 600) } else { (0, 0) },
        op_timeout: OP_TIMEOUT,
        stream_life: 240 * SECOND,
        prefix: loaded.policy.redis.key_prefix.clone(),
    };
    let mut policy = loaded.policy.clone();
    // The events of each limit.
    policy.metrics.enabled = true;
    let mut responses = BTreeMap::<u64, Response>::new();
    let mut random = fastrand::Rng::with_seed(1);
    let arrivals = events.iter().map(|event| Arrival {
        at: event.time_us - start_us,
        envoy: random.usize(..sizes.envoys),
        worker: random.usize(..workers),
        request: Rc::clone(&event.request),
        identity: Some(Rc::clone(&event.identity)),
        answered_after: Some(0),
        response: Rc::clone(
            responses
                .entry(event.cost)
                .or_insert_with(|| response(&policy, event.cost)),
        ),
        leaves_after: None,
    });
    let scenario = Rc::new(Scenario {
        seed: 1,
        unix_us: start_us,
        arrivals: arrivals.collect(),
        network,
        policies: vec![Rc::new(policy.clone())],
        faults,
    });
    let mut world = World::new(scenario, |network, _| {
        network.borrow_mut().journal.skips_executions = true;
        Tally::new(loaded, events, args.is_real())
    });
    world.run(u64::MAX);
    Ok(world.observer)
}

/// A response that carries its cost in each header that a limit reads.
fn response(policy: &Policy, cost: u64) -> Response {
    let names = policy.limits.iter().filter_map(|limit| match &limit.cost {
        Cost::ResponseHeader { name, .. } => Some(name.clone()),
        _ => None,
    });
    let status = (":status".to_owned(), "200".to_owned());
    std::iter::once(status)
        .chain(names.map(|name| (name, cost.to_string())))
        .collect()
}
