//! Takes the engine's events: adds them up for the proxy's metrics, and keeps the sketch of the most rejected clients.

use super::meter::Meter;
use super::metrics::{LimitResult, Metrics};
use super::top::{Rejected, Top};
use crate::earliest::earliest;
use crate::engine::{Event, LogLine, Now};
use crate::identify::Hasher;
use crate::model::Policy;
use crate::redis::Gauges;
use serde::Serialize;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A log line with the most rejected clients since the last one.
#[derive(Serialize)]
#[serde(tag = "event", rename = "most_rejected")]
struct MostRejected<'a> {
    instance: &'a str,
    /// The period that it covers, at most, in seconds.
    seconds: u64,
    clients: Vec<Rejected<'a>>,
}

/// The telemetry of one worker.
pub struct Telemetry<M: Meter> {
    policy: Rc<Policy>,
    /// `None`: turned off.
    metrics: Option<Metrics<M>>,
    top: Top,
    /// How often the most rejected clients are logged.
    top_every: Duration,
    /// When they are logged next; `None`: no request was rejected.
    top_due: Option<Instant>,
}

impl<M: Meter> Telemetry<M> {
    /// Defines the series: call it when a configuration is accepted. `version` identifies the configuration.
    pub fn new(
        policy: Rc<Policy>,
        hasher: &Hasher,
        meter: M,
        version: u64,
        top_every: Duration,
    ) -> Telemetry<M> {
        let on = policy.metrics.enabled && policy.enabled;
        Telemetry {
            metrics: on.then(|| Metrics::new(&policy, hasher, meter, version)),
            top: Top::default(),
            top_every,
            top_due: None,
            policy,
        }
    }

    /// Takes one event. Returns it if it is a log line.
    pub fn note(&mut self, now: Instant, event: Event) -> Option<LogLine> {
        if let Event::Line(line) = event {
            return Some(line);
        }
        let metrics = self.metrics.as_mut()?;
        match event {
            Event::Decided { outcome, by } => metrics.decided(now, outcome, by),
            Event::Counted {
                limit,
                enforced,
                verdict,
                by,
            } => metrics.counted(
                now,
                &LimitResult {
                    limit,
                    enforced,
                    verdict,
                    by,
                    on_error: self.policy.limits.get(limit)?.on_error,
                },
            ),
            Event::Waited { micros } => metrics.waited(now, micros),
            Event::Called { outcome, answer } => metrics.called(outcome, answer),
            Event::Clock { ahead_ms } => metrics.clock(now, ahead_ms),
            Event::Abandoned => metrics.abandoned(now),
            Event::Lease(event) => metrics.leased(now, event),
            Event::Denied {
                limit,
                endpoint,
                client,
            } => {
                let endpoint = endpoint.name(self.policy.limits.get(limit));
                metrics.rejected(limit, endpoint, client.as_deref());
                if let Some(client) = &client {
                    self.top.note(client, limit);
                    self.top_due.get_or_insert(now + self.top_every);
                }
            }
            Event::BrokenCosts(costs) => metrics.broken_costs(now, costs),
            Event::SplitCall => metrics.split_call(now),
            Event::Evicted(counters) => metrics.evicted(now, counters),
            Event::Line(..) => {}
        }
        None
    }

    /// When [`Telemetry::on_timeout`] is due next.
    pub fn due(&self) -> Option<Instant> {
        let metrics = self.metrics.as_ref().and_then(Metrics::due);
        earliest(&[metrics, self.top_due])
    }

    /// Passes what is due to the proxy. Returns a log line, if there is one.
    pub fn on_timeout(&mut self, now: Now, gauges: Gauges) -> Option<String> {
        let metrics = self.metrics.as_mut()?;
        if metrics.is_due(now.monotonic, gauges) {
            metrics.hand_on(now, gauges);
        }
        self.top_due.filter(|due| *due <= now.monotonic)?;
        self.top_due = None;
        let limits = &self.policy.limits;
        let clients = self
            .top
            .take(|limit| limits.get(limit).map_or("", |limit| limit.name.as_str()));
        let line = MostRejected {
            instance: &self.policy.instance,
            seconds: self.top_every.as_secs(),
            clients,
        };
        serde_json::to_string(&line).ok()
    }
}
