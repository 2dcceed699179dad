//! From what Redis, the local store and the verdict cache said of a request's counters to its decision.
//!
//! Counting locally after a failure happens here, when the decision asks for it.

use super::worker::Worker;
use crate::decision::{Counted, CountedBy, Decision};
use crate::limit::Group;
use crate::script::Reply;
use crate::telemetry::failures::Kind;
use crate::telemetry::{on_error_words, Report};
use crate::waiting::GroupResult;
use std::fmt::Display;
use std::time::Instant;

impl Worker {
    /// A denial by what counters said of earlier calls: Redis has nothing to add to it.
    pub(super) fn known_denial(&self, now: Instant, groups: &[Group]) -> Option<Decision> {
        let verdicts = self.verdicts.borrow();
        let charges = groups
            .iter()
            .flat_map(|group| group.charges.iter().map(move |charge| (group, charge)));
        let known = charges.filter_map(|(group, charge)| {
            let verdict = verdicts.denied(now, group, charge)?;
            Some(Counted {
                charge,
                verdict: Some(verdict),
                by: CountedBy::Cache,
            })
        });
        let known: Vec<Counted> = known.collect();
        if known.is_empty() {
            return None;
        }
        self.seen.counted(&self.policy.limits, known.iter().copied());
        Some(Decision::from_counted(&self.policy.limits, known))
    }

    /// Keeps what denied for the next calls of its kind; `sent`: when this one was sent, or before.
    pub(super) fn remember(&self, sent: Instant, groups: &[Group], results: &[Option<GroupResult>]) {
        let mut verdicts = self.verdicts.borrow_mut();
        for (group, result) in groups.iter().zip(results) {
            let Some(Ok(reply)) = result else { continue };
            for (charge, verdict) in group.charges.iter().zip(&reply.verdicts) {
                verdicts.note(sent, group, charge, verdict);
            }
        }
    }

    /// Decides by what Redis said and, where it said nothing, by the failure policy: what is to be counted locally
    /// then, is.
    pub(super) fn decide(&self, now: Instant, groups: &[Group], results: &[Option<GroupResult>]) -> Decision {
        let error = results.iter().flatten().find_map(|result| result.as_ref().err());
        self.report(
            now,
            "Redis",
            error.map(|error| (Kind::of(error), error as &dyn Display)),
        );
        let limits = &self.policy.limits;
        let mut locally = Vec::new();
        if error.is_some() && Decision::asks_locally(limits, self.counted(groups, results, &[])) {
            let count = |(group, result): (&Group, &Option<GroupResult>)| match result {
                Some(Ok(_)) => None,
                _ => self.local.count(limits, group).ok(),
            };
            locally = groups.iter().zip(results).map(count).collect();
        }
        self.seen.counted(limits, self.counted(groups, results, &locally));
        let decision = Decision::from_counted(limits, self.counted(groups, results, &locally));
        self.return_locally(&decision, groups, &locally);
        decision
    }

    /// Decides without Redis.
    pub(super) fn decide_locally(&self, now: Instant, groups: &[Group]) -> Decision {
        let limits = &self.policy.limits;
        let mut error = None;
        let mut locally = Vec::with_capacity(groups.len());
        for group in groups {
            let counted = self.local.count(limits, group);
            error = error.or(counted.as_ref().err().copied());
            locally.push(counted.ok());
        }
        let failed = error.as_ref().map(|error| (Kind::Local, error as &dyn Display));
        self.report(now, "Envoy", failed);
        self.seen.counted(limits, self.counted(groups, &[], &locally));
        let decision = Decision::from_counted(limits, self.counted(groups, &[], &locally));
        self.return_locally(&decision, groups, &locally);
        decision
    }

    /// A refused request takes nothing of the local counters that had room for it either.
    fn return_locally(&self, decision: &Decision, groups: &[Group], locally: &[Option<Reply>]) {
        if !decision.refuses() {
            return;
        }
        for (group, reply) in groups.iter().zip(locally) {
            if let Some(reply) = reply.as_ref().filter(|reply| reply.admitted) {
                self.local.give_back(group, reply);
            }
        }
    }

    /// Every counter of the request with its verdict, where there is one.
    fn counted<'a>(
        &'a self,
        groups: &'a [Group],
        results: &'a [Option<GroupResult>],
        locally: &'a [Option<Reply>],
    ) -> impl Iterator<Item = Counted<'a>> {
        let limits = &self.policy.limits;
        groups.iter().enumerate().flat_map(move |(at, group)| {
            let result = results.get(at).and_then(Option::as_ref);
            let redis = result.and_then(|result| result.as_ref().ok());
            let local = locally.get(at).and_then(Option::as_ref);
            group.charges.iter().enumerate().map(move |(n, charge)| {
                let local = local.filter(|_| self.local.counts(limits, charge));
                let reply = redis.or(local);
                Counted {
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

    /// Logs that requests are not counted as they should be and why, and when they are again.
    fn report(&self, now: Instant, who: &str, failure: Option<(Kind, &dyn Display)>) {
        let redis = &self.policy.redis;
        let cluster = redis.native.is_none().then_some(redis.cluster.as_str());
        let kind = failure.map(|(kind, _)| kind);
        match (self.failures.note(now, kind), failure) {
            (Some(Report::Failing { requests }), Some((kind, error))) => log::warn!(
                "headgate: {who} did not count {requests} request(s), {}: {}",
                on_error_words(&self.policy.limits),
                self.failures.describe(kind, error, &kind.advice(cluster))
            ),
            (Some(Report::Recovered), _) => log::info!("headgate: {who} counts again"),
            _ => {}
        }
    }
}
