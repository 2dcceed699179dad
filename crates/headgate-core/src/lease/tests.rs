use super::*;
use crate::fixtures;
pub(super) use crate::fixtures::rate;
use crate::limit::fixtures::{header, limit, policy};
use crate::limit::{Align, Limit, LiveOverride, Override, Quota};
use crate::script::packed;

pub(super) const FIXED: Algorithm = Algorithm::FixedWindow { align: Align::Epoch };

/// A limit with leases of half of N.
pub(super) fn leased(algorithm: Algorithm, n: u64, period_ms: u64) -> Limit {
    Limit {
        quota: Quota::Limited(rate(n, period_ms)),
        algorithm,
        lease: Percent::from_basis_points(5_000),
        ..limit("hot", &[])
    }
}

pub(super) fn book(limits: Vec<Limit>) -> LeaseBook {
    LeaseBook::new(&policy(vec![header("x-api-key")], limits))
}

fn charge(at: usize, limit: &Limit) -> Charge {
    let Quota::Limited(rate) = limit.quota else {
        panic!()
    };
    Charge {
        key: at,
        ..fixtures::charge(at, limit.algorithm, rate)
    }
}

/// One request's counters, one for each limit, each with a key of its own.
pub(super) fn request(limits: &[Limit]) -> Vec<Group> {
    vec![Group {
        keys: (0..limits.len()).map(|at| format!("key {at}").into()).collect(),
        charges: limits
            .iter()
            .enumerate()
            .map(|(at, limit)| charge(at, limit))
            .collect(),
    }]
}

/// The reply of Redis to a call for one counter.
pub(super) fn reply(verdict: &Verdict) -> Result<Value, CallError> {
    Ok(packed(
        true,
        &[[
            u64::from(verdict.allowed),
            verdict.limit.unwrap(),
            verdict.remaining,
            verdict.reset_ms,
            verdict.wait_ms,
            7,
        ]],
    ))
}

fn left(remaining: u64) -> Verdict {
    Verdict {
        allowed: true,
        limit: Some(1_000),
        remaining,
        reset_ms: 30_000,
        wait_ms: 0,
    }
}

