//! Envoys with their workers, callers and the network, with one clock.
//!
//! # Layout
//! - [`worker`]: the shell around an engine, as the filter is in Envoy.
//! - [`requests`]: how the shell handles a request.
//! - [`lifecycle`]: start and end of engines.
//! - [`faults`]: stalls of workers and new configurations. Other faults belong to the network.
//! - [`shared`]: the shared data of the workers of one Envoy.
//!
//! This file handles the events in order and reports them to an [`Observer`].

mod faults;
mod lifecycle;
mod requests;
mod shared;
mod worker;

use crate::fault::{Fault, PlannedFault};
use crate::network::transport::CallEvent;
use crate::network::{Network, NetworkEvent, NetworkSettings};
use crate::request::Request;
use crate::time::{Clock, Micros, Queue};
use fastrand::Rng;
use headgate_core::engine::{self, Admitted, CallId, Fallback, Now, RequestId};
use headgate_core::identify::Identity;
use headgate_core::model::Policy;
use headgate_core::reply::Reply;
use shared::SharedMemory;
use std::cell::RefCell;
use std::rc::Rc;
use worker::hasher;
pub use worker::EngineInstance;

/// The input of a history. Random values during the run, such as latencies, come from its seed.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The seed of the random values during the run.
    pub seed: u64,
    /// Unix time at the start, in µs.
    pub unix_us: u64,
    /// The number of Envoys, workers and shards, and the delays.
    pub network: NetworkSettings,
    /// The first is used at the start, and each new configuration uses the next one.
    pub policies: Vec<Rc<Policy>>,
    /// The faults.
    pub faults: Vec<PlannedFault>,
    /// The requests, in the order of their times.
    pub arrivals: Vec<Arrival>,
}

/// A request that a caller sends.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The time of the arrival, in µs since the start.
    pub at: Micros,
    /// The index of the Envoy.
    pub envoy: usize,
    /// The index of the worker within the Envoy.
    pub worker: usize,
    /// The request as it arrives.
    pub request: Rc<Request>,
    /// The identity of the caller, if it does not come from the request.
    pub identity: Option<Rc<Identity>>,
    /// The response time of the upstream in µs; `None`: it never responds.
    pub answered_after: Option<Micros>,
    /// The headers of the upstream's response.
    pub response: Rc<[(String, String)]>,
    /// How long the caller waits for the response, in µs, before it closes the connection.
    pub leaves_after: Option<Micros>,
}

/// The decision on a request.
pub struct Decision<'a> {
    /// The request with the changes of the engine.
    pub request: &'a Request,
    /// The local reply; `None`: the request continues to the upstream.
    pub reply: Option<&'a Reply>,
    /// The engine was lost, and the shell decided by the failure policy.
    pub by_fallback: bool,
}

