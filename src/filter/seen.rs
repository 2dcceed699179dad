//! What operators see of one worker: the core's series, log lines and sketch, on proxy-wasm.
//!
//! Everything about a request is read before its reply is sent: afterwards it may be gone.

use super::attributes::RequestAttributes;
use super::host;
use super::outcome::{self, Facts};
use crate::config::Policy;
use crate::decision::{Counted, Decision, Outcome};
use crate::identify::{Attributes, Hasher};
use crate::limit::{normalise, Limit};
use crate::telemetry::denials::{trace_id, Denials, Line};
use crate::telemetry::metrics::{Levels, Metrics, OTHER};
use crate::telemetry::top::Top;
use crate::waiting::GroupResult;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// The most rejected clients are told this often.
const TOP_EVERY: Duration = Duration::from_secs(60);

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

    /// A request has waited since `since`.
    pub fn waited(&self, micros: u64, results: &[Option<GroupResult>]) {
        self.with_metrics(|metrics| metrics.waited(micros, results));
    }

    /// Not one call of a request could be sent.
    pub fn unsent(&self, results: &[Option<GroupResult>]) {
        self.with_metrics(|metrics| metrics.called(results));
    }

    /// The request of the effective context is decided and its figures stand in filter state; `retry_after`: in
    /// seconds, as told.
    pub fn decided(&self, policy: &Policy, decision: &Decision, facts: &Facts, retry_after: Option<u64>) {
        let now = Instant::now();
        self.with_metrics(|metrics| metrics.decided(now, decision));
        let told = decision.told.filter(|_| decision.outcome == Outcome::Denied);
        let Some((index, limit)) = told.and_then(|told| Some((told.limit, policy.limits.get(told.limit)?)))
        else {
            return;
        };
        let left_out =
            self.denials.try_borrow_mut().ok().and_then(|mut denials| {
                denials.note(index, host::unix_us() / 1_000_000, &host::SharedValues)
            });
        if self.metrics.is_none() && left_out.is_none() {
            return;
        }
        let attributes = RequestAttributes::read();
        let route;
        let endpoint = match path_pattern(limit, &attributes) {
            Some(pattern) => pattern,
            None => {
                route = attributes.route().unwrap_or_default();
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
                self.top_due.set(Some(now + TOP_EVERY));
            }
        }
        if let Some(left_out) = left_out {
            let header = |name: &str| attributes.header(name).value();
            let [method, request_id, w3c, b3, x_b3] =
                [":method", "x-request-id", "traceparent", "b3", "x-b3-traceid"].map(header);
            let text = |value: &'_ Option<std::borrow::Cow<'_, [u8]>>| {
                let value = value.as_ref()?;
                Some(String::from_utf8_lossy(value.get(..MAX_TEXT).unwrap_or(value)).into_owned())
            };
            let [method, request_id, w3c, b3, x_b3] = [&method, &request_id, &w3c, &b3, &x_b3].map(text);
            let line = Line {
                instance: &policy.instance,
                client: facts.client,
                limit: &limit.name,
                by: decision.by.map_or("", outcome::by_word),
                endpoint,
                method: method.as_deref(),
                retry_after,
                request_id: request_id.as_deref(),
                trace_id: trace_id(w3c.as_deref(), b3.as_deref(), x_b3.as_deref()),
                left_out,
            };
            log::warn!("{}", line.json());
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
        [metrics, self.top_due.get()].into_iter().flatten().min()
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
            let line = json!({
                "event": "most_rejected",
                "instance": policy.instance,
                "seconds": TOP_EVERY.as_secs(),
                "clients": clients,
            });
            log::info!("{line}");
        }
    }
}

/// The longest text of a caller's in a log line, in bytes.
const MAX_TEXT: usize = 128;

/// The limit's first path pattern that fits the request, as written.
fn path_pattern<'a>(limit: &'a Limit, attributes: &RequestAttributes) -> Option<&'a str> {
    let mut patterns = limit
        .matches
        .iter()
        .filter_map(|condition| condition.path.as_ref())
        .peekable();
    patterns.peek()?;
    let path = attributes.header(":path").value()?;
    let path = normalise(&path);
    patterns
        .find(|pattern| pattern.matches(&path))
        .map(|pattern| pattern.text())
}
