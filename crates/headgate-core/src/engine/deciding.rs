//! Makes the decision on a request from the results of Redis, the local store and the verdict cache.
//!
//! After a failure, also counts locally if `on_error` requires it.

use super::event::{Event, Events};
use super::local::Local;
use super::{CallId, Engine, Now};
use crate::decision::{CountedBy, CounterResult, Decision};
use crate::limit::{Group, Limit};
use crate::local::SharedData;
use crate::redis::Level;
use crate::redis::RedisCall;
use crate::results::GroupResult;
use crate::script::ScriptReply;
use crate::telemetry::failures::FailureKind;
use crate::telemetry::{on_error_words, Report};
use std::fmt::Display;
use std::time::Instant;

impl<T: RedisCall<CallId>, S: SharedData + Clone> Engine<T, S> {
    /// A denial from the verdict cache: Redis would deny as well.
    pub(super) fn known_denial(&mut self, now: Instant, groups: &[Group]) -> Option<Decision> {
        let charges = groups
            .iter()
            .flat_map(|group| group.charges.iter().map(move |charge| (group, charge)));
        let verdicts = &self.verdicts;
        let known = charges.filter_map(|(group, charge)| {
            let verdict = verdicts.denied(now, group, charge)?;
            Some(CounterResult {
                charge,
                verdict: Some(verdict),
                by: CountedBy::Cache,
            })
        });
        let known: Vec<CounterResult> = known.collect();
        if known.is_empty() {
            return None;
        }
        note_counted(&mut self.events, known.iter().copied());
        Some(Decision::from_counted(&self.policy.limits, known))
    }

    /// Caches denials, so that equal calls are denied from memory. `sent`: the time at which this call was sent, or an
    /// earlier time.
    pub(super) fn remember(&mut self, sent: Instant, groups: &[Group], results: &[Option<GroupResult>]) {
        for (group, result) in groups.iter().zip(results) {
            let Some(Ok(reply)) = result else { continue };
            for (charge, verdict) in group.charges.iter().zip(&reply.verdicts) {
                self.verdicts.note(sent, group, charge, verdict);
            }
        }
    }

    /// Decides from the results of Redis. For groups without a reply, applies `on_error`, which may require counting
    /// locally.
    pub(super) fn decide(&mut self, now: Now, groups: &[Group], results: &[Option<GroupResult>]) -> Decision {
        let error = results.iter().flatten().find_map(|result| result.as_ref().err());
        let failure = error.map(|error| (FailureKind::of(error), error as &dyn Display));
        self.log_failure(now.monotonic, "Redis", failure);
        let mut locally = Vec::new();
        if error.is_some()
            && Decision::asks_locally(
                &self.policy.limits,
                counted(&self.policy.limits, &self.local, groups, results, &[]),
            )
        {
            locally = vec![None; groups.len()];
            for ((group, result), reply) in groups.iter().zip(results).zip(&mut locally) {
                if !matches!(result, Some(Ok(_))) {
                    *reply = self.local.count(&self.policy.limits, group, now).ok();
                }
            }
            self.note_evicted();
        }
        self.decide_by(now, groups, results, &locally)
    }

    /// Decides without Redis.
    pub(super) fn decide_locally(&mut self, now: Now, groups: &[Group]) -> Decision {
        let mut error = None;
        let mut locally = Vec::with_capacity(groups.len());
        for group in groups {
            let counted = self.local.count(&self.policy.limits, group, now);
            error = error.or(counted.as_ref().err().copied());
            locally.push(counted.ok());
        }
        self.note_evicted();
        let failure = error
            .as_ref()
            .map(|error| (FailureKind::Local, error as &dyn Display));
        self.log_failure(now.monotonic, "Envoy", failure);
        self.decide_by(now, groups, &[], &locally)
    }

    /// Decides from all results. If the request is refused, the local counters that admitted it are refunded.
    fn decide_by(
        &mut self,
        now: Now,
        groups: &[Group],
        results: &[Option<GroupResult>],
        locally: &[Option<ScriptReply>],
    ) -> Decision {
        let limits = &self.policy.limits;
        let counted = counted(limits, &self.local, groups, results, locally);
        note_counted(&mut self.events, counted.clone());
        let decision = Decision::from_counted(limits, counted);
        if decision.refuses() {
            for (group, reply) in groups.iter().zip(locally) {
                if let Some(reply) = reply.as_ref().filter(|reply| reply.admitted) {
                    self.local.give_back(group, reply, now);
                }
            }
        }
        decision
    }

    pub(super) fn note_evicted(&mut self) {
        let evicted = self.local.take_evicted();
        if evicted > 0 {
            self.events.note(Event::Evicted(evicted));
        }
    }

    /// Logs that requests are not counted, with the reason, and later that they are counted again.
    fn log_failure(&mut self, now: Instant, who: &str, failure: Option<(FailureKind, &dyn Display)>) {
        let kind = failure.map(|(kind, _)| kind);
        match (self.failures.note(now, kind), failure) {
            (Some(Report::Failing { requests }), Some((kind, error))) => {
                let redis = &self.policy.redis;
                // On Higress no stream is involved.
                let cluster = redis.native.is_none().then_some(redis.cluster.as_str());
                let advice = kind.advice(cluster);
                let described = self.failures.describe(kind, error, &advice);
                let does = on_error_words(&self.policy.limits);
                let line =
                    format!("headgate: {who} did not count {requests} request(s); applying on_error: {does}; reason: {described}");
                self.events.line(Level::Warn, line);
            }
            (Some(Report::Recovered), _) => self
                .events
                .line(Level::Info, format!("headgate: {who} counts again")),
            _ => {}
        }
    }
}

/// Notes the verdicts of a request's limits for metrics.
pub(super) fn note_counted<'a>(events: &mut Events, counted: impl IntoIterator<Item = CounterResult<'a>>) {
    for CounterResult { charge, verdict, by } in counted {
        events.note(Event::Counted {
            limit: charge.limit,
            enforced: charge.enforced,
            verdict,
            by,
        });
    }
}

/// Every counter of a request with its verdict, if there is one.
fn counted<'a, S: SharedData>(
    limits: &'a [Limit],
    local: &'a Local<S>,
    groups: &'a [Group],
    results: &'a [Option<GroupResult>],
    locally: &'a [Option<ScriptReply>],
) -> impl Iterator<Item = CounterResult<'a>> + Clone {
    groups.iter().enumerate().flat_map(move |(at, group)| {
        let result = results.get(at).and_then(Option::as_ref);
        let redis = result.and_then(|result| result.as_ref().ok());
        let reply = locally.get(at).and_then(Option::as_ref);
        group.charges.iter().enumerate().map(move |(n, charge)| {
            let reply = redis.or(reply.filter(|_| local.counts(limits, charge)));
            CounterResult {
                charge,
                verdict: reply.and_then(|reply| reply.verdicts.get(n)).copied(),
                by: match redis {
                    Some(_) => CountedBy::Redis,
                    None => CountedBy::Local,
                },
            }
        })
    })
}
