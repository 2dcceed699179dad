//! The core's streams alone on the simulated network: calls go out, faults come and go, and every call ends once, with
//! its own reply.

use headgate_core::fixtures::{charge, group, rate};
use headgate_core::limit::Algorithm;
use headgate_core::model::RedisSettings;
use headgate_core::script::{self, Mode};
use headgate_sim::choices::Choices;
use headgate_sim::fault::{Fault, PlannedFault, Target};
use headgate_sim::network::transport::{CheckedStreams, Host};
use headgate_sim::network::{Network, NetworkEvent, NetworkSettings, OP_TIMEOUT};
use headgate_sim::time::{Clock, Micros, Queue, MS, SECOND};
use redis_call::{CallError, Completed, RedisCall};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

const TIMEOUT: Micros = 100 * MS;

enum Occurrence {
    Network(NetworkEvent),
    FaultBegins(usize),
    FaultEnds(usize),
    ReplicaSnapshot(usize),
    Call,
    TimeOut(u64),
    Tick,
}

struct Run {
    clock: Clock,
    queue: Queue<Occurrence>,
    network: Rc<RefCell<Network>>,
    transport: CheckedStreams<u64>,
    faults: Vec<PlannedFault>,
    choices: Choices,
    now: Micros,
    tick: Option<Micros>,
    /// Requests that wait: since when.
    waiting: BTreeMap<u64, Micros>,
    made: u64,
    /// How many calls ended like this.
    ended: BTreeMap<&'static str, u64>,
    ticks: u64,
}

fn which(choices: &mut Choices, count: usize) -> Target {
    match choices.percent(30) {
        true => Target::All,
        false => Target::One(choices.index(count)),
    }
}

