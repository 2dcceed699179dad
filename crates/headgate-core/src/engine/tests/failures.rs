//! Requests while Redis or the worker itself fails.

use super::*;

fn with(on_error: &str) -> String {
    ONE.replacen('{', &format!(r#"{{"on_error": "{on_error}", "#), 1)
}

#[test]
fn without_a_reply_a_request_is_decided_at_its_deadline() {
    for (on_error, done, word) in [
        ("deny", Done::Status(503), "failed_closed"),
        ("allow", Done::Pass, "failed_open"),
        ("local", Done::Pass, "allowed"),
    ] {
        let mut world = World::new(&with(on_error));
        world.request(&[]);
        world.pass(99 * MS);
        assert_eq!(world.ready(), [], "{on_error}");
        world.pass(MS);
        assert_eq!(world.ready(), [(0, done)]);
        assert_eq!(world.requests[0].state("ratelimit_decision"), word);
        assert_eq!(world.engine.transport.blamed.len(), 1);
        world.pass(5 * MS);
        assert_eq!(
            world.engine.poll_timeout(world.now),
            None,
            "nothing is left to do"
        );
    }
}

#[test]
fn a_late_reply_is_ignored_and_makes_no_second_decision() {
    let mut world = World::new(&with("allow"));
    world.request(&[]);
    world.pass(100 * MS);
    assert_eq!(world.ready().len(), 1);
    world.reply(denied(700));
    assert_eq!(world.ready(), []);
}

#[test]
fn on_error_local_counts_in_memory_and_denies_there() {
    let mut world = World::new(&with("local"));
    world.engine.transport.refuses = Some(CallError::BreakerOpen);
    let done: Vec<Done> = (0..12).map(|_| world.request(&[])).collect();
    assert!(done[..10].iter().all(|done| *done == Done::Pass), "{done:?}");
    assert_eq!(done[10..], [Done::Status(429), Done::Status(429)]);
    assert_eq!(world.requests[10].state("ratelimit_by"), "local");
}

#[test]
fn what_cannot_be_sent_is_decided_at_once() {
    let mut world = World::new(&with("deny"));
    world.engine.transport.refuses = Some(CallError::TooManyInFlight);
    assert_eq!(world.request(&[]), Done::Status(503));
    assert_eq!(world.engine.pending_requests(), 0);
    let events = world.events();
    assert!(events.contains(&Event::Called {
        outcome: "too_many_in_flight",
        answer: None,
    }));
    let lines = events.iter().filter(|event| matches!(event, Event::Line(..)));
    assert_eq!(lines.count(), 1, "one log line: {events:?}");
}

#[test]
fn a_denial_by_one_limit_wins_over_the_failure_of_another() {
    let mut world = World::new(TWO);
    world.request(&[("x-tenant", "t")]);
    world.reply(denied(700));
    world.pass(100 * MS);
    assert_eq!(world.ready(), [(0, Done::Status(429))]);
}

#[test]
fn the_strictest_on_error_of_those_that_failed_decides() {
    let mut world = World::new(TWO);
    world.request(&[("x-tenant", "t")]);
    world.reply(allowed(&[9]));
    world.pass(100 * MS);
    assert_eq!(world.ready(), [(0, Done::Status(503))]);
    let mut world = World::new(TWO);
    world.request(&[("x-tenant", "t")]);
    let first = world.sent();
    world.reply(allowed(&[9]));
    drop(first);
    world.pass(100 * MS);
    assert_eq!(world.ready(), [(0, Done::Pass)], "the one that failed allows");
}

#[test]
fn after_a_stall_replies_that_came_in_time_still_count() {
    let mut world = World::new(&with("deny"));
    world.request(&[]);
    world.engine.poll_timeout(world.now);
    world.wait(300 * MS);
    world.engine.on_timeout(world.now);
    assert_eq!(world.ready(), [], "a moment more");
    world.reply(allowed(&[9]));
    assert_eq!(world.ready(), [(0, Done::Pass)]);
    assert_eq!(world.engine.transport.blamed, []);
}

#[test]
fn after_a_stall_no_shard_is_blamed_for_the_silence() {
    let mut world = World::new(&with("allow"));
    world.request(&[]);
    world.engine.poll_timeout(world.now);
    world.wait(300 * MS);
    world.engine.on_timeout(world.now);
    world.pass(25 * MS);
    assert_eq!(world.ready(), [(0, Done::Pass)]);
    assert_eq!(world.engine.transport.blamed, []);
}

#[test]
fn a_stall_is_detected_with_any_event_before_its_tick() {
    let mut world = World::new(&with("deny"));
    world.request(&[]);
    world.engine.poll_timeout(world.now);
    world.wait(300 * MS);
    // Another request comes first, and something else is to be done soon.
    world.request(&[]);
    world.engine.transport.wakeup = Some(world.now.monotonic - 290 * MS);
    world.engine.poll_timeout(world.now);
    world.wait(MS);
    world.engine.on_timeout(world.now);
    assert_eq!(world.ready(), [], "a moment more");
    world.reply(allowed(&[9]));
    assert_eq!(world.ready(), [(0, Done::Pass)]);
    assert_eq!(world.engine.transport.blamed, []);
}

#[test]
fn notices_of_the_transport_are_log_lines() {
    let mut world = World::new(ONE);
    let shard = "10.0.0.1:6379".to_owned();
    world
        .engine
        .transport
        .notices
        .push_back(Notice::BreakerClosed { shard });
    world.engine.on_timeout(world.now);
    let text = "headgate: circuit breaker closed for 10.0.0.1:6379; it answers again";
    let line = LogLine {
        level: crate::redis::Level::Info,
        text: text.into(),
        once: false,
    };
    assert_eq!(world.events(), [Event::Line(line)]);
}

#[test]
fn a_lost_engine_leaves_a_request_to_its_failure_policy() {
    for (on_error, outcome, status) in [
        ("deny", "failed_closed", Some(503)),
        ("local", "failed_open", None),
        ("allow", "failed_open", None),
    ] {
        let mut world = World::new(&with(on_error));
        let mut request = FakeExchange::new(&[]);
        let RequestStatus::Pending(_, fallback) = world.engine.on_request(world.now, 0, &mut request) else {
            panic!("it waits")
        };
        let (decided, reply) = fallback.decide(&world.engine.policy, world.now);
        assert_eq!(
            (decided.as_str(), reply.map(|reply| reply.status)),
            (outcome, status)
        );
    }
}
