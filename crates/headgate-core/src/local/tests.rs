//! Rules of the table: threads lose no counts, nothing is evicted early, nothing is kept for ever.

use super::*;
use crate::fixtures;
use crate::limit::Align;
use std::thread;

pub(super) const NOW: u64 = 1_700_000_000_000_000;
pub(super) const MINUTE: u64 = 60_000_000;

pub(super) fn store(host: &Memory, max_counters: usize) -> LocalStore<&Memory> {
    shared(host, max_counters, 10_000)
}

fn shared(host: &Memory, max_counters: usize, share: u16) -> LocalStore<&Memory> {
    let settings = LocalSettings {
        share: Percent::from_basis_points(share).unwrap(),
        max_counters,
    };
    LocalStore::new(host, "ratelimit:main", &settings, [1, 2])
}

pub(super) fn charge(limit: usize, algorithm: Algorithm, n: u64) -> Charge {
    fixtures::charge(limit, algorithm, fixtures::rate(n, 60_000))
}

pub(super) fn group(client: &str, charges: Vec<Charge>) -> Group {
    fixtures::group(format!("ratelimit:main:{{api_key:{client}}}"), charges)
}

/// One fixed window with this N for each minute.
pub(super) fn window(client: &str, n: u64) -> Group {
    let algorithm = Algorithm::FixedWindow {
        align: Align::FirstCall,
    };
    group(client, vec![charge(0, algorithm, n)])
}

pub(super) fn passes(store: &mut LocalStore<&Memory>, group: &Group, clock_us: u64) -> bool {
    store.count(group, &|_| true, clock_us).unwrap().admitted
}

#[test]
fn eight_threads_take_exactly_n_of_every_counter() {
    let host = Memory::default();
    let forms = [
        Algorithm::SlidingWindowLog,
        Algorithm::SlidingWindowCounter,
        Algorithm::Gcra { burst: 0 },
    ];
    let passed: u64 = thread::scope(|scope| {
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (host, forms) = (&host, &forms);
                scope.spawn(move || {
                    // Another worker, with another seed: the first worker's seed is used.
                    let mut store = store(host, 1_000);
                    let mut passed = 0;
                    for round in 0..50 {
                        for client in 0..20 {
                            let charges = forms
                                .iter()
                                .enumerate()
                                .map(|(n, form)| charge(n, *form, 40 + n as u64));
                            let group = group(&format!("c{client}"), charges.collect());
                            passed += u64::from(passes(&mut store, &group, NOW + round));
                        }
                    }
                    passed
                })
            })
            .collect();
        tasks.into_iter().map(|task| task.join().unwrap()).sum()
    });
    assert_eq!(passed, 20 * 40, "400 calls a client, the tightest limit is 40");
}

#[test]
fn threads_that_fill_the_table_lose_no_counter() {
    let host = Memory::default();
    let forgotten: u64 = thread::scope(|scope| {
        let tasks: Vec<_> = (0..4)
            .map(|task| {
                let host = &host;
                scope.spawn(move || {
                    let mut store = store(host, 4_000);
                    for client in 0..1_000 {
                        assert!(passes(&mut store, &window(&format!("{task}-{client}"), 1), NOW));
                    }
                    for client in 0..1_000 {
                        assert!(!passes(&mut store, &window(&format!("{task}-{client}"), 1), NOW));
                    }
                    store.take_evicted()
                })
            })
            .collect();
        tasks.into_iter().map(|task| task.join().unwrap()).sum()
    });
    assert_eq!(forgotten, 0);
}

#[test]
fn beyond_the_bound_the_longest_unused_is_evicted_and_counted() {
    let host = Memory::default();
    let mut store = store(&host, 3);
    for (n, client) in ["a", "b", "c"].into_iter().enumerate() {
        assert!(passes(&mut store, &window(client, 1), NOW + n as u64 * 1_000));
    }
    // `a` is denied, which counts as a use.
    assert!(!passes(&mut store, &window("a", 1), NOW + 5_000_000));
    assert_eq!(store.take_evicted(), 0);
    assert!(passes(&mut store, &window("d", 1), NOW + 6_000_000));
    assert_eq!(store.take_evicted(), 1);
    assert!(!passes(&mut store, &window("a", 1), NOW + 7_000_000));
    assert!(!passes(&mut store, &window("c", 1), NOW + 7_000_000));
    assert!(
        passes(&mut store, &window("b", 1), NOW + 7_000_000),
        "b was the least recently used"
    );
}