fn fault(choices: &mut Choices, shards: usize) -> Fault {
    let shard = which(choices, shards);
    let envoy = Target::All;
    match choices.below(15) {
        0 => Fault::Down {
            shard,
            loses: choices.percent(50),
        },
        1 => Fault::Frozen { shard },
        2 => Fault::Failover {
            shard: choices.index(shards),
            lag: 3 * MS,
            clock_us: 0,
        },
        3 => Fault::Latency {
            shard,
            extra: choices.below(150) * MS,
        },
        4 => Fault::Loss {
            shard,
            percent: choices.below(30),
            before: choices.percent(50),
        },
        5 => Fault::Error {
            shard,
            text: "LOADING Redis is loading",
            writes: false,
        },
        6 => Fault::Error {
            shard,
            text: "OOM command not allowed",
            writes: true,
        },
        7 => Fault::ScriptFlush { shard },
        8 => Fault::Moving {
            first: 0,
            last: 9_000,
            to: 0,
        },
        9 => Fault::BreakStreams { envoy, status: 14 },
        10 => Fault::Garbage { envoy },
        11 => Fault::NoStreams { envoy },
        12 => Fault::StreamsDie { envoy },
        13 => Fault::SendFails { envoy },
        _ => Fault::GuardRefuses { envoy },
    }
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut choices = Choices::seeded(seed);
        let clock = Clock::new(1_700_000_000_000_000);
        let shards = choices.index(4);
        let settings = NetworkSettings {
            envoys: 1,
            workers: 1,
            shards,
            discovery: choices.percent(80),
            hop: 100,
            latency: (200, 2_000),
            op_timeout: OP_TIMEOUT,
            stream_life: 240 * SECOND,
            prefix: "ratelimit".to_owned(),
        };
        let network = Rc::new(RefCell::new(Network::new(settings, clock, choices.fork())));
        let host = Host {
            network: Rc::clone(&network),
            worker: 0,
            owner: 0,
        };
        let settings = RedisSettings {
            cluster: String::new(),
            key_prefix: "ratelimit".to_owned(),
            timeout: Duration::from_micros(TIMEOUT),
            max_in_flight: 4_096,
            native: None,
        };
        let transport = CheckedStreams::new(clock.instant(0), choices.fork(), host, &settings);
        let mut run = Run {
            clock,
            queue: Queue::default(),
            network,
            transport,
            faults: Vec::new(),
            choices,
            now: 0,
            tick: None,
            waiting: BTreeMap::new(),
            made: 0,
            ended: BTreeMap::new(),
            ticks: 0,
        };
        for at in 0..run.choices.index(4) {
            let from = run.choices.between(0..=2 * SECOND);
            let until = from + run.choices.between(MS..=SECOND);
            let fault = fault(&mut run.choices, shards.max(1));
            if let Fault::Failover { shard, lag, .. } = fault {
                run.queue
                    .plan(from.saturating_sub(lag), Occurrence::ReplicaSnapshot(shard));
            }
            run.queue.plan(from, Occurrence::FaultBegins(at));
            if !fault.is_instantaneous() {
                run.queue.plan(until, Occurrence::FaultEnds(at));
            }
            run.faults.push(PlannedFault { from, until, fault });
        }
        for _ in 0..100 {
            let at = run.choices.between(0..=3 * SECOND);
            run.queue.plan(at, Occurrence::Call);
        }
        // After all faults: by then everything is well.
        for n in 0..10 {
            run.queue.plan(12 * SECOND + n * 10 * MS, Occurrence::Call);
        }
        run
    }

    fn run(&mut self) {
        while let Some((at, event)) = self.queue.pop() {
            self.now = at;
            self.network.borrow_mut().now = at;
            self.handle(event);
            let wakeup = self
                .transport
                .wakeup()
                .map(|at| self.clock.micros(at).max(self.now + MS));
            if let Some(at) = wakeup.filter(|at| self.tick.is_none_or(|tick| *at < tick)) {
                self.tick = Some(at);
                self.queue.plan(at, Occurrence::Tick);
            }
            let planned = std::mem::take(&mut self.network.borrow_mut().planned);
            for (at, event) in planned {
                self.queue.plan(at, Occurrence::Network(event));
            }
            assert!(self.ticks < 20_000, "ticks without end");
        }
    }

    fn handle(&mut self, event: Occurrence) {
        let instant = self.clock.instant(self.now);
        let mut completed = Vec::new();
        match event {
            Occurrence::FaultBegins(at) => self.network.borrow_mut().begin(&self.faults[at].fault),
            Occurrence::FaultEnds(at) => self.network.borrow_mut().end_fault(&self.faults[at].fault),
            Occurrence::ReplicaSnapshot(shard) => self.network.borrow_mut().replicate(shard),
            Occurrence::Network(event) => {
                let delivery = self.network.borrow_mut().handle(event);
                if let Some(delivery) = delivery {
                    let accepted = self.network.borrow_mut().accept(&delivery);
                    if accepted {
                        self.transport
                            .deliver(instant, delivery.stream, delivery.what, &mut completed);
                    }
                }
            }
            Occurrence::Tick => {
                if self.tick == Some(self.now) {
                    self.tick = None;
                    self.ticks += 1;
                    self.transport.on_tick(instant, &mut completed);
                }
            }
            Occurrence::Call => self.call(),
            Occurrence::TimeOut(request) => {
                if let Some(since) = self.waiting.remove(&request) {
                    let slot = group_of(request).slot();
                    self.transport.timed_out(instant, self.clock.instant(since), slot);
                    *self.ended.entry("timed out").or_default() += 1;
                }
            }
        }
        for Completed { id, reply, .. } in completed {
            self.waiting.remove(&id);
            let word = match reply {
                Ok(redis_call::resp::Value::Error(_)) => "error",
                Ok(_) => "counted",
                Err(error) => error.as_str(),
            };
            *self.ended.entry(word).or_default() += 1;
        }
    }

    fn call(&mut self) {
        self.made += 1;
        let request = self.made;
        let now = self.clock.instant(self.now);
        let deadline = self.now + TIMEOUT;
        let call = script::call(&group_of(request), Mode::Count);
        match self
            .transport
            .call(now, self.clock.instant(deadline), request, call)
        {
            Ok(()) => {
                self.waiting.insert(request, self.now);
                self.queue.plan(deadline, Occurrence::TimeOut(request));
            }
            Err(CallError::BreakerOpen) => *self.ended.entry("breaker").or_default() += 1,
            Err(error) => *self.ended.entry(error.as_str()).or_default() += 1,
        }
    }

    fn check(&mut self, seed: u64) {
        let network = self.network.borrow();
        let noted = network.journal.broken.iter();
        let mut broken: Vec<String> = noted.map(|(rule, what)| format!("{rule}: {what}")).collect();
        let mut seen = std::collections::BTreeSet::new();
        for execution in &network.journal.executions {
            let tag = execution.call.tag.expect("all calls have one");
            if !seen.insert(tag) {
                broken.push(format!("call {tag} was executed twice"));
            }
        }
        if self.transport.in_flight() + self.transport.waiting() > 0 {
            broken.push(format!(
                "{} calls are still in flight",
                self.transport.in_flight()
            ));
        }
        if self.transport.streams.breakers_open() > 0 {
            broken.push("a breaker is still open".to_owned());
        }
        if !self.waiting.is_empty() {
            broken.push("a caller still waits".to_owned());
        }
        let late = network
            .journal
            .executions
            .iter()
            .filter(|run| run.at >= 12 * SECOND)
            .count();
        if late < 10 {
            broken.push(format!("of 10 calls after all faults {late} were counted"));
        }
        assert!(
            broken.is_empty(),
            "seed {seed}: {broken:#?}\n{:#?}\n{:?}",
            self.faults,
            self.ended
        );
    }
}

fn group_of(request: u64) -> headgate_core::limit::Group {
    let client = request % 7;
    let charges = vec![charge(0, Algorithm::SlidingWindowCounter, rate(50, 10_000))];
    let mut group = group(format!("ratelimit:main:{{key:{client}}}"), charges);
    if request.is_multiple_of(3) {
        let mut log = charge(1, Algorithm::SlidingWindowLog, rate(50, 1_000));
        log.key = 1;
        group
            .keys
            .push(format!("ratelimit:main:{{key:{client}}}:log").into_bytes());
        group.charges.push(log);
    }
    group
}

#[test]
fn every_call_ends_once_with_its_own_reply() {
    let mut ended = BTreeMap::<&str, u64>::new();
    for seed in 0..1_000 {
        let mut run = Run::new(seed);
        run.run();
        run.check(seed);
        for (word, count) in run.ended {
            *ended.entry(word).or_default() += count;
        }
    }
    println!("{ended:?}");
    for word in [
        "counted",
        "timed out",
        "error",
        "breaker",
        "lost",
        "unavailable",
        "unintelligible",
    ] {
        assert!(ended.contains_key(word), "no call ended as {word}: {ended:?}");
    }
}
