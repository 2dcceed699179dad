//! Compares each decision with the replies of Redis and with the clock.

use super::figures;
use super::laws::{CounterStore, PassedCall};
use super::{DecisionRecord, Denial, Ledger, RequestRecord};
use crate::time::{Micros, MS};
use crate::world::Decision;
use headgate_core::decision::{CountedBy, CounterResult, Decision as Expected, Outcome};
use headgate_core::headers;
use headgate_core::limit::{Charge, Form, Group, OnError, Verdict};
use headgate_core::model::Store;

/// How late a decision may be without a stall, in µs: a tick of the host, and the decisions that are carried out before it.
const SLACK: Micros = 5 * MS;

/// How late a decision may be after a stall, in µs: two heartbeats and a grace period, see `headgate_core::stall`.
const GRACE: Micros = 60 * MS;

impl Ledger {
    /// Checks that a request that waits for Redis is not already denied by a cached verdict.
    pub(super) fn check_asks_redis(&mut self, caller: usize) {
        let Some(record) = self.request(caller) else {
            return;
        };
        let charges = record
            .groups
            .iter()
            .flat_map(|group| group.charges.iter().map(move |charge| (group, charge)));
        let known = charges
            .filter(|(group, charge)| self.is_denied(record.engine, group, charge))
            .count();
        if known > 0 {
            self.broke(
                "asks-for-known",
                format!("request {caller} calls Redis, although {known} limits deny it by cached verdicts"),
            );
        }
    }

    /// Whether an earlier denial of this engine is still valid for the charge.
    fn is_denied(&self, engine: usize, group: &Group, charge: &Charge) -> bool {
        let settings = &self.engines[engine].policy.verdict_cache;
        let max_age = settings.max_age.as_micros() as Micros;
        let key = (engine, group.keys[charge.key].clone(), charge.field.to_string());
        let alike = |denial: &&Denial| {
            let known = &denial.charge;
            let need = |charge: &Charge| {
                if charge.charged_on_response {
                    1
                } else {
                    charge.cost
                }
            };
            known.rate == charge.rate && known.algorithm == charge.algorithm && need(known) == need(charge)
        };
        let now = self.now;
        // The cache counts in whole milliseconds, rounded down.
        let holds = |denial: &Denial| now + MS <= denial.until && now < denial.sent + max_age;
        let mut denials = self.denials.get(&key).into_iter().flatten().rev().filter(alike);
        // A later verdict on the same counter replaces an earlier one. A small cache evicts entries.
        charge.enforced && settings.entries > 100 && denials.next().is_some_and(holds)
    }

    pub(super) fn check_decision(&mut self, caller: usize, decision: &Decision<'_>) {
        let Some(mut record) = self.requests[caller].take() else {
            return self.broke("decided-once", format!("request {caller} never arrived"));
        };
        if record.decided.is_some() || record.left.is_some() {
            let what = format!("request {caller} is decided again, or after its caller left");
            self.broke("decided-once", what);
        }
        let request = decision.request;
        let decided = DecisionRecord {
            at: self.now,
            outcome: request.state("ratelimit_decision").to_owned(),
            by: request.state("ratelimit_by").to_owned(),
            passes: decision.reply.is_none(),
            by_fallback: decision.by_fallback,
        };
        let word = match decision.by_fallback {
            true => "fallback".to_owned(),
            false => format!("{} {}", decided.outcome, decided.by),
        };
        if self.lines.is_some() {
            let now = self.now;
            let line = format!(
                "request {caller} is decided: {word} {} {} of {}",
                request.state("ratelimit_name"),
                request.state("ratelimit_remaining"),
                request.state("ratelimit_limit")
            );
            crate::world::Observer::line(self, now, line);
        }
        *self.outcomes.entry(word).or_default() += 1;
        if let Err((rule, what)) = self.compare(&record, &decided, decision) {
            self.broke(
                rule,
                format!("request {caller} of engine {}: {what}", record.engine),
            );
        }
        record.decided = Some(decided);
        let shown = request
            .headers
            .iter()
            .find(|(name, _)| name == headers::REMAINING);
        record.shown = shown.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        self.requests[caller] = Some(record);
    }

