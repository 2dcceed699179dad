//! Envoys with their workers, callers and the network, in one time.
//!
//! Layout: [`worker`] is the shell around an engine, as the filter is in Envoy, and [`requests`] is what happens to a
//! request in it; [`lifecycle`] is how engines begin and end; [`faults`] holds workers up and hands other faults to the
//! network; [`shared`] is what the workers of one Envoy share. This file lets things happen in their order and tells an [`Observer`].

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

/// All that is given of a history. What is left to chance on the way, such as latencies, comes from its seed.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub seed: u64,
    /// Unix time at the start, in µs.
    pub unix_us: u64,
    pub network: NetworkSettings,
    /// The first is in force at the start, and with each new configuration the next.
    pub policies: Vec<Rc<Policy>>,
    pub faults: Vec<PlannedFault>,
    /// In the order of time.
    pub arrivals: Vec<Arrival>,
}

/// A request that a caller sends.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub at: Micros,
    pub envoy: usize,
    /// Of the Envoy.
    pub worker: usize,
    pub request: Rc<Request>,
    /// Who sends it, where the request itself does not say so.
    pub identity: Option<Rc<Identity>>,
    /// How long the upstream takes; `None`: it never answers.
    pub answered_after: Option<Micros>,
    /// The headers of the upstream's response.
    pub response: Rc<[(String, String)]>,
    /// When the caller hangs up, unless it has its response by then.
    pub leaves_after: Option<Micros>,
}

/// What became of a request.
pub struct Decision<'a> {
    /// With what the engine made of it.
    pub request: &'a Request,
    /// `None`: it goes on to the upstream.
    pub reply: Option<&'a Reply>,
    /// The engine was lost, and the shell decided by itself.
    pub by_fallback: bool,
}

/// Is told what happens in a world. Requests are named by their index among the arrivals, engines are counted.
pub trait Observer {
    /// An engine is made, of a worker of an Envoy.
    fn started(&mut self, _at: Micros, _engine: usize, _envoy: usize, _worker: usize, _policy: &Rc<Policy>) {}
    /// It is no more; so are its calls.
    fn dropped(&mut self, _at: Micros, _engine: usize) {}
    fn arrived(&mut self, _at: Micros, _caller: usize, _engine: usize, _request: &Request) {}
    fn pending(&mut self, _at: Micros, _caller: usize, _engine: usize, _id: RequestId) {}
    fn decided(&mut self, at: Micros, caller: usize, decision: &Decision<'_>);
    /// The caller has hung up; `admitted`: after its request was let through.
    fn left(&mut self, _at: Micros, _caller: usize, _admitted: bool) {}
    /// The upstream has answered, with these changes to its headers.
    fn answered(&mut self, _at: Micros, _caller: usize, _edits: &engine::Edits) {}
    /// Something happened to a call; `charges`: the request whose costs are charged just now.
    fn call_event(
        &mut self,
        _at: Micros,
        _engine: usize,
        _note: &CallEvent<CallId>,
        _charges: Option<usize>,
    ) {
    }
    /// What operators are told.
    fn event(&mut self, _at: Micros, _engine: usize, _event: &engine::Event) {}
    /// A line of the history, where it is wanted.
    fn wants_lines(&self) -> bool {
        false
    }
    fn line(&mut self, _at: Micros, _line: String) {}
}

/// What is to happen.
#[derive(Debug)]
enum Occurrence {
    Network(NetworkEvent),
    FaultBegins(usize),
    FaultEnds(usize),
    ReplicaLags(usize),
    RequestArrives(usize),
    CallerLeaves(usize),
    UpstreamAnswers(usize),
    /// The host ticks for an engine, in this round of ticks.
    Tick {
        engine: usize,
        round: u64,
    },
    Reconfigured {
        thread: usize,
        loses: bool,
    },
}

/// A request as the shell knows it.
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
    /// The engine that takes new requests.
    engine: usize,
    /// How many stalls hold it up; and what happens when they are over.
    stalls: usize,
    held: Vec<Occurrence>,
    policy: usize,
}

pub struct World<O> {
    pub observer: O,
    scenario: Rc<Scenario>,
    clock: Clock,
    now: Micros,
    queue: Queue<Occurrence>,
    network: Rc<RefCell<Network>>,
    threads: Vec<WorkerThread>,
    /// All engines that there ever were.
    engines: Vec<Option<EngineInstance>>,
    /// By arrival.
    callers: Vec<Option<Caller>>,
    memories: Vec<SharedMemory>,
    rng: Rng,
}

impl<O: Observer> World<O> {
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
                held: Vec::new(),
                policy: 0,
            });
            world.start_engine(thread);
        }
        for (at, planned) in scenario.faults.iter().enumerate() {
            if let Fault::Failover { shard, lag, .. } = planned.fault {
                let replicated = planned.from.saturating_sub(lag);
                world.queue.plan(replicated, Occurrence::ReplicaLags(shard));
            }
            world.queue.plan(planned.from, Occurrence::FaultBegins(at));
            if !planned.fault.is_moment() {
                world.queue.plan(planned.until, Occurrence::FaultEnds(at));
            }
        }
        world.plan_arrival(0);
        world
    }

    /// Lets everything happen until nothing is left to happen; or until `most` things have. Whether it came to an end.
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
                Some(thread) if self.threads[thread].stalls > 0 => self.threads[thread].held.push(occurrence),
                _ => self.handle(occurrence),
            }
            self.plan_network();
        }
        false
    }

    /// Each arrival is planned once the one before it happens, so that the queue stays short.
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

    pub fn now(&self) -> Micros {
        self.now
    }

    /// The engines that still are.
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

    /// Which worker thread has to do it.
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
            Occurrence::FaultBegins(_) | Occurrence::FaultEnds(_) | Occurrence::ReplicaLags(_) => None,
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
            Occurrence::ReplicaLags(shard) => self.network.borrow_mut().replicate(shard),
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
