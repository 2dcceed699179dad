//! The calls of a request: how often they are sent, and which reply completes the request.

use super::*;

#[test]
fn a_request_waits_for_its_reply_and_passes_with_figures() {
    let mut world = World::new(ONE);
    assert_eq!(world.request(&[(":path", "/")]), Done::Waits);
    assert_eq!(world.engine.pending_requests(), 1);
    world.wait(3 * MS);
    world.reply(allowed(&[9]));
    assert_eq!(world.ready(), [(0, Done::Pass)]);
    assert_eq!(world.engine.pending_requests(), 0);
    let request = &world.requests[0];
    assert_eq!(request.state("ratelimit_decision"), "allowed");
    assert_eq!(request.state("ratelimit_remaining"), "9");
    assert_eq!(request.state("ratelimit_redis_us"), "3000");
    let names: Vec<_> = request.set.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
    );
}

#[test]
fn requests_are_ready_in_the_order_of_their_replies() {
    let mut world = World::new(ONE);
    for _ in 0..3 {
        world.request(&[]);
    }
    let (first, second, third) = (world.sent(), world.sent(), world.sent());
    for sent in [third, first, second] {
        world.reply_to(sent, allowed(&[1]));
    }
    let order: Vec<_> = world.ready().into_iter().map(|(request, _)| request).collect();
    assert_eq!(order, [2, 0, 1]);
}

#[test]
fn two_tags_are_two_calls_and_the_last_reply_decides() {
    let mut world = World::new(TWO);
    world.request(&[("x-tenant", "t")]);
    assert_eq!(world.engine.transport.sent.len(), 2);
    world.reply(allowed(&[9]));
    assert_eq!(world.ready(), []);
    world.reply(denied(700));
    assert_eq!(world.ready(), [(0, Done::Status(429))]);
    let returned = world.sent();
    assert_eq!(returned.id, CallId::Unawaited, "what had room is given back");
    world.reply_to(returned, allowed(&[10]));
    assert_eq!(world.ready(), []);
}

#[test]
fn a_reply_after_the_caller_left_changes_nothing() {
    let mut world = World::new(ONE);
    world.request(&[]);
    let id = world.waits[0].unwrap();
    world.engine.on_left(id);
    world.engine.on_left(id);
    world.request(&[]);
    world.reply(denied(700));
    assert_eq!(world.ready(), [], "the reply is the first one's");
    world.reply(allowed(&[9]));
    assert_eq!(world.ready(), [(1, Done::Pass)]);
    let left = world
        .events()
        .into_iter()
        .filter(|event| *event == Event::Abandoned);
    assert_eq!(left.count(), 1);
}

#[test]
fn a_caller_that_leaves_after_the_decision_is_not_carried_out() {
    let mut world = World::new(ONE);
    world.request(&[]);
    world.reply(allowed(&[9]));
    world.engine.on_left(world.waits[0].unwrap());
    assert_eq!(world.ready(), []);
    assert_eq!(world.engine.pending_requests(), 0);
}

#[test]
fn a_call_before_envoy_knows_redis_is_sent_again_after_10_ms() {
    let mut world = World::new(ONE);
    world.request(&[]);
    let first = world.sent();
    let deadline = first.deadline;
    world.reply_to(first, Err(CallError::TooEarly));
    world.pass(9 * MS);
    assert!(world.engine.transport.sent.is_empty());
    world.pass(MS);
    let second = world.sent();
    assert_eq!(second.deadline, deadline, "the caller waits no longer for it");
    world.reply_to(second, allowed(&[9]));
    assert_eq!(world.ready(), [(0, Done::Pass)]);
}

