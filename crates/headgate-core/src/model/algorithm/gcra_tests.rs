//! The laws of the bucket alone: under changing terms, overdrawn, and with refunds.

use super::*;
use crate::model::algorithm::laws::{config, terms};
use proptest::prelude::*;

const NOW: u64 = 1_700_000_000_000;
const MINUTE: u64 = 60_000;

fn of(limit: u64, burst: u64) -> Terms {
    terms(Algorithm::Gcra { burst }, limit, MINUTE)
}

fn later(limit: u64, burst: u64) -> Terms {
    Terms {
        overdraws: true,
        ..of(limit, burst)
    }
}

/// A bucket that holds this many requests at `NOW`.
fn holding(requests: u64) -> Gcra {
    Gcra {
        time_ms: NOW,
        level: requests * MINUTE,
    }
}

/// Charges the call if it may pass.
fn admits(bucket: &mut Gcra, clock_ms: u64, terms: &Terms, cost: u64) -> bool {
    let allowed = bucket.check(clock_ms, terms, cost, 0).allowed;
    if allowed {
        bucket.charge(clock_ms, terms, cost, 0);
    }
    allowed
}

#[test]
fn a_wait_that_is_not_exact_in_a_double_is_rounded_as_in_redis() {
    let terms = terms(Algorithm::Gcra { burst: 0 }, 1, 2_195_019_413);
    let overdrawn = Terms {
        overdraws: true,
        rate: terms.rate,
        algorithm: Algorithm::Gcra { burst: 4_103_461 },
        ..terms
    };
    let full = Gcra {
        time_ms: NOW + 1,
        level: EXACT,
    };
    assert_eq!(full.check(NOW, &overdrawn, 1, 0).reset_ms, EXACT);
    assert_eq!(full.check(NOW - 1, &overdrawn, 1, 0).reset_ms, EXACT + 2);
}

#[test]
fn a_burst_passes_at_once_then_one_call_per_period_over_n() {
    let terms = of(60, 3);
    let mut bucket = Gcra::default();
    bucket.charge(NOW, &terms, 3, 0);
    let denied = bucket.check(NOW, &terms, 1, 0);
    assert_eq!((denied.allowed, denied.limit), (false, Some(3)));
    assert_eq!((denied.wait_ms, denied.reset_ms), (1_000, 3_000));
    assert!(!bucket.check(NOW + 999, &terms, 1, 0).allowed);
    assert_eq!(bucket.check(NOW + 1_000, &terms, 1, 0).remaining, 1);
}

#[test]
fn without_a_burst_the_capacity_is_the_current_n() {
    let verdict = Gcra::default().check(NOW, &of(7, 0), 8, 0);
    assert_eq!(
        (verdict.limit, verdict.remaining, verdict.wait_ms),
        (Some(7), 7, MINUTE)
    );
}

#[test]
fn a_lowered_n_locks_no_client_out() {
    let (mut bucket, low) = (holding(1_000), of(21, 0));
    let denied = bucket.check(NOW, &low, 1, 0);
    assert!(!denied.allowed && denied.remaining == 0);
    assert!(
        denied.wait_ms <= MINUTE / 21 + 1,
        "as a full bucket of the lower N: {denied:?}"
    );
    assert!(denied.reset_ms <= MINUTE, "{denied:?}");
    let idle = NOW + MINUTE;
    for call in 0..21 {
        assert!(
            admits(&mut bucket, idle, &low, 1),
            "call {call} of a whole bucket"
        );
    }
    let denied = bucket.check(idle, &low, 1, 0);
    assert_eq!((denied.allowed, denied.wait_ms), (false, MINUTE / 21 + 1));
}

#[test]
fn calls_of_a_lower_n_do_not_empty_the_bucket_of_a_larger() {
    let (mut bucket, low, high) = (holding(1_000), of(20, 0), of(1_000, 0));
    for minute in 0..20 {
        // Each lets the larger N drain 50 requests in 3 s, and fills the bucket by one.
        assert!(admits(&mut bucket, NOW + 3_000 * (minute + 1), &low, 1));
        let left = bucket.check(NOW + 3_000 * (minute + 1), &high, 0, 0).remaining;
        assert!(left <= 50 * (minute + 1), "{left} after {minute}");
    }
}

