//! Which counters are evicted: the least recently used, and those that still deny last.

use super::tests::{charge, group, passes, store, window, MINUTE, NOW};
use super::*;
use crate::limit::Align;

const FORMS: [Algorithm; 4] = [
    Algorithm::FixedWindow {
        align: Align::FirstCall,
    },
    Algorithm::SlidingWindowLog,
    Algorithm::SlidingWindowCounter,
    Algorithm::Gcra { burst: 0 },
];

/// At the start of a minute, so that no window of a sliding counter ends during a test.
const START: u64 = NOW - NOW % MINUTE;

/// A call of 3 a minute for one path of a client, each path with a counter of its own.
fn on_path(client: &str, form: Algorithm, path: &str) -> Group {
    let mut call = group(client, vec![charge(0, form, 3)]);
    let key = [&*call.keys[0], format!(":x:60000:{path}").as_bytes()].concat();
    call.keys = vec![key];
    call
}

/// Calls until one is denied; how many pass.
fn spend(store: &mut LocalStore<&Memory>, call: &Group, clock_us: u64) -> u64 {
    (0..100).take_while(|_| passes(store, call, clock_us)).count() as u64
}

#[test]
fn made_up_paths_do_not_evict_the_callers_own_spent_counter() {
    for form in FORMS {
        let host = Memory::default();
        let mut store = store(&host, 100_000);
        let spent = on_path("a", form, "/login");
        assert_eq!(spend(&mut store, &spent, START), 3, "{form:?}");
        for n in 0..2_500 {
            let call = on_path("a", form, &format!("/{n}"));
            assert!(passes(&mut store, &call, START + n * 1_000), "{form:?}: {n}");
        }
        assert!(!passes(&mut store, &spent, START + 5_000_000), "{form:?}");
        let (_, bytes) = host.size();
        assert!(bytes < 66 << 10, "{form:?}: {bytes}");
        assert!(store.take_evicted() > 1_000, "{form:?}");
    }
}

#[test]
fn other_limits_of_the_same_tag_do_not_evict_a_spent_counter() {
    let host = Memory::default();
    let mut store = store(&host, 100_000);
    let login = group("a", vec![charge(7, FORMS[2], 3)]);
    assert_eq!(spend(&mut store, &login, START), 3);
    for n in 0..5_000 {
        let mut call = on_path("a", FORMS[0], &format!("/{n}"));
        call.keys.push(login.keys[0].clone());
        let mut daily = charge(8, FORMS[1], 60);
        daily.key = 1;
        daily.enforced = false;
        call.charges.push(daily);
        assert!(passes(&mut store, &call, START + n * 1_000));
    }
    assert!(!passes(&mut store, &login, START + 5_000_000));
}

#[test]
fn made_up_clients_do_not_evict_the_spent_counters_of_others() {
    for (max_counters, spenders, made_up) in [(64, 1, 10_000), (64, 40, 2_000), (1_000, 50, 4_000)] {
        for form in FORMS {
            let host = Memory::default();
            let mut store = store(&host, max_counters);
            let call = |client: &str| group(client, vec![charge(0, form, 3)]);
            let spent: Vec<Group> = (0..spenders).map(|n| call(&format!("spent-{n}"))).collect();
            for spent in &spent {
                assert_eq!(spend(&mut store, spent, START), 3);
            }
            for n in 0..made_up {
                assert!(passes(
                    &mut store,
                    &call(&format!("made-up-{n}")),
                    START + n * 100
                ));
            }
            let free = spent
                .iter()
                .filter(|spent| passes(&mut store, spent, START + 1_000_000));
            assert_eq!(free.count(), 0, "{form:?}, {spenders} in {max_counters}");
        }
    }
}

#[test]
fn if_all_deny_the_least_recently_used_counter_is_evicted() {
    let host = Memory::default();
    let mut store = store(&host, 64);
    for n in 0..10_000 {
        assert!(passes(&mut store, &window(&n.to_string(), 1), START + n * 1_000));
    }
    assert!(host.size().1 < 65 * 52 + 100, "{:?}", host.size());
    let now = START + 10_000_000;
    for n in 9_936..10_000 {
        assert!(!passes(&mut store, &window(&n.to_string(), 1), now), "{n}");
    }
    assert_eq!(store.take_evicted(), 10_000 - 64);
    assert!(passes(&mut store, &window("9935", 1), now));
}

