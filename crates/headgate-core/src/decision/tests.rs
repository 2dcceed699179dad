//! Which of several counters decides, and which one is shown to the caller.

use super::*;
use crate::fixtures::{self, rate};
use crate::limit::{Algorithm, KeyPart, Quota};
use crate::model::ResetForm;

fn limit(name: &str) -> Limit {
    Limit {
        quota: Quota::Limited(rate(10, 60_000)),
        on_error: OnError::Allow,
        ..crate::limit::fixtures::limit(name, &[KeyPart::Client])
    }
}

fn charge(limit: usize, enforced: bool) -> Charge {
    Charge {
        enforced,
        ..fixtures::charge(limit, Algorithm::SlidingWindowCounter, rate(10, 60_000))
    }
}

fn left(remaining: u64, quota: u64, reset_ms: u64) -> Option<Verdict> {
    Some(Verdict {
        allowed: true,
        limit: Some(quota),
        remaining,
        reset_ms,
        wait_ms: 0,
    })
}

fn spent(wait_ms: u64) -> Option<Verdict> {
    Some(Verdict {
        allowed: false,
        limit: Some(10),
        remaining: 0,
        reset_ms: wait_ms,
        wait_ms,
    })
}

/// A change to the limit, whether it is enforced, and its verdict.
type Counter = (fn(&mut Limit), bool, Option<Verdict>);

/// Decides over limits whose names are their indices.
fn decide(counters: &[Counter]) -> Decision {
    let mut limits: Vec<Limit> = (0..counters.len()).map(|n| limit(&n.to_string())).collect();
    for (limit, (change, _, _)) in limits.iter_mut().zip(counters) {
        change(limit);
    }
    let charges: Vec<Charge> = counters.iter().enumerate().map(|(n, c)| charge(n, c.1)).collect();
    let counted = charges
        .iter()
        .zip(counters)
        .map(|(charge, (_, _, verdict))| CounterResult {
            charge,
            verdict: *verdict,
            by: CountedBy::Redis,
        });
    Decision::from_counted(&limits, counted)
}

const AS_IS: fn(&mut Limit) = |_| {};
const HIDDEN: fn(&mut Limit) = |limit| limit.expose = false;
const DENY: fn(&mut Limit) = |limit| limit.on_error = OnError::Deny;

#[test]
fn the_limit_that_admits_the_fewest_calls_is_shown() {
    let decision = decide(&[
        (AS_IS, true, left(999, 1_000, 9)),
        (AS_IS, true, left(995_000, 1_000_000, 1)),
        (AS_IS, true, left(1_000, 1_000, 7)),
    ]);
    assert_eq!(decision.outcome, Outcome::Allowed);
    assert_eq!(
        decision.shown.unwrap().limit,
        0,
        "999 further calls, whatever the shares are"
    );
    assert_eq!(decision.applied.len(), 3);
    let even = decide(&[(AS_IS, true, left(5, 10, 7)), (AS_IS, true, left(5, 90, 9))]);
    assert_eq!(even.shown.unwrap().limit, 1, "a tie goes to the longer reset");
}

#[test]
fn further_calls_are_what_is_left_by_what_such_a_call_costs() {
    let limits = [limit("cheap"), limit("costly"), limit("later"), limit("free")];
    let costing = |index: usize, cost: u64, charged_on_response: bool| Charge {
        cost,
        charged_on_response,
        ..charge(index, true)
    };
    let shown = |charges: &[(Charge, Option<Verdict>)]| {
        let counted = charges.iter().map(|(charge, verdict)| CounterResult {
            charge,
            verdict: *verdict,
            by: CountedBy::Redis,
        });
        Decision::from_counted(&limits, counted)
            .shown
            .map(|shown| shown.limit)
    };
    let (cheap, costly) = (costing(0, 1, false), costing(1, 30, false));
    let (later, free) = (costing(2, 30, true), costing(3, 0, false));
    let both = [
        (cheap.clone(), left(5, 10, 9)),
        (costly.clone(), left(100, 900, 9)),
    ];
    assert_eq!(shown(&both), Some(1), "3 calls of 30 are fewer than 5 of 1");
    let rounded = [(cheap.clone(), left(3, 10, 9)), (costly, left(119, 900, 8))];
    assert_eq!(
        shown(&rounded),
        Some(0),
        "3 and 3, rounded down: the longer reset"
    );
    let unknown = [(cheap.clone(), left(5, 10, 9)), (later, left(4, 900, 9))];
    assert_eq!(
        shown(&unknown),
        Some(2),
        "a cost that is not known yet counts as 1"
    );
    let nothing = [(cheap, left(5, 10, 9)), (free, left(4, 900, 9))];
    assert_eq!(shown(&nothing), Some(3), "a cost of 0 counts as 1");
}

#[test]
fn a_call_above_every_quota_can_never_pass() {
    let never = |limit: u64, cost: u64, by: CountedBy| {
        let charge = Charge {
            cost,
            ..charge(0, true)
        };
        let verdict = Verdict {
            limit: Some(limit),
            ..spent(60_000).unwrap()
        };
        let counted = CounterResult {
            charge: &charge,
            verdict: Some(verdict),
            by,
        };
        Decision::from_counted(&[self::limit("a")], [counted]).never
    };
    assert!(never(0, 1, CountedBy::Redis) && never(10, 11, CountedBy::Cache));
    assert!(!never(10, 10, CountedBy::Redis) && !never(1, 1, CountedBy::Redis));
    assert!(!never(5, 10, CountedBy::Local), "Redis would grant 10");
    assert!(never(5, 11, CountedBy::Local));
}