#[test]
fn a_cost_from_the_response_is_owed_up_to_a_full_bucket() {
    let terms = later(60, 10);
    let mut bucket = holding(9);
    bucket.charge(NOW, &terms, 10, 0);
    let denied = bucket.check(NOW, &terms, 1, 0);
    assert_eq!(
        (denied.allowed, denied.wait_ms, denied.reset_ms),
        (false, 10_000, 19_000)
    );
    let twice = bucket;
    bucket.charge(NOW, &terms, 10, 0);
    assert_eq!(bucket.check(NOW, &terms, 1, 0), twice.check(NOW, &terms, 1, 0));
    assert!(!bucket.check(NOW + 9_999, &terms, 1, 0).allowed);
    assert!(bucket.check(NOW + 10_000, &terms, 1, 0).allowed);
}

#[test]
fn under_a_lowered_n_an_old_level_owes_a_full_bucket_at_most() {
    let low = later(21, 0);
    let denied = holding(1_000).check(NOW, &low, 1, 0);
    assert!(!denied.allowed && denied.wait_ms <= MINUTE, "{denied:?}");
}

#[test]
fn a_charge_that_is_given_back_leaves_what_others_were_charged() {
    let terms = of(60, 10);
    let mut bucket = holding(3);
    let mark = bucket.charge(NOW, &terms, 2, 0);
    bucket.charge(NOW + 1_000, &terms, 4, 0);
    bucket.give_back(NOW + 2_000, &terms, 2, mark);
    assert_eq!(
        bucket.check(NOW + 2_000, &terms, 0, 0).remaining,
        10 - (3 - 2 + 4)
    );
}

#[test]
fn what_drained_of_a_charge_alone_is_not_given_back() {
    let terms = of(60, 10);
    let mut bucket = holding(1);
    let mark = bucket.charge(NOW, &terms, 5, 0);
    bucket.charge(NOW + 3_000, &terms, 4, 0);
    // Empty after 1 s without the charge, and so for 2 s in which 2 drained of it.
    bucket.give_back(NOW + 3_000, &terms, 5, mark);
    assert_eq!(bucket.check(NOW + 3_000, &terms, 0, 0).remaining, 10 - 4);
}

#[test]
fn after_more_than_16_s_what_drained_counts_as_the_charges() {
    let terms = of(60, 100);
    let mut bucket = holding(50);
    let mark = bucket.charge(NOW, &terms, 30, 0);
    bucket.give_back(NOW + 20_000, &terms, 30, mark);
    let lost = 20_000 - ((1 << HELD_BITS) - 1);
    assert_eq!(bucket.level - 20_000 * 60, (30 * 1_000 + lost) * 60);
}

#[test]
fn a_bucket_that_started_again_keeps_its_new_charges() {
    let terms = of(60, 10);
    let mark = Gcra::default().charge(NOW + 5 * MINUTE, &terms, 5, 0);
    let mut bucket = holding(7);
    bucket.give_back(NOW, &terms, 5, mark);
    assert_eq!(bucket, holding(7), "the clock went back by more than a period");
}

/// Charges the call in both, if the first admits it.
fn both(with: &mut Gcra, without: &mut Gcra, clock_ms: u64, terms: &Terms, cost: u64) {
    if admits(with, clock_ms, terms, cost) {
        without.charge(clock_ms, terms, cost, 0);
    }
}