#[test]
fn spent_counters_in_every_place_leave_new_clients_limited() {
    let host = Memory::default();
    let mut store = store(&host, 64);
    for n in 0..64 {
        assert_eq!(spend(&mut store, &window(&n.to_string(), 3), START), 3);
    }
    let mut passed = 0;
    for round in 0..20 {
        passed += u64::from(passes(&mut store, &window("new", 3), START + round));
        for other in 0..10 {
            passes(&mut store, &window(&format!("{round}-{other}"), 3), START + round);
        }
    }
    assert_eq!(passed, 3);
}

#[test]
fn a_counter_that_denies_no_longer_is_evicted_like_any_other() {
    let host = Memory::default();
    let mut store = store(&host, 4);
    // Of 3 a minute one is back after 20 s, and all after a minute.
    let bucket = |client: &str| group(client, vec![charge(0, FORMS[3], 3)]);
    assert_eq!(spend(&mut store, &bucket("a"), START), 3);
    for (client, seconds) in [("b", 10), ("c", 11), ("d", 12), ("e", 22)] {
        assert!(passes(&mut store, &bucket(client), START + seconds * 1_000_000));
    }
    let full = store.count(&bucket("a"), &|_| true, START + 23_000_000).unwrap();
    assert_eq!(full.verdicts[0].remaining, 2, "it starts again");
}

#[test]
fn denials_of_costly_calls_and_late_charges_protect_too() {
    let costly = |cost| {
        let mut charge = charge(0, FORMS[2], 10);
        charge.cost = cost;
        group("costly", vec![charge])
    };
    let later = |cost| {
        let mut charge = charge(0, FORMS[2], 10);
        (charge.cost, charge.charged_on_response) = (cost, true);
        group("later", vec![charge])
    };
    let host = Memory::default();
    let mut store = store(&host, 64);
    for cost in [2, 2, 2] {
        assert!(passes(&mut store, &costly(cost), START));
    }
    assert!(!passes(&mut store, &costly(5), START), "4 are left");
    assert!(passes(&mut store, &later(1), START));
    store.charge(&later(25), &|_| true, START).unwrap();
    for n in 0..1_000 {
        assert!(passes(&mut store, &window(&n.to_string(), 3), START + n * 1_000));
    }
    let now = START + 1_000_000;
    assert!(!passes(&mut store, &costly(5), now), "4 are left");
    assert!(!passes(&mut store, &later(1), now), "overdrawn");
}

#[test]
fn a_call_that_can_never_pass_protects_no_counter() {
    let host = Memory::default();
    let mut store = store(&host, 8);
    assert_eq!(spend(&mut store, &window("spent", 3), START), 3);
    for n in 0..100 {
        let client = format!("made-up-{n}");
        assert!(passes(&mut store, &window(&client, 3), START + n * 1_000));
        let mut impossible = window(&client, 3);
        impossible.charges[0].cost = 4;
        assert!(!passes(&mut store, &impossible, START + n * 1_000));
    }
    assert!(!passes(&mut store, &window("spent", 3), START + 200_000));
}

#[test]
fn what_is_given_back_no_longer_protects() {
    let host = Memory::default();
    let mut store = store(&host, 4);
    let only = window("a", 1);
    let reply = store.count(&only, &|_| true, START).unwrap();
    store.give_back(&only, &reply, START).unwrap();
    for n in 0..4 {
        assert!(passes(&mut store, &window(&n.to_string(), 3), START + 1_000));
    }
    assert_eq!(store.take_evicted(), 1);
    for n in 0..4 {
        let left = store.count(&window(&n.to_string(), 3), &|_| true, START + 2_000);
        assert_eq!(left.unwrap().verdicts[0].remaining, 1, "{n} is still there");
    }
}