#[test]
fn the_denying_limit_with_the_longest_wait_is_shown() {
    let decision = decide(&[
        (AS_IS, true, spent(10)),
        (AS_IS, true, spent(30)),
        (AS_IS, true, left(0, 10, 99)),
    ]);
    assert_eq!((decision.outcome, decision.retry_after_ms), (Outcome::Denied, 30));
    assert_eq!(decision.shown.unwrap().limit, 1);
}

#[test]
fn a_hidden_limit_shows_nothing_but_a_wait_in_whole_minutes() {
    let decision = decide(&[(HIDDEN, true, left(0, 10, 5)), (AS_IS, true, left(9, 10, 5))]);
    assert_eq!(
        (decision.shown.unwrap().limit, decision.reported.unwrap().limit),
        (1, 0)
    );
    assert_eq!(decision.applied.len(), 1);
    let decision = decide(&[(HIDDEN, true, spent(61_000)), (AS_IS, true, left(9, 10, 5))]);
    assert_eq!((decision.shown, decision.retry_after_ms), (None, 120_000));
    let decision = decide(&[(HIDDEN, true, spent(61_000)), (AS_IS, true, spent(5))]);
    assert_eq!(
        (decision.shown.unwrap().limit, decision.retry_after_ms),
        (1, 61_000)
    );
}

#[test]
fn a_limit_in_shadow_is_noted_and_in_nobodys_way() {
    let decision = decide(&[
        (AS_IS, false, spent(10)),
        (DENY, false, None),
        (AS_IS, true, left(3, 10, 5)),
    ]);
    assert_eq!(
        (decision.outcome, decision.shadow.as_slice()),
        (Outcome::Allowed, [0].as_slice())
    );
    assert_eq!((decision.applied.len(), decision.shown.unwrap().limit), (1, 2));
    let alone = decide(&[(DENY, false, None)]);
    assert_eq!(
        alone.outcome,
        Outcome::FailedOpen,
        "what is in shadow refuses nothing"
    );
}

#[test]
fn a_denial_wins_over_a_failure_and_the_strictest_on_error_wins() {
    assert_eq!(
        decide(&[(DENY, true, None), (AS_IS, true, spent(1))]).outcome,
        Outcome::Denied
    );
    assert_eq!(
        decide(&[(DENY, true, None), (AS_IS, true, None)]).outcome,
        Outcome::FailedClosed
    );
    let open = decide(&[(AS_IS, true, None), (AS_IS, true, left(1, 10, 5))]);
    assert_eq!(
        (open.outcome, open.shown, open.by),
        (Outcome::FailedOpen, None, None)
    );
}

#[test]
fn only_undecided_failures_ask_for_a_local_count() {
    let asks = |counters: &[(OnError, bool, Option<Verdict>)]| {
        let limits: Vec<Limit> = counters
            .iter()
            .map(|(on_error, ..)| Limit {
                on_error: *on_error,
                ..limit("x")
            })
            .collect();
        let charges: Vec<Charge> = counters.iter().enumerate().map(|(n, c)| charge(n, c.1)).collect();
        let counted = charges
            .iter()
            .zip(counters)
            .map(|(charge, counter)| CounterResult {
                charge,
                verdict: counter.2,
                by: CountedBy::Redis,
            });
        Decision::asks_locally(&limits, counted)
    };
    use OnError::{Allow, Deny, Local};
    assert!(asks(&[(Local, true, None), (Allow, true, None)]));
    assert!(
        asks(&[(Local, false, None), (Deny, false, None)]),
        "a shadow refuses nothing"
    );
    assert!(!asks(&[(Local, true, None), (Deny, true, None)]));
    assert!(
        !asks(&[(Local, true, None), (Allow, true, spent(1))]),
        "denied already"
    );
    assert!(asks(&[(Local, true, None), (Allow, false, spent(1))]));
    assert!(!asks(&[(Local, true, left(1, 9, 1)), (Allow, true, None)]));
}

#[test]
fn a_local_count_outweighs_only_on_error_allow() {
    const LOCAL: fn(&mut Limit) = |limit| limit.on_error = OnError::Local;
    let outcome = |other: fn(&mut Limit)| {
        let mut limits = vec![limit("counted"), limit("failed")];
        other(&mut limits[1]);
        let charges = [charge(0, true), charge(1, true)];
        let counted = charges
            .iter()
            .zip([left(3, 10, 5), None])
            .map(|(charge, verdict)| CounterResult {
                charge,
                verdict,
                by: CountedBy::Local,
            });
        let decision = Decision::from_counted(&limits, counted);
        (decision.outcome, decision.by)
    };
    assert_eq!(outcome(AS_IS), (Outcome::Allowed, Some(CountedBy::Local)));
    assert_eq!(outcome(LOCAL), (Outcome::FailedOpen, None));
    assert_eq!(outcome(DENY), (Outcome::FailedClosed, None));
}

#[test]
fn an_unlimited_override_shows_nothing() {
    let unlimited = Some(Verdict {
        allowed: true,
        limit: None,
        remaining: 0,
        reset_ms: 0,
        wait_ms: 0,
    });
    let decision = decide(&[(AS_IS, true, unlimited)]);
    assert_eq!((decision.outcome, decision.shown), (Outcome::Allowed, None));
}

#[path = "words_tests.rs"]
mod words;
