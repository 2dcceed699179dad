//! The books of a world, and the rules that must hold in it.
//!
//! Layout: this file keeps what is known of requests and calls; [`decided`] compares each decision with what Redis
//! answered; [`leases`] follows permits; [`local`] counts
//! what Envoys count by themselves; [`health`] says whether a fault touched a request; [`laws`] adds up what passed;
//! [`ends`] checks what must hold once the world is quiet.

mod decided;
pub mod ends;
mod events;
mod figures;
mod health;
mod laws;
mod leases;
mod local;
mod observer;

use crate::network::transport::CallEvent;
use crate::network::Network;
use crate::policies;
use crate::request::Request;
use crate::time::{Clock, Micros};
use crate::world::{Decision, Observer, Scenario};
use events::EventCounts;
use headgate_core::engine::{self, plan, CallId, RequestId};
use headgate_core::limit::{Charge, Group, Planner};
use headgate_core::model::Policy;
use laws::PassedCosts;
use leases::Permits;
use local::LocalCounters;
use redis_call::{CallError, HashSlot};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// What is to be sent again is sent after 10 ms; a tick of the host may be late by 2.
const AGAIN_WITHIN: Micros = 12 * crate::time::MS;

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokenRule {
    pub at: Micros,
    pub rule: &'static str,
    pub what: String,
}

impl fmt::Display for BrokenRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} s: {}: {}", self.at as f64 / 1e6, self.rule, self.what)
    }
}

/// What is known of an engine.
struct EngineRecord {
    policy: Rc<Policy>,
    planner: Rc<Planner>,
    envoy: usize,
    worker: usize,
    dropped: Option<Micros>,
}

/// A request.
struct RequestRecord {
    at: Micros,
    engine: usize,
    /// What is to be counted for it; empty where it is decided without.
    groups: Vec<Group>,
    /// The decision where nothing is to be counted.
    without: Option<headgate_core::decision::Decision>,
    id: Option<RequestId>,
    /// Its calls.
    tags: Vec<u64>,
    /// A call was refused at once, or ended without a count.
    failed: bool,
    decided: Option<DecisionRecord>,
    left: Option<Micros>,
    /// What its response cost, by calls of these numbers; `refused`: how many were refused at once.
    charges: Vec<u64>,
    charges_refused: usize,
    /// What is left of its limit, as the upstream was told.
    shown: Option<String>,
    /// When its costs were to be charged: with its response, or as its caller left.
    ended: Option<(Micros, RequestEnd)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum RequestEnd {
    Response,
    CallerLeft,
}

#[derive(Debug, Clone)]
struct DecisionRecord {
    at: Micros,
    outcome: String,
    by: String,
    passes: bool,
    by_fallback: bool,
}

/// A call.
struct CallRecord {
    engine: usize,
    /// `None`: not a request's.
    shard: Option<usize>,
    made: Micros,
    /// When the engine was told of its end, and whether that was a count.
    ended: Option<(Micros, bool)>,
    /// Among the journal's.
    execution: Option<usize>,
}

pub struct Ledger {
    pub broken: Vec<BrokenRule>,
    network: Rc<RefCell<Network>>,
    scenario: Rc<Scenario>,
    clock: Clock,
    now: Micros,
    engines: Vec<EngineRecord>,
    requests: Vec<Option<RequestRecord>>,
    by_id: BTreeMap<(usize, RequestId), usize>,
    /// The request that came last to each engine.
    arriving: BTreeMap<usize, usize>,
    calls: BTreeMap<u64, CallRecord>,
    /// How much of the journal has been read.
    read: usize,
    reported: usize,
    permits: Permits,
    /// By engine: permits taken and spent.
    taken: BTreeMap<usize, u64>,
    spent: BTreeMap<usize, u64>,
    /// By engine: what it told.
    event_counts: Vec<EventCounts>,
    /// By engine and shard: when a caller was kept waiting for all of its time, by a silent shard.
    timed_out: BTreeMap<(usize, usize), Micros>,
    /// Calls that are to be sent again: since when.
    again: BTreeMap<(usize, RequestId, u16), Micros>,
    passed_costs: PassedCosts,
    local_counters: LocalCounters,
    /// By engine and counter: what denied, since when, and until when it denies.
    denials: BTreeMap<(usize, Vec<u8>, String), Vec<Denial>>,
    /// Lines of the history, where they are wanted.
    pub lines: Option<Vec<(Micros, String)>>,
    /// What became of requests: how many of each.
    pub outcomes: BTreeMap<String, u64>,
}

/// A counter that denied a call.
struct Denial {
    charge: Charge,
    sent: Micros,
    until: Micros,
}

impl Ledger {
    pub fn new(scenario: Rc<Scenario>, network: Rc<RefCell<Network>>, clock: Clock) -> Ledger {
        let times: Vec<Micros> = scenario.arrivals.iter().map(|arrival| arrival.at).collect();
        let local_counters = LocalCounters::new(scenario.network.envoys, &times);
        Ledger {
            broken: Vec::new(),
            network,
            requests: (0..scenario.arrivals.len()).map(|_| None).collect(),
            scenario,
            clock,
            now: 0,
            engines: Vec::new(),
            by_id: BTreeMap::new(),
            arriving: BTreeMap::new(),
            calls: BTreeMap::new(),
            read: 0,
            reported: 0,
            permits: Permits::default(),
            taken: BTreeMap::new(),
            spent: BTreeMap::new(),
            event_counts: Vec::new(),
            timed_out: BTreeMap::new(),
            again: BTreeMap::new(),
            passed_costs: PassedCosts::default(),
            local_counters,
            denials: BTreeMap::new(),
            lines: None,
            outcomes: BTreeMap::new(),
        }
    }