    fn compare(
        &mut self,
        record: &RequestRecord,
        decided: &DecisionRecord,
        decision: &Decision<'_>,
    ) -> Result<(), Mismatch> {
        if decided.by_fallback {
            return self.compare_fallback(record, decided);
        }
        if let Some(without) = &record.without {
            let same = decided.outcome == without.outcome.as_str() && decided.passes != without.refuses();
            return ensure(same, "decision", || format!("not {without:?} but {decided:?}"));
        }
        self.check_time(record, decided)?;
        let verdicts = self.verdicts(record);
        let counted = counted(&record.groups, &verdicts);
        let policy = self.engines[record.engine].policy.clone();
        let expected = Expected::from_counted(&policy.limits, counted.iter().copied());
        match (decided.outcome.as_str(), decided.by.as_str()) {
            (_, "cache") => self.compare_cache(record, decided)?,
            (_, "lease") => self.spend_permits(record, decided)?,
            (_, "local") => {
                let missing = verdicts.iter().any(Option::is_none);
                let by_policy = policy.store == Store::Local;
                ensure(missing || by_policy, "decision", || {
                    format!("{decided:?} although Redis counted all: {expected:?}")
                })?;
                self.note_local(record, decided, &verdicts);
                self.compare_local(record, decided, &verdicts)?;
            }
            _ => {
                let same = decided.outcome == expected.outcome.as_str()
                    && decided.passes != expected.refuses()
                    && decided.by == expected.by.map_or("", CountedBy::as_str);
                ensure(same, "decision", || {
                    format!("not {expected:?} but {decided:?}, of {verdicts:?}")
                })?;
                figures::compare(&policy, &expected, decision)?;
                self.note_counted(record, &expected, decided);
            }
        }
        if decided.passes {
            figures::check_headers(decision)?;
        }
        let uncounted = decided.by == "local" || decided.outcome.starts_with("failed");
        if uncounted && policy.store == Store::Redis {
            let timeout = policy.redis.timeout.as_micros() as Micros;
            let in_time = decided.at >= record.at + timeout;
            ensure(record.failed || in_time, "too-early", || {
                format!(
                    "decided without Redis {} µs after its arrival, without a failure",
                    decided.at - record.at
                )
            })?;
            let healthy = self.is_healthy(record, decided.at);
            ensure(!healthy, "healthy", || {
                format!("{decided:?} although no fault affected it")
            })?;
        }
        Ok(())
    }

    /// Checks a decision of the shell after the engine was lost.
    fn compare_fallback(&self, record: &RequestRecord, decided: &DecisionRecord) -> Result<(), Mismatch> {
        let limits = &self.engines[record.engine].policy.limits;
        let charges = record.groups.iter().flat_map(|group| &group.charges);
        let refuses = charges
            .filter(|charge| charge.enforced)
            .any(|charge| limits[charge.limit].on_error == OnError::Deny);
        ensure(refuses != decided.passes, "decision", || {
            format!("expected of the fallback: refuses is {refuses}")
        })
    }

    fn check_time(&self, record: &RequestRecord, decided: &DecisionRecord) -> Result<(), Mismatch> {
        let timeout = self.engines[record.engine].policy.redis.timeout.as_micros() as Micros;
        let deadline = record.at + timeout;
        let stalled = self.stalled(record.engine, record.at.saturating_sub(2 * timeout), decided.at);
        let latest = match stalled {
            0 => deadline + SLACK,
            stalled => deadline + timeout + stalled + GRACE,
        };
        ensure(decided.at <= latest, "in-time", || {
            format!("decided {} µs after its deadline", decided.at - deadline)
        })
    }

    /// The verdict of Redis on each charge, if the engine received it.
    fn verdicts(&self, record: &RequestRecord) -> Vec<Option<Verdict>> {
        let network = self.network.borrow();
        let known = |tag: &&u64| self.calls[*tag].ended.is_some_and(|(_, counted)| counted);
        let executions = record.tags.iter().filter(known);
        let executions: Vec<_> = executions
            .filter_map(|tag| self.calls[tag].execution)
            .map(|index| &network.journal.executions[index])
            .collect();
        let of = |group: &Group, charge: &Charge| {
            executions.iter().find_map(|execution| {
                let charges = execution.call.group.charges.iter();
                let at = charges
                    .enumerate()
                    .position(|(_, known)| is_same(&execution.call.group, known, group, charge))?;
                execution.result.verdicts.get(at).copied()
            })
        };
        let groups = record.groups.iter();
        groups
            .flat_map(|group| group.charges.iter().map(move |charge| (group, charge)))
            .map(|(group, charge)| of(group, charge))
            .collect()
    }

