//! The figures that callers get, in real time: waits, overrides, permits given back and charges on response.

use crate::fixtures::*;
use crate::server::Server;
use headgate_core::limit::Charge;
use headgate_core::redis::resp::Value;
use headgate_core::script::{Mode, ScriptReply};
use std::time::Duration;

#[test]
fn waits_and_resets_are_kept_in_real_time() {
    let server = Server::start();
    let mut client = server.client();
    for form in FORMS {
        client.run(&["FLUSHALL"]);
        let group = group(&[charge(form, 2, 1_000)]);
        let denied = (0..20)
            .map(|_| client.count(&group).verdicts[0])
            .find(|verdict| !verdict.allowed)
            .expect("a denial");
        assert!((1..=2_000).contains(&denied.wait_ms), "{form:?}: {denied:?}");
        std::thread::sleep(Duration::from_millis(denied.wait_ms));
        let passed = client.count(&group).verdicts[0];
        assert!(passed.allowed, "{form:?}: {denied:?}");
        std::thread::sleep(Duration::from_millis(passed.reset_ms));
        assert_eq!(left(&client.count(&group)), [1], "{form:?}: {passed:?}");
    }
}

#[test]
fn what_a_call_charged_is_given_back() {
    let server = Server::start();
    let mut client = server.client();
    let charges: Vec<Charge> = FORMS
        .iter()
        .map(|form| Charge {
            cost: 4,
            ..charge(*form, 10, DAY)
        })
        .collect();
    let group = group(&charges);
    client.count(&group);
    let reply = client.count(&group);
    assert_eq!(left(&reply), [2; 4]);
    assert_eq!(
        client.call(&group, Mode::GiveBack(&reply)),
        Value::Bulk(Some(vec![1]))
    );
    assert_eq!(left(&client.count(&group)), [2; 4]);
}

#[test]
fn giving_back_makes_no_key() {
    let server = Server::start();
    let mut client = server.client();
    let group = group(&FORMS.map(|form| charge(form, 10, DAY)));
    let reply = client.count(&group);
    client.run(&["DEL", HASH, LOG]);
    client.call(&group, Mode::GiveBack(&reply));
    assert_eq!(client.int(&["EXISTS", HASH, LOG]), 0);
}

#[test]
fn a_charge_after_the_fact_may_overdraw_and_extends_the_expiry() {
    let server = Server::start();
    let mut client = server.client();
    let hour = 3_600_000;
    for form in [FIXED, COUNTER, GCRA] {
        client.run(&["FLUSHALL"]);
        let later = Charge {
            charged_on_response: true,
            ..charge(form, 10, hour)
        };
        let asked = group(std::slice::from_ref(&later));
        assert_eq!(left(&client.count(&asked)), [10], "{form:?} takes nothing yet");
        assert_eq!(client.int(&["EXISTS", HASH]), 0);
        let charged = group(&[Charge { cost: 25, ..later }]);
        let value = client.call(&charged, Mode::Charge);
        let verdict = ScriptReply::decode(&charged, &value).unwrap().verdicts[0];
        assert!(verdict.allowed && verdict.remaining == 0, "{form:?}: {verdict:?}");
        let reset = i64::try_from(verdict.reset_ms).unwrap();
        assert!(
            (reset - 1_000..=reset + 1).contains(&pttl(&mut client, HASH)),
            "{form:?}"
        );
        let denied = client.count(&asked).verdicts[0];
        assert!(
            !denied.allowed && denied.wait_ms > 0,
            "{form:?} needs 1 left: {denied:?}"
        );
    }
}

#[test]
fn a_live_override_applies_from_the_next_call_on() {
    let server = Server::start();
    let mut client = server.client();
    for form in FORMS {
        client.run(&["FLUSHALL"]);
        let charge = live(charge(form, 3, DAY));
        let field = charge.live.as_ref().unwrap().field.to_string();
        let group = group(&[charge]);
        let mut with = |value: &str| {
            client.run(&["HSET", HASH, &field, value]);
            let verdict = client.count(&group).verdicts[0];
            (verdict.limit, verdict.remaining, verdict.allowed)
        };
        assert_eq!(with("10"), (Some(10), 9, true), "{form:?}");
        assert_eq!(with("unlimited"), (None, 0, true), "{form:?}");
        assert_eq!(
            with(&format!("20 {}", now_ms() + 60_000)),
            (Some(20), 18, true),
            "{form:?}"
        );
        assert_eq!(
            with(&format!("20 {}", now_ms() - 1)),
            (Some(3), 0, true),
            "{form:?}: ended"
        );
        assert_eq!(with("much"), (Some(3), 0, false), "{form:?}: malformed");
        assert_eq!(with("0"), (Some(0), 0, false), "{form:?}");
    }
}
