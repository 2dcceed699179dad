//! Records the requests and calls of a world, and checks the rules that must hold in it.
//!
//! # Layout
//! - [`observer`]: records the events of the world. This file has the records.
//! - [`decided`]: compares each decision with the replies of Redis. [`figures`] compares the reported quota.
//! - [`leases`]: the permits of engines. [`local`]: a second copy of the local counters of each Envoy.
//! - [`health`]: whether a fault can have affected a request.
//! - [`laws`]: adds up the admitted costs of each counter.
//! - [`events`]: compares the events for metrics with the decisions.
//! - [`ends`]: the rules for the end of a history, when nothing happens any more.

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

/// A retry is sent after 10 ms, and a tick of the host may be 2 ms late. In µs.
const AGAIN_WITHIN: Micros = 12 * crate::time::MS;

/// A violation of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokenRule {
    /// The time of the violation, in µs since the start.
    pub at: Micros,
    /// The name of the rule.
    pub rule: &'static str,
    /// A description of the violation.
    pub what: String,
}

impl fmt::Display for BrokenRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} s: {}: {}", self.at as f64 / 1e6, self.rule, self.what)
    }
}

/// The record of an engine.
struct EngineRecord {
    policy: Rc<Policy>,
    planner: Rc<Planner>,
    envoy: usize,
    worker: usize,
    dropped: Option<Micros>,
}

/// The record of a request.
struct RequestRecord {
    at: Micros,
    engine: usize,
    /// The groups that Redis must count; empty if the request is decided without counting.
    groups: Vec<Group>,
    /// The decision, if nothing must be counted.
    without: Option<headgate_core::decision::Decision>,
    id: Option<RequestId>,
    /// The numbers of its calls.
    tags: Vec<u64>,
    /// A call was refused immediately or ended without a count.
    failed: bool,
    decided: Option<DecisionRecord>,
    left: Option<Micros>,
    /// The numbers of the calls that charge the costs of its response.
    charges: Vec<u64>,
    /// The number of such calls that were refused immediately.
    charges_refused: usize,
    /// The remaining quota in the headers to the upstream.
    shown: Option<String>,
    /// When and how it ended. Its costs are charged then.
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

/// The record of a call.
struct CallRecord {
    engine: usize,
    /// `None`: the call does not belong to a request.
    shard: Option<usize>,
    made: Micros,
    /// When the engine received its end, and whether Redis had counted.
    ended: Option<(Micros, bool)>,
    /// The index in the journal's executions.
    execution: Option<usize>,
}

/// The records of all requests and calls of a world, and the violations found so far.
pub struct Ledger {
    /// The violations found so far.
    pub broken: Vec<BrokenRule>,
    network: Rc<RefCell<Network>>,
    scenario: Rc<Scenario>,
    clock: Clock,
    now: Micros,
    engines: Vec<EngineRecord>,
    requests: Vec<Option<RequestRecord>>,
    by_id: BTreeMap<(usize, RequestId), usize>,
    /// By engine: the request that arrived last.
    arriving: BTreeMap<usize, usize>,
    calls: BTreeMap<u64, CallRecord>,
    /// The number of executions and of broken rules that were read from the journal.
    read: usize,
    reported: usize,
    permits: Permits,
    /// By engine: permits taken and spent.
    taken: BTreeMap<usize, u64>,
    spent: BTreeMap<usize, u64>,
    /// By engine: its events.
    event_counts: Vec<EventCounts>,
    /// By engine and shard: the last timeout of a request because the shard did not reply.
    timed_out: BTreeMap<(usize, usize), Micros>,
    /// Calls that must be retried, and since when.
    again: BTreeMap<(usize, RequestId, u16), Micros>,
    passed_costs: PassedCosts,
    local_counters: LocalCounters,
    /// By engine and counter.
    denials: BTreeMap<(usize, Vec<u8>, String), Vec<Denial>>,
    /// The lines of the history, if requested.
    pub lines: Option<Vec<(Micros, String)>>,
    /// The number of requests by outcome.
    pub outcomes: BTreeMap<String, u64>,
}

/// A denial by a counter: when the request arrived, and when the denial ends.
struct Denial {
    charge: Charge,
    sent: Micros,
    until: Micros,
}

impl Ledger {
    /// A ledger for this scenario.
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

    /// Reads the new entries of the network's journal.
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
                let what = format!("executed twice, or without a call: {}", execution.call);
                self.broke("executed-once", what);
            }
        }
        self.read = network.journal.executions.len();
    }

    fn request(&self, caller: usize) -> Option<&RequestRecord> {
        self.requests.get(caller)?.as_ref()
    }

    /// Records a call, with the request that it belongs to.
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
                    None => self.broke("own-call", format!("call {tag} belongs to no request")),
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

    /// Checks that a retry is sent after 10 ms.
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

/// The shard that owns a key now.
fn shard_of(network: &Network, key: &[u8]) -> usize {
    network.cluster.owner(HashSlot::of(key))
}