    /// Checks that a denial from the cache has an earlier denial by Redis.
    fn compare_cache(&self, record: &RequestRecord, decided: &DecisionRecord) -> Result<(), Mismatch> {
        let now = self.now;
        let groups = record.groups.iter();
        let mut charges = groups.flat_map(|group| group.charges.iter().map(move |charge| (group, charge)));
        let max_age = self.engines[record.engine]
            .policy
            .verdict_cache
            .max_age
            .as_micros() as Micros;
        let holds = |(group, charge): (&Group, &Charge)| {
            let key = (
                record.engine,
                group.keys[charge.key].clone(),
                charge.field.to_string(),
            );
            let denials = self.denials.get(&key).into_iter().flatten();
            let mut alike = denials
                .filter(|denial| denial.charge.rate == charge.rate && denial.charge.cost == charge.cost);
            alike.any(|denial| now < denial.until && now < denial.sent + max_age)
        };
        let known = charges.any(holds);
        ensure(
            known && decided.outcome == "denied" && !decided.passes,
            "by-cache",
            || format!("{decided:?} without a valid denial by Redis"),
        )
    }

    /// Records a decision by Redis: admitted costs for the laws, denials for the cache.
    fn note_counted(&mut self, record: &RequestRecord, expected: &Expected, decided: &DecisionRecord) {
        let network = self.network.clone();
        let network = network.borrow();
        for tag in &record.tags {
            let call = &self.calls[tag];
            let known = call.ended.is_some_and(|(_, counted)| counted);
            let Some(execution) = call.execution.filter(|_| known) else {
                continue;
            };
            let execution = &network.journal.executions[execution];
            let group = &execution.call.group;
            let charges = group.charges.iter().zip(&execution.result.verdicts);
            for ((charge, verdict), mark) in charges.zip(&execution.result.marks) {
                let of = |(own, known): &(&Group, &Charge)| is_same(group, charge, own, known);
                let groups = record.groups.iter();
                let own = groups
                    .flat_map(|group| group.charges.iter().map(move |charge| (group, charge)))
                    .find(of);
                let Some((group, own)) = own else { continue };
                if expected.outcome == Outcome::Allowed && decided.passes && verdict.allowed {
                    let pass = PassedCall {
                        store: CounterStore::Redis,
                        epoch: (execution.shard, execution.epoch),
                        at_us: execution.clock_us,
                        mark: *mark,
                    };
                    let limit = &self.engines[record.engine].policy.limits[own.limit];
                    self.passed_costs.note(&pass, group, own, limit);
                }
                let denies = expected.outcome == Outcome::Denied && own.enforced && !verdict.allowed;
                if denies {
                    let key = (record.engine, group.keys[own.key].clone(), own.field.to_string());
                    self.denials.entry(key).or_default().push(Denial {
                        charge: own.clone(),
                        sent: record.at,
                        until: record.at + verdict.wait_ms * MS,
                    });
                }
            }
        }
    }

    /// Records what this Envoy counted locally because Redis did not.
    fn note_local(&mut self, record: &RequestRecord, decided: &DecisionRecord, verdicts: &[Option<Verdict>]) {
        if !decided.passes {
            return;
        }
        let known = &self.engines[record.engine];
        let (envoy, policy) = (known.envoy, known.policy.clone());
        let at = self.clock.unix_us(self.now);
        let mut verdicts = verdicts.iter();
        for group in &record.groups {
            for charge in &group.charges {
                let by_redis = verdicts.next().is_some_and(Option::is_some);
                let limit = &policy.limits[charge.limit];
                let here = policy.store == Store::Local || limit.on_error == OnError::Local;
                if !by_redis && here && charge.enforced {
                    self.passed_costs
                        .note_local((envoy, at), group, charge, limit, &policy.local);
                }
            }
        }
    }
}

pub(super) type Mismatch = (&'static str, String);

pub(super) fn ensure(holds: bool, rule: &'static str, what: impl FnOnce() -> String) -> Result<(), Mismatch> {
    match holds {
        true => Ok(()),
        false => Err((rule, what())),
    }
}

/// Whether two charges belong to the same counter. The field name of a log is not sent.
pub(super) fn is_same(sent_in: &Group, sent: &Charge, group: &Group, charge: &Charge) -> bool {
    let log = charge.algorithm.form() == Form::Log;
    sent_in.keys[sent.key] == group.keys[charge.key]
        && sent.algorithm.form() == charge.algorithm.form()
        && (log || sent.field == charge.field)
}

fn counted<'a>(groups: &'a [Group], verdicts: &[Option<Verdict>]) -> Vec<CounterResult<'a>> {
    let charges = groups.iter().flat_map(|group| &group.charges);
    let all = charges.zip(verdicts).map(|(charge, verdict)| CounterResult {
        charge,
        verdict: *verdict,
        by: CountedBy::Redis,
    });
    all.collect()
}
