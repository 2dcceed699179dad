//! What operators see of one worker: the core's series, log lines and sketch, on proxy-wasm.
//!
//! Everything about a request is read before its reply is sent: afterwards it may be gone.

use super::attributes::{self, RequestAttributes};
use super::host;
use super::outcome::{self, Facts};
use crate::config::Policy;
use crate::drill::TOP_EVERY;
use crate::decision::{Counted, Decision, Outcome};
use crate::earliest::earliest;
use crate::identify::{Hasher, Headers};
use crate::json::Object;
use crate::lease::Event;
use crate::limit::{Group, Limit};
use crate::telemetry::denials::{trace_id, Denials, Line};
use crate::telemetry::metrics::{Levels, Metrics, OTHER};
use crate::telemetry::top::Top;
use crate::waiting::GroupResult;
use std::cell::{Cell, RefCell};
use std::time::Instant;

pub struct Seen {
    /// `None`: turned off.
    metrics: Option<RefCell<Metrics<host::Metrics>>>,
    denials: RefCell<Denials>,
    top: RefCell<Top>,
    /// When the sketch is told; `None`: it is empty.
    top_due: Cell<Option<Instant>>,
}

impl Seen {
    /// Defines the series: call it from `on_configure`.
    pub fn new(policy: &Policy, hasher: &Hasher, version: u64) -> Seen {
        let on = policy.metrics.enabled && policy.enabled;
        let names = policy.limits.iter().map(|limit| limit.name.as_str());
        Seen {
            metrics: on.then(|| RefCell::new(Metrics::new(policy, hasher, host::Metrics, version))),
            denials: RefCell::new(Denials::new(
                &policy.instance,
                policy.log.denials_per_second,
                names,
            )),
            top: RefCell::default(),
            top_due: Cell::new(None),
        }
    }

    /// What the limits of one request said.
    pub fn counted<'a>(&self, limits: &[Limit], counted: impl IntoIterator<Item = Counted<'a>>) {
        self.with_metrics(|metrics| {
            for counted in counted {
                if let Some(limit) = limits.get(counted.charge.limit) {
                    metrics.counted(&counted, limit.on_error);
                }
            }
        });
    }

    /// Permits were taken in advance, or ended unspent.
    pub fn leased(&self, now: Instant, events: impl IntoIterator<Item = Event>) {
        self.with_metrics(|metrics| events.into_iter().for_each(|event| metrics.leased(now, event)));
    }

    /// A caller left before its request was decided.
    pub fn abandoned(&self) {
        self.with_metrics(Metrics::abandoned);
    }

    /// A request has waited since `since`.
    pub fn waited(&self, micros: u64, results: &[Option<GroupResult>]) {
        self.with_metrics(|metrics| metrics.waited(micros, results));
    }

    /// Calls ended like this that no request waited for.
    pub fn unsent(&self, results: &[Option<GroupResult>]) {
        self.with_metrics(|metrics| metrics.called(results));
    }

    /// The request of the effective context is decided and its figures stand in filter state; `groups` is what was
    /// counted, `retry_after` in seconds, as told. Nothing is asked of the host that is not needed: most denials are
    /// known from memory and cost little beside.
    pub fn decided(
        &self,
        policy: &Policy,
        decision: &Decision,
        facts: &Facts,
        groups: &[Group],
        retry_after: Option<u64>,
    ) {
        self.with_metrics(|metrics| metrics.decided(decision));
        let told = decision.told.filter(|_| decision.outcome == Outcome::Denied);
        let Some((index, limit)) = told.and_then(|told| Some((told.limit, policy.limits.get(told.limit)?)))
        else {
            return;
        };
        let left_out = self
            .denials
            .try_borrow_mut()
            .ok()
            .and_then(|mut denials| denials.note(index, facts.unix_ms / 1_000, &host::SharedValues));
        if self.metrics.is_none() && left_out.is_none() {
            return;
        }
        let route;
        let mut charges = groups.iter().flat_map(|group| &group.charges);
        let charge = charges.find(|charge| charge.limit == index);
        let endpoint = match charge.and_then(|charge| charge.path_pattern(&policy.limits)) {
            Some(pattern) => pattern,
            None => {
                route = attributes::route().unwrap_or_default();
                std::str::from_utf8(&route)
                    .ok()
                    .filter(|route| !route.is_empty())
                    .unwrap_or(OTHER)
            }
        };
        self.with_metrics(|metrics| metrics.rejected(index, endpoint, facts.client));
        if let (Some(_), Some(client), Ok(mut top)) = (&self.metrics, facts.client, self.top.try_borrow_mut())
        {
            top.note(client, index);
            if self.top_due.get().is_none() {
                self.top_due.set(Some(Instant::now() + TOP_EVERY));
            }
        }
        if let Some(left_out) = left_out {
            let line = Line {
                instance: &policy.instance,
                client: facts.client,
                limit: &limit.name,
                by: decision.by.map_or("", outcome::by_word),
                endpoint,
                retry_after,
                left_out,
                ..Line::default()
            };
            match facts.attributes {
                Some(attributes) => write(line, attributes),
                None => write(line, &RequestAttributes::read()),
            }
        }
    }

    /// A dying VM tells its last requests' ends from within whatever it was doing; what that held is left alone.
    fn with_metrics(&self, tell: impl FnOnce(&mut Metrics<host::Metrics>)) {
        if let Some(mut metrics) = self
            .metrics
            .as_ref()
            .and_then(|metrics| metrics.try_borrow_mut().ok())
        {
            tell(&mut metrics);
        }
    }

    /// When [`Seen::hand_on`] has something to do next.
    pub fn due(&self) -> Option<Instant> {
        let metrics = self.metrics.as_ref().and_then(|metrics| metrics.borrow().due());
        earliest(&[metrics, self.top_due.get()])
    }

    /// Hands on what is due.
    pub fn hand_on(&self, now: Instant, policy: &Policy, levels: impl FnOnce() -> Levels) {
        let Some(metrics) = &self.metrics else { return };
        let levels = levels();
        if metrics.borrow().is_due(now, levels) {
            metrics.borrow_mut().hand_on(levels);
        }
        if self.top_due.get().is_some_and(|due| due <= now) {
            self.top_due.set(None);
            let name = |limit: usize| policy.limits.get(limit).map_or("", |limit| limit.name.as_str());
            let clients = self.top.borrow_mut().take(name);
            let mut line = Object::new();
            line.text("event", "most_rejected");
            line.text("instance", &policy.instance);
            line.number("seconds", TOP_EVERY.as_secs());
            line.json("clients", &clients);
            log::info!("{}", line.finish());
        }
    }
}

/// The longest text of a caller's in a log line, in bytes.
const MAX_TEXT: usize = 128;

/// Writes a denial's line, with what only the request's headers know.
fn write(line: Line<'_>, attributes: &RequestAttributes) {
    let text = |name: &str| {
        let value = attributes.header(name).value()?;
        Some(String::from_utf8_lossy(value.get(..MAX_TEXT).unwrap_or(&value)).into_owned())
    };
    let [method, request_id, w3c, b3, x_b3] =
        [":method", "x-request-id", "traceparent", "b3", "x-b3-traceid"].map(text);
    let line = Line {
        method: method.as_deref(),
        request_id: request_id.as_deref(),
        trace_id: trace_id(w3c.as_deref(), b3.as_deref(), x_b3.as_deref()),
        ..line
    };
    log::warn!("{}", line.json());
}
