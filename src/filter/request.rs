//! One request on its way: identified and planned when its headers come, paused while Redis counts it.

use super::attributes::RequestAttributes;
use super::host::{self, HeaderMap};
use super::outcome::{self, Afterwards, Facts};
use super::response;
use super::seen::Seen;
use super::worker::{Counting, Worker};
use crate::abi::HeadersStatus;
use crate::config::UpstreamHeaders;
use crate::decision::{Decision, Outcome};
use crate::headers::Family;
#[cfg(feature = "drill")]
use crate::identify::Headers;
use crate::limit::{Group, Plan};
use crate::protocol::Protocol;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What the worker needs of a request that waits.
pub struct Caller {
    /// The host's number of the request.
    pub context: u32,
    pub protocol: Protocol,
    /// Another instance has decided before this one.
    pub earlier: bool,
    pub client: Option<String>,
    pub afterwards: RefCell<Afterwards>,
}

impl Caller {
    pub fn facts<'a>(&'a self, seen: &'a Seen, redis_us: Option<u64>) -> Facts<'a> {
        Facts {
            attributes: None,
            unix_ms: host::unix_us() / 1_000,
            seen,
            client: self.client.as_deref(),
            redis_us,
            protocol: self.protocol,
            earlier: self.earlier,
        }
    }
}

/// The HTTP context. The host may call it while one of its callbacks runs, so that it is changed by cells alone.
pub struct Request {
    context: u32,
    worker: Rc<Worker>,
    /// The number under which the request waits.
    waiting: Cell<Option<u64>>,
    caller: Cell<Option<Rc<Caller>>>,
    afterwards: Cell<Afterwards>,
}

impl Request {
    pub fn new(context: u32, worker: Rc<Worker>) -> Request {
        Request {
            context,
            worker,
            waiting: Cell::default(),
            caller: Cell::default(),
            afterwards: Cell::default(),
        }
    }

    /// Identifies and plans; a decision where nothing is to be counted, else the counters to ask for.
    fn plan(&self, attributes: &RequestAttributes) -> (Option<String>, Result<Vec<Group>, Decision>) {
        let worker = &self.worker;
        let identity = worker.planner.identify(attributes);
        let name = identity.client().map(ToString::to_string);
        let next = match worker.planner.plan(attributes, &identity) {
            Plan::Exempt => Err(Decision::uncounted(Outcome::Exempt)),
            Plan::Count {
                groups,
                no_client,
                broken_costs,
            } => {
                worker.note_broken_costs(broken_costs);
                let without =
                    no_client.and_then(|why| Decision::no_client(&worker.policy, why, !groups.is_empty()));
                match without {
                    Some(decision) => Err(decision),
                    None if groups.is_empty() => Err(Decision::uncounted(Outcome::Allowed)),
                    None => Ok(groups),
                }
            }
        };
        (name, next)
    }

    /// What is left to do, once.
    fn take_afterwards(&self) -> Afterwards {
        match self.caller.take() {
            Some(caller) => caller.afterwards.take(),
            None => self.afterwards.take(),
        }
    }

    /// Carries out a decision that needed no waiting.
    fn decided(
        &self,
        decision: &Decision,
        caller: &Caller,
        attributes: &RequestAttributes,
        groups: Vec<Group>,
    ) -> HeadersStatus {
        let facts = Facts {
            attributes: Some(attributes),
            ..caller.facts(&self.worker.seen, None)
        };
        let afterwards = outcome::carry_out(&self.worker.policy, decision, &facts, groups);
        self.afterwards.set(afterwards);
        self.worker.wake_for_metrics();
        if decision.refuses() {
            HeadersStatus::StopAllIterationAndWatermark
        } else {
            HeadersStatus::Continue
        }
    }

    pub fn on_request_headers(&self) -> HeadersStatus {
        if !self.worker.policy.enabled {
            return HeadersStatus::Continue;
        }
        let attributes = RequestAttributes::read();
        let earlier = outcome::decided_earlier();
        if !earlier {
            #[cfg(feature = "drill")]
            if let Some(value) = attributes.header("x-headgate-drill").value() {
                crate::drill::trap_on(&value, b"headgate-drill-filter");
            }
            strip(&attributes);
        }
        let protocol = Protocol::of(&attributes);
        let (client, next) = self.plan(&attributes);
        let caller = Rc::new(Caller {
            context: self.context,
            protocol,
            earlier,
            client,
            afterwards: RefCell::default(),
        });
        let groups = match next {
            Ok(groups) => groups,
            Err(decision) => return self.decided(&decision, &caller, &attributes, Vec::new()),
        };
        match self.worker.count(caller.clone(), groups) {
            Counting::UnderWay { number } => {
                self.waiting.set(Some(number));
                self.caller.set(Some(caller));
                HeadersStatus::StopAllIterationAndWatermark
            }
            Counting::Decided { decision, groups } => self.decided(&decision, &caller, &attributes, groups),
        }
    }

    pub fn on_response_headers(&self) {
        if let Afterwards::Answered { figures, later, by } = self.take_afterwards() {
            response::answered(&self.worker, &figures, &later, by);
        }
    }

    /// No instance says anything in trailers: what stands there of quotas is the caller's.
    pub fn on_request_trailers(&self) {
        if self.worker.policy.enabled {
            strip_trailers(host::Map::RequestTrailers);
        }
    }

    /// And here it is the upstream's.
    pub fn on_response_trailers(&self) {
        let policy = &self.worker.policy;
        if policy.enabled && policy.response.upstream_headers == UpstreamHeaders::Replace {
            strip_trailers(host::Map::ResponseTrailers);
        }
    }
}

/// The host deletes the context as soon as the request is done: that is told once.
impl Drop for Request {
    fn drop(&mut self) {
        if let Some(number) = self.waiting.take() {
            self.worker.leave(number);
        }
        if let Afterwards::Answered { later, by, .. } = self.take_afterwards() {
            response::left(&self.worker, &later, by);
        }
    }
}

fn strip_trailers(map: host::Map) {
    host::remove_all(map, &HeaderMap::read(map), |name| Family::of(name).is_some());
}

/// Takes away what only the filter may say: the first one in the chain, as the next finds the first's figures here.
fn strip(attributes: &RequestAttributes) {
    host::remove_all(host::Map::Request, attributes.headers(), |name| {
        Family::of(name).is_some()
    });
}