#[test]
fn a_call_that_stays_too_early_fails_and_blames_no_shard() {
    let mut world = World::new(&ONE.replacen('{', r#"{"on_error": "deny", "#, 1));
    world.request(&[]);
    for _ in 0..11 {
        while let Some(sent) = world.engine.transport.sent.pop_front() {
            world.reply_to(sent, Err(CallError::TooEarly));
        }
        world.pass(10 * MS);
    }
    assert_eq!(world.ready(), [(0, Done::Status(503))]);
    assert_eq!(world.engine.transport.blamed, []);
    let called = world
        .events()
        .into_iter()
        .find(|event| matches!(event, Event::Called { .. }));
    assert_eq!(
        called,
        Some(Event::Called {
            outcome: "error",
            answer: Some("no_upstream_host")
        })
    );
}

/// A log has a key of its own beside the hash of the others: two keys in one call.
const TWO_KEYS: &str = r#"{"limits": [
    {"name": "a", "rate": "10/minute", "algorithm": "fixed_window"},
    {"name": "b", "rate": "10/minute", "algorithm": "sliding_window_log"}]}"#;

#[test]
fn while_a_slot_moves_a_call_is_repeated_then_split_by_key() {
    let mut world = World::new(TWO_KEYS);
    world.request(&[]);
    let mut repeated = 0;
    while world.engine.transport.sent.len() == 1 {
        world.reply(error("TRYAGAIN Multiple keys request during rehashing of slot"));
        if world.engine.transport.sent.is_empty() {
            repeated += 1;
            world.pass(10 * MS);
        }
    }
    assert_eq!(repeated, 5, "in the first half of 100 ms");
    let (first, second) = (world.sent(), world.sent());
    world.reply_to(second, allowed(&[4]));
    world.reply_to(first, allowed(&[7]));
    assert_eq!(world.ready(), [(0, Done::Pass)]);
    assert_eq!(world.requests[0].state("ratelimit_remaining"), "4");
    assert!(world.events().contains(&Event::SplitCall));
}

#[test]
fn a_call_of_one_key_that_cannot_be_split_fails_as_answered() {
    let mut world = World::new(&ONE.replacen('{', r#"{"on_error": "deny", "#, 1));
    world.request(&[]);
    for _ in 0..6 {
        world.reply(error("TRYAGAIN"));
        world.pass(10 * MS);
    }
    assert_eq!(world.ready(), [(0, Done::Status(503))]);
}

#[test]
fn a_reply_to_an_unawaited_call_or_a_lease_changes_no_request() {
    let mut world = World::new(ONE);
    world.request(&[]);
    let sent = world.sent();
    for id in [CallId::Unawaited, CallId::Lease(1), CallId::Lease(99)] {
        let call = sent.call.clone();
        let deadline = sent.deadline;
        world.reply_to(Sent { deadline, id, call }, denied(9));
    }
    assert_eq!((world.ready(), world.engine.pending_requests()), (vec![], 1));
}

#[test]
fn a_reply_that_is_none_to_this_call_decides_by_on_error() {
    let mut world = World::new(&ONE.replacen('{', r#"{"on_error": "deny", "#, 1));
    world.request(&[]);
    world.reply(allowed(&[9, 9]));
    assert_eq!(world.ready(), [(0, Done::Status(503))]);
}

#[test]
fn a_call_is_not_sent_again_once_its_time_is_over() {
    let mut world = World::new(&ONE.replacen('{', r#"{"on_error": "deny", "#, 1));
    world.request(&[]);
    world.pass(95 * MS);
    world.reply(Err(CallError::TooEarly));
    world.pass(10 * MS);
    assert_eq!(world.ready(), [(0, Done::Status(503))]);
    assert_eq!(world.engine.transport.sent.len(), 0, "it might be charged");
}

#[test]
fn only_what_was_taken_is_given_back() {
    let later = TWO.replacen(
        r#""on_error": "allow""#,
        r#""cost": {"response_header": "x-tokens", "max": 5}"#,
        1,
    );
    for (policy, calls) in [(TWO, 1), (later.as_str(), 0)] {
        let mut world = World::new(policy);
        world.request(&[("x-tenant", "t")]);
        world.reply(allowed(&[9]));
        world.reply(denied(700));
        assert_eq!(world.ready(), [(0, Done::Status(429))]);
        assert_eq!(world.engine.transport.sent.len(), calls, "{policy}");
    }
}
