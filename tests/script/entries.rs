//! The entries of a log: one for each unit of cost, and no more of them kept than a call may remove.

use crate::fixtures::*;
use crate::server::{text, Server};
use headgate::limit::{Algorithm, Charge};
use headgate::script::{body, Mode, Reply};
use std::time::Duration;

#[test]
fn members_of_a_log_never_collide() {
    let server = Server::start();
    let mut client = server.client();
    let body = include_str!("virtual_time.lua").to_owned() + body();
    let sha = text(&client.run(&["SCRIPT", "LOAD", &body]));
    let group = group(&[Charge {
        cost: 3,
        ..charge(Algorithm::SlidingWindowLog, 4_500, 60_000)
    }]);
    // The same µs again and again; then a clock set back by half a minute, which stays clamped; then on from there.
    let mut clocks = vec![(1_700_000_000, 5); 500];
    clocks.extend((0..500).map(|us| (1_699_999_970, us)));
    clocks.extend((0..500).map(|us| (1_700_000_000, us)));
    for (s, us) in clocks {
        client.add(&["HSET", "clock", "s", &s.to_string(), "us", &us.to_string()]);
        client.add_call("EVALSHA", &sha, &group, Mode::Count);
    }
    for reply in client.send().chunks(2) {
        assert!(Reply::decode(&group, &reply[1]).unwrap().admitted);
    }
    assert_eq!(client.int(&["ZCARD", LOG]), 4_500);
    client.add_call("EVALSHA", &sha, &group, Mode::Count);
    assert!(!Reply::decode(&group, &client.send()[0]).unwrap().admitted);
}

#[test]
fn a_large_cost_makes_as_many_entries() {
    let server = Server::start();
    let mut client = server.client();
    let mut group = group(&[charge(Algorithm::SlidingWindowLog, 10_000, 60_000)]);
    group.charges[0].cost = 9_999;
    assert_eq!(left(&client.count(&group)), [1]);
    assert_eq!(client.int(&["ZCARD", LOG]), 9_999);
    group.charges[0].cost = 2;
    assert!(!client.count(&group).admitted);
}

#[test]
fn a_log_is_trimmed_in_steps_and_what_is_left_over_does_not_count() {
    let server = Server::start();
    let mut client = server.client();
    let mut group = group(&[charge(Algorithm::SlidingWindowLog, 5_000, 1_000)]);
    group.charges[0].cost = 5_000;
    assert!(client.count(&group).admitted);
    client.run(&["PERSIST", LOG]);
    std::thread::sleep(Duration::from_millis(1_050));
    group.charges[0].cost = 1;
    assert_eq!(left(&client.count(&group)), [4_999]);
    assert_eq!(client.int(&["ZCARD", LOG]), 5_000 + 1 - 101);
}