/// Receives the events of a world. A request is identified by its index in [`Scenario::arrivals`], an engine by its index
/// in the order of their starts.
pub trait Observer {
    /// An engine of a worker of an Envoy starts.
    fn started(&mut self, _at: Micros, _engine: usize, _envoy: usize, _worker: usize, _policy: &Rc<Policy>) {}
    /// The engine is dropped with its calls.
    fn dropped(&mut self, _at: Micros, _engine: usize) {}
    /// A request arrives at an engine.
    fn arrived(&mut self, _at: Micros, _caller: usize, _engine: usize, _request: &Request) {}
    /// The engine waits for Redis to decide the request.
    fn pending(&mut self, _at: Micros, _caller: usize, _engine: usize, _id: RequestId) {}
    /// The request is decided.
    fn decided(&mut self, at: Micros, caller: usize, decision: &Decision<'_>);
    /// The caller has closed the connection; `admitted`: after its request was admitted.
    fn left(&mut self, _at: Micros, _caller: usize, _admitted: bool) {}
    /// The upstream has responded; the engine makes these changes to its headers.
    fn answered(&mut self, _at: Micros, _caller: usize, _edits: &engine::Edits) {}
    /// An event of a call to Redis; `charges`: the request whose costs are being charged.
    fn call_event(
        &mut self,
        _at: Micros,
        _engine: usize,
        _note: &CallEvent<CallId>,
        _charges: Option<usize>,
    ) {
    }
    /// An event for metrics and logs.
    fn event(&mut self, _at: Micros, _engine: usize, _event: &engine::Event) {}
    /// Whether [`Observer::line`] is called.
    fn wants_lines(&self) -> bool {
        false
    }
    /// A line of the history, if [`Observer::wants_lines`].
    fn line(&mut self, _at: Micros, _line: String) {}
}

/// A planned event.
#[derive(Debug)]
enum Occurrence {
    Network(NetworkEvent),
    FaultBegins(usize),
    FaultEnds(usize),
    ReplicaSnapshot(usize),
    RequestArrives(usize),
    CallerLeaves(usize),
    UpstreamAnswers(usize),
    /// The host calls the engine's `on_timeout`. Only the newest round of ticks counts.
    Tick {
        engine: usize,
        round: u64,
    },
    Reconfigured {
        thread: usize,
        loses: bool,
    },
}

/// A request in the shell.
struct Caller {
    engine: usize,
    request: Request,
    state: CallerState,
}

enum CallerState {
    Waiting(RequestId, Fallback),
    Admitted(Admitted),
    Over,
}

/// A worker thread of an Envoy.
struct WorkerThread {
    envoy: usize,
    worker: usize,
    /// The engine that gets new requests.
    engine: usize,
    /// The number of active stalls, and the events that they delay.
    stalls: usize,
    delayed: Vec<Occurrence>,
    policy: usize,
}

/// A running simulation.
pub struct World<O> {
    /// Receives the events.
    pub observer: O,
    scenario: Rc<Scenario>,
    clock: Clock,
    now: Micros,
    queue: Queue<Occurrence>,
    network: Rc<RefCell<Network>>,
    threads: Vec<WorkerThread>,
    /// All engines so far; `None`: dropped.
    engines: Vec<Option<EngineInstance>>,
    /// By request.
    callers: Vec<Option<Caller>>,
    memories: Vec<SharedMemory>,
    rng: Rng,
}

impl<O: Observer> World<O> {
    /// A world at time 0. `observer` gets the network and the clock.
    pub fn new(scenario: Rc<Scenario>, observer: impl FnOnce(Rc<RefCell<Network>>, Clock) -> O) -> World<O> {
        let mut rng = Rng::with_seed(scenario.seed);
        let clock = Clock::new(scenario.unix_us);
        let settings = scenario.network.clone();
        let network = Network::new(settings.clone(), clock, rng.fork());
        let network = Rc::new(RefCell::new(network));
        let mut world = World {
            observer: observer(Rc::clone(&network), clock),
            clock,
            now: 0,
            queue: Queue::default(),
            network,
            threads: Vec::new(),
            engines: Vec::new(),
            callers: (0..scenario.arrivals.len()).map(|_| None).collect(),
            memories: (0..settings.envoys).map(|_| SharedMemory::default()).collect(),
            rng,
            scenario: Rc::clone(&scenario),
        };
        for thread in 0..settings.envoys * settings.workers {
            let (envoy, worker) = (thread / settings.workers, thread % settings.workers);
            world.threads.push(WorkerThread {
                envoy,
                worker,
                engine: 0,
                stalls: 0,
                delayed: Vec::new(),
                policy: 0,
            });
            world.start_engine(thread);
        }
        for (at, planned) in scenario.faults.iter().enumerate() {
            if let Fault::Failover { shard, lag, .. } = planned.fault {
                let replicated = planned.from.saturating_sub(lag);
                world.queue.plan(replicated, Occurrence::ReplicaSnapshot(shard));
            }
            world.queue.plan(planned.from, Occurrence::FaultBegins(at));
            if !planned.fault.is_instantaneous() {
                world.queue.plan(planned.until, Occurrence::FaultEnds(at));
            }
        }
        world.plan_arrival(0);
        world
    }

