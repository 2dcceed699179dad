//! The response phase: quota headers, and charges on the response.

use super::*;

const COSTS: &str = r#"{"limits": [{"name": "a", "rate": "10/minute", "algorithm": "fixed_window",
    "cost": {"response_header": "x-cost", "min": 2, "max": 8}}]}"#;

/// A request that was admitted with 9 left of 10.
fn let_through(policy: &str) -> (World, Admitted) {
    let mut world = World::new(policy);
    world.request(&[]);
    world.reply(allowed(&[9]));
    assert_eq!(world.ready(), [(0, Done::Pass)]);
    let admitted = world.admitted[0].take().unwrap();
    (world, admitted)
}

fn names(edits: &Edits) -> Vec<&str> {
    edits.add.iter().map(|(name, _)| *name).collect()
}

#[test]
fn a_response_gets_the_figures() {
    let (world, admitted) = let_through(ONE);
    let response = FakeExchange::new(&[(":status", "200")]);
    let (edits, owed) = world.engine.on_response(admitted, &response);
    assert_eq!(
        names(&edits),
        ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
    );
    assert!(edits.remove.is_empty() && owed.is_none());
}

#[test]
fn a_refusal_of_the_upstream_keeps_its_own_quota_headers() {
    for headers in [
        &[(":status", "429"), ("x-ratelimit-limit", "1")][..],
        &[(":status", "200"), ("grpc-status", "8")],
    ] {
        let (world, admitted) = let_through(ONE);
        let (edits, _) = world.engine.on_response(admitted, &FakeExchange::new(headers));
        assert_eq!(edits, Edits::default(), "{headers:?}");
    }
}

#[test]
fn figures_of_the_upstream_are_replaced_or_kept_as_a_family() {
    let response = || FakeExchange::new(&[(":status", "200"), ("x-ratelimit-limit", "1")]);
    let (world, admitted) = let_through(ONE);
    let (edits, _) = world.engine.on_response(admitted, &response());
    assert_eq!(
        (edits.remove, edits.add.len()),
        (vec!["x-ratelimit-limit".to_owned()], 3)
    );
    let keep = ONE.replacen('{', r#"{"response": {"upstream_headers": "keep"}, "#, 1);
    let (world, admitted) = let_through(&keep);
    let (edits, _) = world.engine.on_response(admitted, &response());
    assert_eq!(edits, Edits::default());
}

#[test]
fn an_instance_behind_that_has_merged_is_left_alone() {
    let (world, admitted) = let_through(ONE);
    let mut response = FakeExchange::new(&[(":status", "200"), ("x-ratelimit-limit", "1")]);
    response.set_filter_state("ratelimit_shown_by", b"other");
    let (edits, _) = world.engine.on_response(admitted, &response);
    assert_eq!(edits, Edits::default());
}

#[test]
fn a_cost_in_the_response_is_charged_once_without_waiting() {
    let (mut world, admitted) = let_through(COSTS);
    let response = FakeExchange::new(&[(":status", "200"), ("x-cost", "5")]);
    let (_, owed) = world.engine.on_response(admitted, &response);
    world.engine.charge(world.now, owed.expect("a cost"));
    assert_eq!(world.sent().id, CallId::Unawaited);
    assert!(world.engine.transport.sent.is_empty());
    world.events();
    assert_eq!(world.engine.pending_requests(), 0);
}

#[test]
fn a_cost_that_is_missing_or_broken_is_counted_as_such() {
    for headers in [
        &[(":status", "200")][..],
        &[(":status", "200"), ("x-cost", "many")],
    ] {
        let (mut world, admitted) = let_through(COSTS);
        let (_, owed) = world.engine.on_response(admitted, &FakeExchange::new(headers));
        world.events();
        world.engine.charge(world.now, owed.expect("a cost"));
        assert_eq!(world.events(), [Event::BrokenCosts(1)], "{headers:?}");
    }
}

#[test]
fn a_request_without_a_response_is_charged_all_the_same() {
    let (mut world, admitted) = let_through(COSTS);
    let owed = world.engine.on_gone(admitted).expect("the least cost");
    world.engine.charge(world.now, owed);
    assert_eq!(world.sent().id, CallId::Unawaited);
    let (world, admitted) = let_through(ONE);
    assert!(world.engine.on_gone(admitted).is_none());
}

#[test]
fn a_refusal_by_an_instance_behind_is_not_charged() {
    let (world, admitted) = let_through(COSTS);
    let mut response = FakeExchange::new(&[(":status", "429"), ("x-cost", "5")]);
    response.set_filter_state("ratelimit_decision", b"denied");
    let (_, owed) = world.engine.on_response(admitted, &response);
    assert!(owed.is_none());
}

#[test]
fn what_was_counted_locally_is_charged_locally() {
    let policy = COSTS.replacen('{', r#"{"on_error": "local", "#, 1);
    let mut world = World::new(&policy);
    world.engine.transport.refuses = Some(CallError::BreakerOpen);
    assert_eq!(world.request(&[]), Done::Pass);
    let admitted = world.admitted[0].take().unwrap();
    let response = FakeExchange::new(&[(":status", "200"), ("x-cost", "8")]);
    let (_, owed) = world.engine.on_response(admitted, &response);
    world.engine.charge(world.now, owed.unwrap());
    assert_eq!(world.request(&[]), Done::Pass);
    assert_eq!(world.requests[1].state("ratelimit_remaining"), "2");
}
