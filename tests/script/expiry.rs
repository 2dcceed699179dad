//! How long a client's keys live.

use crate::fixtures::*;
use crate::server::{Client, Server};
use headgate_core::limit::{Algorithm, Charge};
use std::time::Duration;

#[test]
fn a_key_lives_as_long_as_its_counter_matters() {
    let server = Server::start();
    let mut client = server.client();
    let hour = 3_600_000;
    // Within one second none of these windows ends.
    while now_ms() % 60_000 > 58_000 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let rest = hour - now_ms() % hour;
    for (algorithm, expected) in [
        (FIXED, rest),
        (FIRST_CALL, hour),
        (COUNTER, rest + hour),
        // 2 of 8 drain in a quarter of the period.
        (GCRA, hour / 4),
        // A 16th longer, so that not every call has to move its end.
        (Algorithm::SlidingWindowLog, hour + hour / 16),
    ] {
        client.run(&["FLUSHALL"]);
        let charge = Charge {
            cost: 2,
            ..charge(algorithm, 8, hour as u64)
        };
        client.count(&group(std::slice::from_ref(&charge)));
        let ttl = pttl(&mut client, key(&charge));
        assert!(
            (expected - 1_000..=expected + 1).contains(&ttl),
            "{algorithm:?}: {ttl} of {expected}"
        );
    }
}

#[test]
fn an_expiry_is_never_shortened() {
    let server = Server::start();
    let mut client = server.client();
    let minute = group(&[charge(COUNTER, 100, 60_000), charge(GCRA, 100, 60_000)]);
    let day = group(&[charge(FIRST_CALL, 100, DAY)]);
    client.count(&minute);
    assert!((1..=120_000).contains(&pttl(&mut client, HASH)));
    client.count(&day);
    client.count(&minute);
    assert!(
        pttl(&mut client, HASH) > 86_390_000,
        "a day's counter is kept for a day"
    );
}

#[test]
fn a_hash_expires_only_without_a_live_override() {
    let server = Server::start();
    let mut client = server.client();
    let overridden = live(charge(COUNTER, 3, 60_000));
    let field = overridden.live.as_ref().unwrap().field.to_string();
    let with = group(&[overridden]);
    // Another limit of the same client, with windows of its own: each call is the first of one.
    let other = |client: &mut Client, period| client.count(&group(&[charge(FIRST_CALL, 9, period)]));

    client.count(&with);
    assert!(pttl(&mut client, HASH) > 0);
    // Also where the override denies all, and so nothing else is ever written.
    client.run(&["HSET", HASH, &field, "0"]);
    client.count(&with);
    assert_eq!(pttl(&mut client, HASH), -1);
    other(&mut client, 60_001);
    assert_eq!(
        pttl(&mut client, HASH),
        -1,
        "a limit that does not know of the override"
    );

    client.run(&["HSET", HASH, &field, &format!("7 {}", now_ms() + 60_000)]);
    other(&mut client, 60_002);
    assert_eq!(pttl(&mut client, HASH), -1);

    client.run(&["HSET", HASH, &field, &format!("7 {}", now_ms() - 1)]);
    other(&mut client, 60_003);
    assert!(pttl(&mut client, HASH) > 50_000, "the override has ended");

    client.run(&["HSET", HASH, &field, "7"]);
    client.count(&with);
    client.run(&["HDEL", HASH, &field]);
    other(&mut client, 60_004);
    assert!(pttl(&mut client, HASH) > 50_000, "the override is gone");
}