    /// Handles events until none is planned, or until `most` events. Returns whether no event is left.
    pub fn run(&mut self, most: u64) -> bool {
        for _ in 0..most {
            let Some((at, occurrence)) = self.queue.pop() else {
                return true;
            };
            self.now = at;
            self.network.borrow_mut().now = at;
            if let Occurrence::RequestArrives(caller) = occurrence {
                self.plan_arrival(caller + 1);
            }
            match self.thread_of(&occurrence) {
                Some(thread) if self.threads[thread].stalls > 0 => {
                    self.threads[thread].delayed.push(occurrence)
                }
                _ => self.handle(occurrence),
            }
            self.plan_network();
        }
        false
    }

    /// Plans the next arrival only after the previous one, so that the queue stays short.
    fn plan_arrival(&mut self, caller: usize) {
        if let Some(arrival) = self.scenario.arrivals.get(caller) {
            self.queue.plan(arrival.at, Occurrence::RequestArrives(caller));
        }
    }

    fn plan_network(&mut self) {
        let mut network = self.network.borrow_mut();
        for (at, event) in network.planned.drain(..) {
            self.queue.plan(at, Occurrence::Network(event));
        }
    }

    /// The current time, in µs since the start.
    pub fn now(&self) -> Micros {
        self.now
    }

    /// The engines that exist now, with their indices.
    pub fn engines(&self) -> impl Iterator<Item = (usize, &EngineInstance)> {
        let all = self.engines.iter().enumerate();
        all.filter_map(|(index, engine)| Some((index, engine.as_ref()?)))
    }

    fn moment(&self) -> Now {
        Now {
            monotonic: self.clock.instant(self.now),
            unix: std::time::Duration::from_micros(self.clock.unix_us(self.now)),
        }
    }

    /// The worker thread that handles the event; `None`: no worker does.
    fn thread_of(&self, occurrence: &Occurrence) -> Option<usize> {
        let thread = |engine: usize| Some(self.engines[engine].as_ref()?.thread);
        match occurrence {
            Occurrence::Network(event) => self.network.borrow().worker_of(event),
            Occurrence::RequestArrives(caller) => {
                let arrival = &self.scenario.arrivals[*caller];
                Some(arrival.envoy * self.scenario.network.workers + arrival.worker)
            }
            Occurrence::CallerLeaves(caller) | Occurrence::UpstreamAnswers(caller) => {
                thread(self.callers[*caller].as_ref()?.engine)
            }
            Occurrence::Tick { engine, .. } => thread(*engine),
            Occurrence::Reconfigured { thread, .. } => Some(*thread),
            Occurrence::FaultBegins(_) | Occurrence::FaultEnds(_) | Occurrence::ReplicaSnapshot(_) => None,
        }
    }

    fn handle(&mut self, occurrence: Occurrence) {
        if self.observer.wants_lines() && !matches!(occurrence, Occurrence::Tick { .. }) {
            let line = self.describe(&occurrence);
            self.observer.line(self.now, line);
        }
        match occurrence {
            Occurrence::Network(event) => {
                let delivery = self.network.borrow_mut().handle(event);
                if let Some(delivery) = delivery {
                    self.deliver(delivery);
                }
            }
            Occurrence::FaultBegins(fault) => self.begin(fault),
            Occurrence::FaultEnds(fault) => self.end(fault),
            Occurrence::ReplicaSnapshot(shard) => self.network.borrow_mut().replicate(shard),
            Occurrence::RequestArrives(caller) => self.arrive(caller),
            Occurrence::CallerLeaves(caller) => self.leave(caller),
            Occurrence::UpstreamAnswers(caller) => self.answered(caller),
            Occurrence::Tick { engine, round } => self.tick(engine, round),
            Occurrence::Reconfigured { thread, loses } => self.reconfigure(thread, loses),
        }
    }

    fn describe(&self, occurrence: &Occurrence) -> String {
        match occurrence {
            Occurrence::FaultBegins(fault) => format!("begins: {}", self.scenario.faults[*fault]),
            Occurrence::FaultEnds(fault) => format!("ends: {}", self.scenario.faults[*fault]),
            Occurrence::Network(event) => event.to_string(),
            other => format!("{other:?}"),
        }
    }
}