#[test]
fn memory_stays_bounded_under_ever_new_clients() {
    let host = Memory::default();
    let mut store = store(&host, 1_000);
    for client in 0..20_000 {
        assert!(passes(&mut store, &window(&client.to_string(), 5), NOW + client));
    }
    let evicted = store.take_evicted();
    assert!(
        (18_900..=19_000).contains(&evicted),
        "{evicted} of 20,000 in 1,000"
    );
    let (values, bytes) = host.size();
    assert!(values <= 65, "{values}");
    assert!(bytes <= 1_064 * 52 + 100, "{bytes}");
}

#[test]
fn expired_counters_make_room_without_an_eviction() {
    let host = Memory::default();
    let mut store = store(&host, 1_000);
    for minute in 0..5 {
        let clock = NOW + minute * 2 * MINUTE;
        for round in 0..2 {
            for client in 0..1_000 {
                let group = window(&format!("{minute}-{client}"), 1);
                assert_eq!(passes(&mut store, &group, clock), round == 0, "{minute} {client}");
            }
        }
    }
    assert_eq!(store.take_evicted(), 0);
}

#[test]
fn one_caller_of_many_counters_pushes_out_its_own() {
    let host = Memory::default();
    let mut store = store(&host, 100_000);
    assert!(passes(&mut store, &window("other", 1), NOW));
    for path in 0..5_000 {
        let mut group = window("a", 1);
        let own = [&*group.keys[0], format!(":x:fixed:60000:/{path}").as_bytes()].concat();
        group.keys = vec![own];
        assert!(passes(&mut store, &group, NOW + path));
    }
    let evicted = store.take_evicted();
    assert!((3_000..4_000).contains(&evicted), "{evicted}");
    assert!(host.size().1 < 80 << 10, "{:?}", host.size());
    assert!(!passes(&mut store, &window("other", 1), NOW));
}

#[test]
fn values_of_an_unknown_version_are_empty_and_overwritten() {
    let host = Memory::default();
    assert!(passes(&mut store(&host, 10), &window("a", 1), NOW));
    for name in host.names() {
        let (mut value, _) = host.get(&name).unwrap();
        let version = if name.ends_with("census") { 0 } else { 2 };
        value[version] = 99;
        host.put(&name, &value);
    }
    let mut store = store(&host, 10);
    assert!(passes(&mut store, &window("a", 1), NOW), "an empty slot");
    assert!(!passes(&mut store, &window("a", 1), NOW));
}

#[test]
fn a_denial_charges_nothing_and_charges_can_be_given_back() {
    let host = Memory::default();
    let mut store = store(&host, 10);
    let wide = charge(0, Algorithm::SlidingWindowCounter, 10);
    let narrow = charge(1, Algorithm::SlidingWindowLog, 1);
    let both = group("a", vec![wide.clone(), narrow]);
    let first = store.count(&both, &|_| true, NOW).unwrap();
    assert_eq!((first.admitted, first.verdicts[0].remaining), (true, 9));
    let denied = store.count(&both, &|_| true, NOW).unwrap();
    assert_eq!((denied.admitted, denied.verdicts[0].remaining), (false, 9));
    store.give_back(&both, &denied, NOW).unwrap();
    store.give_back(&both, &first, NOW).unwrap();
    let alone = store.count(&group("a", vec![wide]), &|_| true, NOW).unwrap();
    assert_eq!(alone.verdicts[0].remaining, 9, "only this call is charged");
    assert!(passes(&mut store, &both, NOW));
}

#[test]
fn a_bucket_gives_back_its_charge_and_is_at_most_full() {
    let host = Memory::default();
    let mut store = store(&host, 10);
    let of = |limit, cost| {
        let charge = charge(0, Algorithm::Gcra { burst: 0 }, limit);
        group("a", vec![Charge { cost, ..charge }])
    };
    let mut clock = NOW;
    store.count(&of(1_000, 600), &|_| true, clock).unwrap();
    for _ in 0..230 {
        let reply = store.count(&of(1_000, 1), &|_| true, clock).unwrap();
        clock += 20_000;
        store.give_back(&of(1_000, 1), &reply, clock).unwrap();
    }
    let drained = (clock - NOW) / 60_000;
    let reply = store.count(&of(1_000, 0), &|_| true, clock).unwrap();
    assert_eq!(reply.verdicts[0].remaining, 400 + drained);
    let low = of(21, 1);
    let denied = store.count(&low, &|_| true, clock).unwrap();
    let wait_ms = denied.verdicts[0].wait_ms;
    assert!(!denied.admitted && wait_ms <= 60_000 / 21 + 1, "{denied:?}");
    assert!(passes(&mut store, &low, clock + wait_ms * 1_000));
}

