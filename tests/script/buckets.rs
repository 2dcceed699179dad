//! A bucket in Redis whose N changes, and its state after a call that another limit denied.

use crate::fixtures::*;
use crate::server::{Client, Server};
use headgate_core::limit::{Charge, Verdict};
use headgate_core::redis::resp::Value;
use headgate_core::script::{Mode, ScriptReply};
use std::time::Duration;

const MINUTE: u64 = 60_000;

fn bucket(limit: u64) -> Charge {
    charge(GCRA, limit, MINUTE)
}

/// A client who has spent 1,000 a minute.
fn spend(client: &mut Client, charge: &Charge) {
    let spent = group(&[Charge {
        cost: 1_000,
        ..charge.clone()
    }]);
    assert!(client.count(&spent).admitted);
}

/// The verdict of a bucket of 21 a minute on a call, after a larger N filled it.
fn is_that_of_a_full_bucket(verdict: &Verdict) {
    assert_eq!((verdict.allowed, verdict.limit), (false, Some(21)));
    assert!(
        verdict.wait_ms <= MINUTE / 21 + 1 && verdict.reset_ms <= MINUTE,
        "{verdict:?}"
    );
}

#[test]
fn the_end_of_a_live_override_locks_no_client_out() {
    let server = Server::start();
    let mut client = server.client();
    let charge = live(bucket(21));
    let field = charge.live.as_ref().expect("an override").field.to_string();
    let ends = now_ms() + 500;
    client.run(&["HSET", HASH, &field, &format!("1000 {ends}")]);
    spend(&mut client, &charge);
    while now_ms() <= ends {
        std::thread::sleep(Duration::from_millis(5));
    }
    is_that_of_a_full_bucket(&client.count(&group(&[charge])).verdicts[0]);
}

#[test]
fn a_deployment_with_a_lower_n_locks_no_client_out() {
    let server = Server::start();
    let mut client = server.client();
    spend(&mut client, &bucket(1_000));
    let low = group(&[bucket(21)]);
    let denied = client.count(&low).verdicts[0];
    is_that_of_a_full_bucket(&denied);
    std::thread::sleep(Duration::from_millis(denied.wait_ms));
    assert!(client.count(&low).admitted, "after {denied:?}");
    let high = client.count(&group(&[bucket(1_000)])).verdicts[0];
    assert!(
        high.remaining < 1_000 / 10,
        "a call of the lower N empties no bucket: {high:?}"
    );
}

#[test]
fn a_cost_from_the_response_is_owed_for_a_full_bucket_at_most() {
    let server = Server::start();
    let mut client = server.client();
    let later = Charge {
        charged_on_response: true,
        ..bucket(60)
    };
    let asked = group(std::slice::from_ref(&later));
    let charged = group(&[Charge { cost: 60, ..later }]);
    for calls in 1..=3 {
        let value = client.call(&charged, Mode::Charge);
        assert!(ScriptReply::decode(&charged, &value).is_ok(), "{value:?}");
        let owed = client.count(&asked).verdicts[0];
        let (full, twice) = (calls * MINUTE, 2 * MINUTE - 1_000);
        let expected = full.min(twice);
        assert!(
            (expected - 5_000..=expected).contains(&owed.reset_ms) && owed.wait_ms <= MINUTE,
            "{calls} calls: {owed:?}"
        );
    }
}

#[test]
fn calls_that_another_limit_denied_consume_nothing() {
    let server = Server::start();
    let mut client = server.client();
    let charge = bucket(60_000); // one drains each ms
    let one = group(std::slice::from_ref(&charge));
    client.count(&group(&[Charge {
        cost: 40_000,
        ..charge
    }]));
    let start = now_ms();
    for _ in 0..230 {
        let reply = client.count(&one);
        assert!(reply.admitted);
        std::thread::sleep(Duration::from_millis(2));
        let given = client.call(&one, Mode::GiveBack(&reply));
        assert_eq!(given, Value::Bulk(Some(vec![1])));
    }
    let drained = u64::try_from(now_ms() - start).expect("the clock does not go back");
    let left = left(&client.count(&one))[0];
    assert!(
        left + 3 > 20_000 + drained,
        "{left} left of 20,000 and {drained} that drained"
    );
}