    fn broke(&mut self, rule: &'static str, what: String) {
        self.broken.push(BrokenRule {
            at: self.now,
            rule,
            what,
        });
    }

    /// Reads what the network has noted meanwhile.
    fn read(&mut self) {
        let network = Rc::clone(&self.network);
        let network = network.borrow();
        for (rule, what) in &network.journal.broken[self.reported..] {
            self.broken.push(BrokenRule {
                at: self.now,
                rule,
                what: what.clone(),
            });
        }
        self.reported = network.journal.broken.len();
        for (index, execution) in network.journal.executions.iter().enumerate().skip(self.read) {
            let known = execution.call.tag.and_then(|tag| self.calls.get_mut(&tag));
            let again = match known {
                Some(call) => call.execution.replace(index).is_some(),
                None => true,
            };
            if again {
                let what = format!("executed twice, or by no call: {}", execution.call);
                self.broke("executed-once", what);
            }
        }
        self.read = network.journal.executions.len();
    }

    fn request(&self, caller: usize) -> Option<&RequestRecord> {
        self.requests.get(caller)?.as_ref()
    }

    /// A call of a request: was it known to be denied?
    fn note_made(&mut self, engine: usize, tag: u64, id: CallId, charges: Option<usize>) {
        self.calls.insert(
            tag,
            CallRecord {
                engine,
                shard: None,
                made: self.now,
                ended: None,
                execution: None,
            },
        );
        match (id, charges) {
            (CallId::Request { id, part }, _) => {
                self.check_again(engine, id, part);
                let shard = self.shard_of_part(engine, id, part);
                if let Some(call) = self.calls.get_mut(&tag) {
                    call.shard = shard;
                }
                let caller = self.caller_of(engine, id);
                let record = caller.and_then(|caller| self.requests[caller].as_mut());
                match record {
                    Some(record) => record.tags.push(tag),
                    None => self.broke("own-call", format!("call {tag} is of no request")),
                }
            }
            (CallId::Unawaited, Some(caller)) => {
                if let Some(record) = &mut self.requests[caller] {
                    record.charges.push(tag);
                }
            }
            _ => {}
        }
    }

    /// What is to be sent again is sent 10 ms later.
    fn check_again(&mut self, engine: usize, id: RequestId, part: u16) {
        let Some(since) = self.again.remove(&(engine, id, part)) else {
            return;
        };
        let late = self.now > since + AGAIN_WITHIN;
        if late && self.stalled(engine, since, self.now) == 0 {
            let what = format!("{id:?} is sent again after {} µs", self.now - since);
            self.broke("again-in-time", what);
        }
    }

    fn caller_of(&self, engine: usize, id: RequestId) -> Option<usize> {
        let known = self.by_id.get(&(engine, id)).copied();
        known.or_else(|| self.arriving.get(&engine).copied())
    }

    fn note_ended(&mut self, engine: usize, tag: u64, id: CallId, counted: bool) {
        let now = self.now;
        if let Some(call) = self.calls.get_mut(&tag) {
            call.ended = Some((now, counted));
        }
        match id {
            CallId::Request { id, .. } if !counted => {
                let caller = self.by_id.get(&(engine, id)).copied();
                if let Some(record) = caller.and_then(|caller| self.requests[caller].as_mut()) {
                    record.failed = true;
                }
            }
            CallId::Lease(_) if counted => self.take_permits(engine, tag),
            _ => {}
        }
    }
}

/// The shard that a key belongs to now.
fn shard_of(network: &Network, key: &[u8]) -> usize {
    network.cluster.owner(HashSlot::of(key))
}