#[test]
fn charges_counted_elsewhere_are_unlimited_here() {
    let host = Memory::default();
    let mut store = store(&host, 10);
    let charges = vec![
        charge(0, Algorithm::SlidingWindowCounter, 0),
        charge(1, Algorithm::SlidingWindowCounter, 5),
    ];
    let reply = store
        .count(&group("a", charges), &|charge| charge.limit == 1, NOW)
        .unwrap();
    assert!(reply.admitted);
    assert_eq!(reply.verdicts[0], Verdict::UNLIMITED);
    assert_eq!(reply.verdicts[1].remaining, 4);
    assert_eq!((reply.charged(0), reply.charged(1).is_some()), (None, true));
}

#[test]
fn an_envoy_grants_its_share_but_at_least_1_unless_n_is_0() {
    let host = Memory::default();
    let mut store = shared(&host, 100, 2_500);
    let mut granted = |algorithm, n| {
        let group = group(&format!("{n}"), vec![charge(n as usize, algorithm, n)]);
        let first = store.count(&group, &|_| true, NOW).unwrap().verdicts[0];
        let more = (1..200).filter(|_| passes(&mut store, &group, NOW)).count() as u64;
        assert_eq!(first.limit, Some(u64::from(first.allowed) + more));
        first.limit.unwrap()
    };
    let counter = Algorithm::SlidingWindowCounter;
    assert_eq!([0, 1, 7, 8, 100].map(|n| granted(counter, n)), [0, 1, 1, 2, 25]);
    assert_eq!(granted(Algorithm::Gcra { burst: 10 }, 60), 2);
}

#[test]
fn a_log_of_more_than_64_is_counted_as_a_counter() {
    let host = Memory::default();
    let mut store = store(&host, 10);
    let mut reset = |n| {
        let group = group(&format!("{n}"), vec![charge(0, Algorithm::SlidingWindowLog, n)]);
        store.count(&group, &|_| true, NOW).unwrap().verdicts[0].reset_ms
    };
    assert_eq!(
        reset(64),
        60_000,
        "a log is whole again a period after its newest entry"
    );
    assert!(reset(65) > 60_000, "a counter remembers the window before");
}

#[test]
fn a_cost_that_comes_later_needs_one_left_and_may_overdraw() {
    let host = Memory::default();
    let mut store = store(&host, 10);
    let mut later = charge(0, Algorithm::SlidingWindowCounter, 100);
    later.charged_on_response = true;
    let call = group("a", vec![later.clone()]);
    assert!(passes(&mut store, &call, NOW) && passes(&mut store, &call, NOW));
    later.cost = 250;
    let reply = store.charge(&group("a", vec![later]), &|_| true, NOW).unwrap();
    assert_eq!(reply.verdicts[0].remaining, 0);
    assert!(!passes(&mut store, &call, NOW));
}

#[test]
fn a_live_override_that_alone_would_limit_does_not_limit_here() {
    let host = Memory::default();
    let mut unlimited = charge(0, Algorithm::SlidingWindowCounter, 0);
    unlimited.live = Some(crate::limit::LiveOverride {
        key: 0,
        field: "0:override".into(),
        unlimited: true,
    });
    let reply = store(&host, 10)
        .count(&group("a", vec![unlimited]), &|_| true, NOW)
        .unwrap();
    assert_eq!((reply.admitted, reply.verdicts[0]), (true, Verdict::UNLIMITED));
}

#[test]
fn a_clock_that_steps_back_grants_no_second_window() {
    let host = Memory::default();
    let mut store = store(&host, 10);
    assert!(passes(&mut store, &window("a", 1), NOW));
    for back in [1, 1_000_000, MINUTE] {
        assert!(!passes(&mut store, &window("a", 1), NOW - back), "{back}");
    }
}

#[test]
fn a_denial_writes_nothing_but_once_a_second() {
    let host = Memory::default();
    let mut store = store(&host, 10);
    let written = || {
        host.names()
            .iter()
            .filter_map(|name| host.get(name))
            .map(|(_, Version(v))| v)
            .max()
    };
    assert!(passes(&mut store, &window("a", 1), NOW));
    let after = written();
    for ms in 0..1_000 {
        assert!(!passes(&mut store, &window("a", 1), NOW + ms * 1_000));
    }
    assert_eq!(written(), after);
    assert!(!passes(&mut store, &window("a", 1), NOW + 1_000_000));
    assert_ne!(written(), after);
}