fn refusal(remaining: u64, wait_ms: u64) -> Verdict {
    Verdict {
        allowed: false,
        wait_ms,
        ..left(remaining)
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Requests at intervals of `step`; leases arrive at once. Returns how many requests went to Redis, and the sizes of
/// the leases.
fn run(
    book: &mut LeaseBook,
    groups: &[Group],
    at: &mut Instant,
    requests: usize,
    step: Duration,
) -> (usize, Vec<u64>) {
    let (mut asked, mut sizes) = (0, Vec::new());
    for _ in 0..requests {
        *at += step;
        if book.spend(*at, groups).is_none() {
            asked += 1;
            book.note(*at, groups);
        }
        for lease_request in book.lease_requests(*at, groups) {
            sizes.push(lease_request.calls);
            book.sent(*at, sizes.len() as u64, lease_request);
            let settled = book.settle(*at, sizes.len() as u64, reply(&left(900_000)));
            assert!(settled.is_some());
        }
    }
    (asked, sizes)
}

#[test]
fn a_busy_counter_needs_few_calls_and_an_idle_one_no_lease() {
    let limits = [leased(FIXED, 1_000_000, 3_600_000)];
    let (mut book, groups, mut at) = (book(limits.to_vec()), request(&limits), Instant::now());
    let (asked, sizes) = run(&mut book, &groups, &mut at, 10_000, Duration::from_micros(200));
    assert!(asked <= 4, "{asked} went to Redis");
    assert!(sizes.len() < 20, "{sizes:?}");
    assert!(sizes.last() > Some(&2_000), "half a second's worth: {sizes:?}");

    let (mut book, mut at) = (self::book(limits.to_vec()), Instant::now());
    let (asked, sizes) = run(&mut book, &groups, &mut at, 100, ms(400));
    assert_eq!((asked, sizes), (100, vec![]), "fewer than 8 a second");
}

#[test]
fn no_lease_outlives_its_use() {
    let limits = [leased(FIXED, 1_000_000, 3_600_000)];
    for step in [Duration::from_micros(100), ms(1), ms(7), ms(20)] {
        let (mut book, groups, mut at) = (book(limits.to_vec()), request(&limits), Instant::now());
        run(&mut book, &groups, &mut at, 5_000, step);
        let unspent: Vec<_> = book
            .events()
            .filter(|event| matches!(event, LeaseEvent::Unspent { .. }))
            .collect();
        assert_eq!(unspent, [], "every {step:?}");
    }
}

#[test]
fn a_lease_ends_with_its_permits_its_life_or_its_window() {
    let limits = [leased(FIXED, 1_000, 60_000)];
    let groups = request(&limits);
    // until the end of the window; how long the lease may be spent
    for (reset_ms, life) in [(30_000, 1_000), (300, 299), (1, 0)] {
        let (mut book, at) = (book(limits.to_vec()), Instant::now());
        for _ in 0..4 {
            book.note(at, &groups);
        }
        let lease_request = book.lease_requests(at, &groups).remove(0);
        assert_eq!((lease_request.calls, lease_request.group.charges[0].cost), (4, 4));
        assert!(book.lease_requests(at, &groups).is_empty(), "one at a time");
        book.sent(at, 9, lease_request);
        assert!(book.spend(at, &groups).is_none());
        book.settle(
            at,
            9,
            reply(&Verdict {
                reset_ms,
                ..left(500)
            }),
        );
        if life > 0 {
            let verdicts = book.spend(at + ms(life - 1), &groups).unwrap()[0];
            assert_eq!(
                (verdicts.remaining, verdicts.reset_ms),
                (503, reset_ms - (life - 1))
            );
        }
        assert!(book.spend(at + ms(life), &groups).is_none());
        let unspent = if life > 0 { 3 } else { 4 };
        let events = [
            LeaseEvent::Taken { limit: 0, permits: 4 },
            LeaseEvent::Unspent {
                limit: 0,
                permits: unspent,
            },
        ];
        assert_eq!(book.events().collect::<Vec<_>>(), events);
    }
}

#[test]
fn a_lease_answers_only_if_each_counter_has_a_permit() {
    let limits = [
        leased(FIXED, 1_000, 60_000),
        leased(Algorithm::Gcra { burst: 0 }, 1_000, 60_000),
    ];
    let (mut book, both, at) = (book(limits.to_vec()), request(&limits), Instant::now());
    let mut one = both.clone();
    one[0].charges.truncate(1);
    for _ in 0..4 {
        book.note(at, &both);
    }
    let lease_requests = book.lease_requests(at, &both);
    assert_eq!(lease_requests.len(), 2, "a call for each counter");
    for (call, lease_request) in (0..).zip(lease_requests) {
        assert_eq!(lease_request.group.keys, [both[0].keys[call as usize].clone()]);
        book.sent(at, call, lease_request);
    }
    book.settle(at, 0, reply(&left(500)));
    assert!(book.spend(at, &both).is_none(), "the other's are still under way");
    book.settle(at, 1, reply(&left(600)));
    for remaining in [[503, 603], [502, 602], [501, 601]] {
        let verdicts = book.spend(at, &both).unwrap();
        assert_eq!([verdicts[0].remaining, verdicts[1].remaining], remaining);
    }
    assert!(book.spend(at, &one).is_some());
    assert!(
        book.spend(at, &both).is_none(),
        "the first has none left, and the second is not touched"
    );
    let mut other = both.clone();
    other[0].charges.remove(0);
    assert!(book.spend(at, &other).is_some());
}

#[test]
fn requests_that_no_lease_could_answer_take_none() {
    let leased = leased(FIXED, 1_000, 60_000);
    let bare = Limit {
        lease: None,
        ..leased.clone()
    };
    let small = self::leased(FIXED, 7, 60_000);
    let one = std::slice::from_ref(&leased);
    let takes = |limits: &[Limit], change: &dyn Fn(&mut Charge)| {
        let (mut book, mut groups, at) = (book(limits.to_vec()), request(limits), Instant::now());
        groups[0].charges.iter_mut().for_each(change);
        for _ in 0..50 {
            book.note(at, &groups);
        }
        !book.lease_requests(at, &groups).is_empty()
    };
    assert!(takes(one, &|_| {}));
    assert!(
        !takes(&[leased.clone(), bare], &|_| {}),
        "one of two has no lease"
    );
    assert!(!takes(&[small], &|_| {}), "half of 7 is not worth a call");
    assert!(!takes(one, &|charge| charge.cost = 0));
    assert!(
        !takes(one, &|charge| charge.cost = 200),
        "half of N are 2 requests"
    );
    assert!(!takes(one, &|charge| charge.charged_on_response = true));
    assert!(!takes(one, &|charge| {
        charge.live = Some(LiveOverride {
            key: 0,
            field: "o".into(),
            unlimited: false,
        });
    }));
    let other_n = Limit {
        overrides: vec![Override::Cidr {
            net: "10.0.0.0/8".parse().unwrap(),
            quota: Quota::Limited(rate(5, 60_000)),
        }],
        ..leased
    };
    assert!(
        !takes(&[other_n], &|charge| charge.rate.limit = 5),
        "by the N that holds"
    );
}

#[test]
fn a_lease_is_at_most_its_share_and_an_eighth_of_what_is_left() {
    let limits = [leased(FIXED, 100, 60_000)];
    let groups = request(&limits);
    let size_after = |verdict: &Verdict| {
        let (mut book, mut at) = (book(limits.to_vec()), Instant::now());
        let mut sizes = Vec::new();
        for call in 0..2_000 {
            at += Duration::from_micros(20);
            if book.spend(at, &groups).is_none() {
                book.note(at, &groups);
            }
            for lease_request in book.lease_requests(at, &groups) {
                sizes.push(lease_request.calls);
                book.sent(at, call, lease_request);
                book.settle(at, call, reply(verdict));
            }
        }
        sizes
    };
    assert_eq!(size_after(&left(100_000)).into_iter().max(), Some(50));
    assert_eq!(size_after(&left(80))[1..].iter().max(), Some(&10));
    assert_eq!(size_after(&left(31)), [4], "too little is left for another");
    // Redis refuses: there is one smaller attempt, and no more until the retry time.
    assert_eq!(size_after(&refusal(9, 500)), [4]);
    assert!(size_after(&refusal(40, 500)).iter().all(|size| *size <= 5));
}

#[test]
fn after_a_failure_no_lease_is_requested_for_a_second() {
    let limits = [leased(FIXED, 1_000, 60_000)];
    let (mut book, groups, at) = (book(limits.to_vec()), request(&limits), Instant::now());
    for _ in 0..8 {
        book.note(at, &groups);
    }
    let lease_request = book.lease_requests(at, &groups).remove(0);
    book.sent(at, 1, lease_request);
    book.settle(at, 1, reply(&left(500)));
    for _ in 0..4 {
        assert!(book.spend(at, &groups).is_some());
    }
    let lease_request = book.lease_requests(at, &groups).remove(0);
    book.sent(at, 2, lease_request);
    book.settle(at, 2, Err(CallError::Lost));
    for _ in 0..4 {
        assert!(book.spend(at, &groups).is_some());
    }
    let busy = |book: &mut LeaseBook, at| {
        (0..8).for_each(|_| book.note(at, &groups));
        book.lease_requests(at, &groups)
    };
    assert_eq!(busy(&mut book, at + ms(999)), []);
    let again = busy(&mut book, at + ms(1_000)).remove(0);
    book.unsent(at + ms(1_000), &again);
    assert_eq!(busy(&mut book, at + ms(1_999)), []);
    assert_eq!(
        book.settle(at, 77, Err(CallError::Lost)),
        None,
        "no call of the book's"
    );
}

#[test]
fn unused_leases_are_removed_and_the_rest_is_bounded() {
    let limits = [leased(FIXED, 1_000, 60_000)];
    let (mut book, at) = (book(limits.to_vec()), Instant::now());
    for n in 0..MAX_ACCOUNTS + 100 {
        let mut groups = request(&limits);
        groups[0].keys[0] = format!("key {n}").into();
        book.note(at, &groups);
    }
    assert_eq!(book.accounts.len(), MAX_ACCOUNTS);
    assert_eq!(book.due(), Some(at + SWEEP));
    book.sweep(at + SWEEP + ms(1));
    assert!(book.accounts.is_empty() && book.due().is_none());
}
