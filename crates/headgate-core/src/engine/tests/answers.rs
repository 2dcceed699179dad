//! Decisions from memory, and how they are reported.

use super::*;
use crate::decision::{CountedBy, Outcome};

#[test]
fn what_needs_no_count_is_decided_at_once() {
    let policy = ONE.replacen('{', r#"{"exempt": [{"path": "/health"}], "#, 1);
    let mut world = World::new(&policy);
    assert_eq!(
        world.request(&[(":path", "/health"), (":method", "GET")]),
        Done::Pass
    );
    assert_eq!(world.requests[0].state("ratelimit_decision"), "exempt");
    assert!(world.engine.transport.sent.is_empty());
    let decided = Event::Decided {
        outcome: Outcome::Exempt,
        by: None,
    };
    assert_eq!(world.events(), [decided]);
}

#[test]
fn figures_that_a_caller_sends_are_taken_away() {
    let mut world = World::new(ONE);
    world.request(&[
        ("x-ratelimit-remaining", "99"),
        ("accept", "*/*"),
        ("ratelimit", "x"),
    ]);
    assert_eq!(world.requests[0].removed, ["x-ratelimit-remaining", "ratelimit"]);
    let mut behind = FakeExchange::new(&[("x-ratelimit-remaining", "99")]);
    behind.set_filter_state("ratelimit_decision", b"allowed");
    world.exchange(behind);
    assert_eq!(world.requests[1].removed, [""; 0], "an earlier instance wrote it");
}

#[test]
fn a_known_denial_is_answered_without_a_call_until_it_ends() {
    let mut world = World::new(&ONE.replace("0s", "1s"));
    world.request(&[]);
    world.reply(denied(700));
    assert_eq!(world.ready(), [(0, Done::Status(429))]);
    world.pass(699 * MS);
    assert_eq!(world.request(&[]), Done::Status(429));
    assert_eq!(world.requests[1].state("ratelimit_by"), "cache");
    world.pass(MS);
    assert_eq!(world.request(&[]), Done::Waits);
}

#[test]
fn a_denial_event_has_its_endpoint_and_client() {
    let policy = r#"{"identify": [{"header": "x-api-key", "as": "plain"}], "limits": [
        {"name": "a", "rate": "10/minute", "match": {"path": "/v1/{id}"}}, {"name": "b", "rate": "9/hour"}]}"#;
    let mut world = World::new(policy);
    world.request(&[(":path", "/v1/7"), (":method", "GET"), ("x-api-key", "k")]);
    world.reply(Ok(packed(false, &[[0, 10, 0, 9, 9, 0], [1, 9, 9, 9, 0, 0]])));
    assert_eq!(world.ready(), [(0, Done::Status(429))]);
    let events = world.events();
    let denied = Event::Denied {
        limit: 0,
        endpoint: Endpoint::Match(0),
        client: Some("api_key:k".into()),
    };
    assert!(events.contains(&denied), "{events:?}");
    let counted = events
        .iter()
        .filter(|event| matches!(event, Event::Counted { .. }));
    assert_eq!(counted.count(), 2);
    let line = events.iter().find_map(|event| match event {
        Event::Line(line) => Some(line.text.as_str()),
        _ => None,
    });
    assert!(
        line.is_some_and(|line| line.contains(r#""path":"/v1/{id}""#)),
        "{line:?}"
    );
}

#[test]
fn with_metrics_off_only_lines_are_events() {
    let mut world = World::new(&ONE.replacen('{', r#"{"metrics": {"enabled": false}, "#, 1));
    world.request(&[]);
    world.reply(denied(700));
    world.ready();
    let events = world.events();
    assert!(
        events.iter().all(|event| matches!(event, Event::Line(..))),
        "{events:?}"
    );
}

#[test]
fn permits_taken_in_advance_answer_without_waiting() {
    let policy = r#"{"limits": [{"name": "hot", "rate": "1000/minute", "algorithm": "fixed_window", "lease": "10%"}]}"#;
    let mut world = World::new(policy);
    let mut leases = 0;
    for _ in 0..50 {
        world.request(&[]);
        world.pass(MS);
        while let Some(sent) = world.engine.transport.sent.pop_front() {
            leases += usize::from(matches!(sent.id, CallId::Lease(_)));
            world.reply_to(sent, Ok(packed(true, &[[1, 1_000, 900, 60_000, 0, 7]])));
        }
        world.ready();
    }
    assert!(leases >= 1, "no lease was taken");
    let by_lease = (0..50).filter(|n| world.requests[*n].state("ratelimit_by") == CountedBy::Lease.as_str());
    assert!(by_lease.count() > 10);
    let taken = world
        .events()
        .into_iter()
        .filter(|event| matches!(event, Event::Lease(_)));
    assert!(taken.count() >= leases);
}

#[test]
fn a_lease_that_gets_no_reply_is_not_spent() {
    let policy = r#"{"limits": [{"name": "hot", "rate": "1000/minute", "algorithm": "fixed_window", "lease": "10%"}]}"#;
    let mut world = World::new(policy);
    for _ in 0..50 {
        assert_ne!(world.request(&[]), Done::Pass, "nothing is in hand");
        while let Some(sent) = world.engine.transport.sent.pop_front() {
            let reply = match sent.id {
                CallId::Lease(_) => Err(CallError::Lost),
                _ => Ok(packed(true, &[[1, 1_000, 900, 60_000, 0, 7]])),
            };
            world.reply_to(sent, reply);
        }
        world.ready();
        world.pass(MS);
    }
}

#[test]
fn with_the_local_store_nothing_is_sent() {
    let mut world = World::new(&ONE.replacen('{', r#"{"store": "local", "#, 1));
    let done: Vec<Done> = (0..11).map(|_| world.request(&[])).collect();
    assert_eq!(done[9..], [Done::Pass, Done::Status(429)]);
    assert!(world.engine.transport.sent.is_empty());
    assert_eq!(world.engine.poll_timeout(world.now), None);
}