/// ms after the call before, and the cost.
fn calls(most: usize) -> impl Strategy<Value = Vec<(u64, u64)>> {
    let step = prop_oneof![Just(0), 0_u64..300, 0_u64..6_000];
    prop::collection::vec((step, 1_u64..5), 1..most)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn under_a_lowered_n_a_bucket_is_one_that_was_full(
        (limit, burst) in (1_u64..300, 0_u64..20),
        held in 0_u64..2_000,
        overdraws in any::<bool>(),
        calls in calls(60),
    ) {
        let low = Terms { overdraws, ..of(limit, burst) };
        let mut bucket = holding(held);
        let over = bucket.level.saturating_sub(most(&low));
        let mut plain = Gcra { level: bucket.level - over.div_ceil(limit) * limit, ..bucket };
        prop_assert!(plain.level <= most(&low) && (over == 0 || plain.level + limit > most(&low)));
        let mut clock = NOW;
        for (step, cost) in calls {
            clock += step;
            prop_assert_eq!(bucket.check(clock, &low, cost, 0), plain.check(clock, &low, cost, 0));
            prop_assert_eq!(admits(&mut bucket, clock, &low, cost), admits(&mut plain, clock, &low, cost));
        }
    }

    #[test]
    fn the_largest_n_keeps_its_bound_among_calls_of_a_lower(
        (low_limit, low_burst, more, more_burst) in (1_u64..60, 1_u64..20, 0_u64..600, 0_u64..60),
        calls in prop::collection::vec((any::<bool>(), prop_oneof![Just(0), 0_u64..300, 0_u64..6_000], 1_u64..4), 1..120),
    ) {
        let low = of(low_limit, low_burst);
        let (limit, burst) = (low_limit + more, low_burst + more_burst);
        let high = of(limit, burst);
        let mut bucket = Gcra::default();
        let (mut clock, mut others) = (NOW, 0);
        // Time, cost, and how many calls of the lower N came before.
        let mut admitted: Vec<(u64, u64, u64)> = Vec::new();
        for (is_low, step, cost) in calls {
            clock += step;
            if is_low {
                others += u64::from(admits(&mut bucket, clock, &low, cost));
            } else if admits(&mut bucket, clock, &high, cost) {
                admitted.push((clock, cost, others));
            }
        }
        for (i, first) in admitted.iter().enumerate() {
            let mut sum = 0;
            for (time, cost, others) in &admitted[i..] {
                sum += cost * MINUTE;
                let drained = limit * (time - first.0 + others - first.2);
                prop_assert!(sum <= burst * MINUTE + drained);
            }
        }
    }

    #[test]
    fn a_charge_given_back_within_16_s_is_as_if_it_had_never_been(
        (limit, burst) in (1_u64..600, 1_u64..20),
        held in 0_u64..20,
        before in calls(10),
        charged in 1_u64..5,
        between in calls(10),
        wait in 0_u64..2_000,
        after in calls(10),
    ) {
        let terms = of(limit, burst);
        let (mut with, mut without) = (holding(held.min(burst)), holding(held.min(burst)));
        let mut clock = NOW;
        for (step, cost) in before {
            clock += step;
            both(&mut with, &mut without, clock, &terms, cost);
        }
        let held_ms = without.read(clock, &terms, 0).level / limit;
        prop_assume!(with.check(clock, &terms, charged, 0).allowed);
        let mark = with.charge(clock, &terms, charged, 0);
        let (start, mut alone) = (clock, true);
        for (step, cost) in between {
            if clock + step + wait > start + 16_000 {
                break;
            }
            clock += step;
            alone = false;
            both(&mut with, &mut without, clock, &terms, cost);
        }
        clock += wait;
        with.give_back(clock, &terms, charged, mark);
        let level = |bucket: &Gcra| bucket.level.saturating_sub((clock - bucket.time_ms) * limit);
        prop_assert!(level(&with) >= level(&without), "nothing too little");
        if clock - start <= held_ms {
            prop_assert_eq!(level(&with), level(&without));
        }
        if alone {
            prop_assert!(level(&with) < level(&without) + limit);
        }
        for (step, cost) in after {
            clock += step;
            both(&mut with, &mut without, clock, &terms, cost);
            let [with, without] = [&with, &without].map(|bucket| bucket.read(clock, &terms, 0).level);
            prop_assert!(with >= without);
        }
    }

    #[test]
    fn overlapping_refunds_free_no_more_than_their_sum(
        (limit, burst) in (1_u64..600, 1_u64..20),
        calls in prop::collection::vec((0_u64..3, prop_oneof![Just(0), 0_u64..300, 0_u64..6_000], 1_u64..5), 1..60),
    ) {
        let terms = of(limit, burst);
        let (mut with, mut without) = (Gcra::default(), Gcra::default());
        let (mut clock, mut under_way, mut most_at_once) = (NOW, Vec::new(), 0);
        for (kind, step, cost) in calls {
            clock += step;
            match kind {
                0 => both(&mut with, &mut without, clock, &terms, cost),
                1 if !with.check(clock, &terms, cost, 0).allowed => {}
                1 => {
                    under_way.push((with.charge(clock, &terms, cost, 0), cost));
                    most_at_once = most_at_once.max(under_way.iter().map(|(_, cost)| cost).sum());
                }
                _ if under_way.is_empty() => {}
                _ => {
                    let (mark, cost) = under_way.remove(cost as usize % under_way.len());
                    with.give_back(clock, &terms, cost, mark);
                }
            }
            let level = |bucket: &Gcra| bucket.level.saturating_sub((clock - bucket.time_ms) * limit);
            prop_assert!(level(&with) + most_at_once * MINUTE >= level(&without));
        }
    }
}
