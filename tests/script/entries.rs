//! The entries of a log: one for each unit of cost, in a string that is as long as they need.

use crate::fixtures::*;
use crate::server::{text, Client, Server};
use headgate_core::limit::{Algorithm, Charge, Group};
use headgate_core::script::{body, Mode, ScriptReply};

/// Bytes before a log's entries, and bytes of each entry.
const HEADER: i64 = headgate_core::store::LOG_HEADER as i64;
const ENTRY: i64 = headgate_core::store::LOG_ENTRY as i64;

fn of_cost(cost: u64, limit: u64) -> Group {
    group(&[Charge {
        cost,
        ..charge(Algorithm::SlidingWindowLog, limit, 60_000)
    }])
}

/// The script under a clock that the test sets: the server's connection, and the script's name there.
struct Clocked {
    client: Client,
    sha: String,
}

impl Clocked {
    fn on(server: &Server) -> Clocked {
        let mut client = server.client();
        let body = include_str!("virtual_time.lua").to_owned() + body();
        let sha = text(&client.run(&["SCRIPT", "LOAD", &body]));
        Clocked { client, sha }
    }

    fn add(&mut self, us: u64, group: &Group) {
        let (s, us) = (us / 1_000_000, us % 1_000_000);
        self.client
            .add(&["HSET", "clock", "s", &s.to_string(), "us", &us.to_string()]);
        self.client.add_call("EVALSHA", &self.sha, group, Mode::Count);
    }

    /// Whether it was admitted, and what is left.
    fn count(&mut self, us: u64, group: &Group) -> (bool, u64) {
        self.add(us, group);
        let reply = ScriptReply::decode(group, &self.client.send()[1]).unwrap();
        (reply.admitted, reply.verdicts[0].remaining)
    }

    fn length(&mut self) -> i64 {
        self.client.int(&["STRLEN", LOG])
    }
}

const NOW: u64 = 1_700_000_000_000_000;

#[test]
fn calls_of_the_same_time_are_entries_of_their_own() {
    let server = Server::start();
    let mut clocked = Clocked::on(&server);
    let group = of_cost(3, 4_500);
    // The same µs again and again; then a clock set back by half a minute, which stays clamped; then on from there.
    let mut clocks = vec![NOW + 5; 500];
    clocks.extend((0..500).map(|us| NOW - 30_000_000 + us));
    clocks.extend((0..500).map(|us| NOW + us));
    for us in clocks {
        clocked.add(us, &group);
    }
    for reply in clocked.client.send().chunks(2) {
        assert!(ScriptReply::decode(&group, &reply[1]).unwrap().admitted);
    }
    assert_eq!(clocked.count(NOW, &group), (false, 0));
    assert_eq!(clocked.length(), HEADER + 4_500 * ENTRY);
}

#[test]
fn a_large_cost_makes_as_many_entries() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(left(&client.count(&of_cost(9_999, 10_000))), [1]);
    assert!(client.int(&["STRLEN", LOG]) >= HEADER + 9_999 * ENTRY);
    assert!(!client.count(&of_cost(2, 10_000)).admitted);
    assert!(client.count(&of_cost(1, 10_000)).admitted);
    assert_eq!(client.int(&["STRLEN", LOG]), HEADER + 10_000 * ENTRY);
}

#[test]
fn a_log_is_as_long_as_its_entries_need_and_never_longer_than_n() {
    let server = Server::start();
    let mut clocked = Clocked::on(&server);
    let one = of_cost(1, 100);
    for calls in 1..=100 {
        assert_eq!(clocked.count(NOW + calls, &one), (true, 100 - calls));
        let capacity = (clocked.length() - HEADER) / ENTRY;
        let calls = i64::try_from(calls).unwrap();
        assert!(
            (calls..=(calls + calls / 2 + 2).min(100)).contains(&capacity),
            "{capacity} for {calls}"
        );
    }
    // A window later it has one entry, and the memory of a hundred is freed.
    assert_eq!(clocked.count(NOW + 60_000_100, &one), (true, 99));
    assert_eq!(clocked.length(), HEADER + 3 * ENTRY);
}

#[test]
fn a_client_takes_as_much_memory_as_its_calls_need() {
    let server = Server::start();
    let mut client = server.client();
    let mut used = |limit: u64, calls: u64| {
        client.run(&["FLUSHALL"]);
        let one = of_cost(1, limit);
        for _ in 0..calls {
            client.add_call("EVAL", body(), &one, Mode::Count);
        }
        client.send();
        client.int(&["MEMORY", "USAGE", LOG])
    };
    // 184, 232, 888 and 7,288 bytes in Redis 7.0, with a key of 73 characters; here it has 30.
    assert!(used(1_000, 3) < 200);
    assert!(used(10, 10) < 250);
    assert!(used(100, 100) < 1_000);
    assert!(used(1_000, 1_000) < 8_000);
}

#[test]
fn the_oldest_entries_go_one_by_one_while_the_ring_turns() {
    let server = Server::start();
    let mut clocked = Clocked::on(&server);
    let one = of_cost(1, 100);
    // 100 calls, 100 ms apart; then so on, each as its forerunner of a minute ago goes: two and a half turns.
    for turn in 0..3 {
        for call in 0..if turn == 2 { 50 } else { 100 } {
            let us = NOW + turn * 60_000_000 + call * 100_000;
            if turn > 0 {
                assert_eq!(clocked.count(us - 1, &one), (false, 0));
            }
            let left = if turn == 0 { 99 - call } else { 0 };
            assert_eq!(clocked.count(us, &one), (true, left));
        }
    }
    assert_eq!(clocked.length(), HEADER + 100 * ENTRY);
}

#[test]
fn another_n_keeps_what_was_admitted() {
    let server = Server::start();
    let mut clocked = Clocked::on(&server);
    for us in 0..80 {
        assert!(clocked.count(NOW + us, &of_cost(1, 100)).0);
    }
    assert_eq!(clocked.count(NOW + 90, &of_cost(1, 50)), (false, 0));
    assert_eq!(clocked.count(NOW + 90, &of_cost(1, 1_000)), (true, 919));
    assert_eq!(
        clocked.count(NOW + 60_000_030, &of_cost(1, 50)),
        (false, 0),
        "50 are left of 81"
    );
    assert_eq!(clocked.count(NOW + 60_000_031, &of_cost(1, 50)), (true, 0));
}

#[test]
fn what_is_no_log_of_ours_counts_as_nothing() {
    let server = Server::start();
    let mut client = server.client();
    for junk in ["", "not ours", "thirteen-and-sixteen-is-just-"] {
        client.run(&["SET", LOG, junk]);
        assert_eq!(left(&client.count(&of_cost(1, 10))), [9], "{junk:?}");
        assert_eq!(left(&client.count(&of_cost(1, 10))), [8], "{junk:?}");
        assert!(pttl(&mut client, LOG) > 0, "{junk:?}");
    }
}
