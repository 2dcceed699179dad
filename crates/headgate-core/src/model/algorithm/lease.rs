//! Leases: permits that are taken at one time and spent at another. The law of each algorithm still holds.
//!
//! A lease is charged when it is taken, at T, and what is spent of it is spent in [T, T + [`lease_ms`]].
//!
//! - **Fixed window, counter.** Nothing is added, and the lease ends with the window: what is spent later in a window
//!   was charged to it before, when the counter's share of the window before weighed more.
//! - **Log.** Every call, leased or not, is kept for that much longer than the period. What is spent in [x, x + period)
//!   was taken after x − lease, and so still counts whenever anything is taken before x + period.
//! - **Bucket.** A lease is taken from a bucket that holds no less than what drains in that time: of what is spent in
//!   (s, t], the oldest lease was taken in (s − lease, s], and the bucket's level at t is no lower than by a lease
//!   taken at s would be.
//!
//! **Error.** None beyond the algorithm's own, but too few may pass: permits that are not spent, and in a sliding
//! window at most a twentieth of it. A lease needs [`LEASE_NEEDS`] times what it takes to be left.

use super::{Algorithm, State, Terms, Verdict};
use crate::model::algorithm::Mark;
use crate::model::{Period, Rate};

/// A lease takes at most this fraction of what is left.
pub const LEASE_NEEDS: u64 = 4;

/// The longest life of a lease, in ms.
const LONGEST_MS: u64 = 1_000;

/// A lease lives for at most this fraction of the window.
const PARTS: u64 = 20;

/// How long permits of such a counter may be spent after they were taken, in ms: at most 1 s, and a twentieth of the
/// period (for a bucket: of the time in which a full one drains). `rate` is as configured.
pub fn lease_ms(algorithm: Algorithm, rate: Rate) -> u64 {
    let period = rate.period.as_millis();
    let window = match algorithm {
        Algorithm::Gcra { burst } if burst > 0 && burst < rate.limit => {
            burst.saturating_mul(period) / rate.limit
        }
        _ => period,
    };
    let longest = match algorithm {
        Algorithm::SlidingWindowLog => LONGEST_MS.min(Period::MAX.as_millis().saturating_sub(period)),
        _ => LONGEST_MS,
    };
    (window / PARTS).min(longest)
}

/// How long a counter with leases keeps a call.
pub fn leased_period(algorithm: Algorithm, rate: Rate) -> Period {
    match algorithm {
        Algorithm::SlidingWindowLog => {
            let period = rate.period.as_millis() + lease_ms(algorithm, rate);
            Period::from_millis(period).unwrap_or(rate.period)
        }
        _ => rate.period,
    }
}

impl State {
    /// Like [`State::check`], for permits that are taken in advance.
    pub fn check_lease(&self, clock_us: u64, terms: &Terms, cost: u64) -> Verdict {
        self.check_filled(
            clock_us,
            terms,
            cost.saturating_mul(LEASE_NEEDS),
            filled(terms, cost),
        )
    }

    /// Like [`State::charge`], for permits that are taken in advance.
    pub fn charge_lease(&mut self, clock_us: u64, terms: &Terms, cost: u64) -> Mark {
        self.charge_filled(clock_us, terms, cost, filled(terms, cost))
    }
}

/// The lowest level of a bucket to assume, in its units: what drains while the lease lives.
fn filled(terms: &Terms, cost: u64) -> u64 {
    match cost {
        0 => 0,
        _ => lease_ms(terms.algorithm, terms.rate).saturating_mul(terms.rate.limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::algorithm::laws::terms;
    use crate::model::algorithm::Gcra;

    fn life(algorithm: Algorithm, limit: u64, period_ms: u64) -> u64 {
        lease_ms(algorithm, terms(algorithm, limit, period_ms).rate)
    }

    #[test]
    fn a_lease_lives_a_twentieth_of_the_window_and_a_second_at_most() {
        let counter = Algorithm::SlidingWindowCounter;
        assert_eq!(life(counter, 10, 1_000), 50);
        assert_eq!(life(counter, 10, 20_000), 1_000);
        assert_eq!(life(counter, 10, 86_400_000), 1_000);
        // a bucket of 10 drains in 6 s
        assert_eq!(life(Algorithm::Gcra { burst: 10 }, 100, 60_000), 300);
        assert_eq!(life(Algorithm::Gcra { burst: 1_000 }, 100, 60_000), 1_000);
        assert_eq!(life(Algorithm::Gcra { burst: 0 }, 0, 60_000), 1_000);
        let longest = Period::MAX.as_millis();
        assert_eq!(
            life(Algorithm::SlidingWindowLog, 10, longest),
            0,
            "no longer log can be kept"
        );
    }

    #[test]
    fn only_a_log_keeps_its_calls_longer_for_a_lease() {
        let kept = |algorithm| leased_period(algorithm, terms(algorithm, 10, 60_000).rate).as_millis();
        assert_eq!(kept(Algorithm::SlidingWindowLog), 61_000);
        assert_eq!(kept(Algorithm::SlidingWindowCounter), 60_000);
        assert_eq!(kept(Algorithm::Gcra { burst: 5 }), 60_000);
    }

    #[test]
    fn a_lease_takes_a_quarter_of_what_is_left_at_most() {
        let terms = terms(Algorithm::SlidingWindowCounter, 100, 60_000);
        let (mut state, now) = (State::new(terms.algorithm.form()), 1_700_000_000_000_000);
        assert!(!state.check_lease(now, &terms, 26).allowed);
        assert!(state.check_lease(now, &terms, 25).allowed);
        state.charge_lease(now, &terms, 25);
        assert_eq!(state.check(now, &terms, 0).remaining, 75);
        assert!(!state.check_lease(now, &terms, 19).allowed);
    }

    #[test]
    fn only_a_leased_bucket_starts_with_what_drains_meanwhile() {
        let terms = terms(Algorithm::Gcra { burst: 0 }, 600, 60_000);
        let now = 1_700_000_000_000_000;
        let mut state = State::new(terms.algorithm.form());
        state.charge_lease(now, &terms, 20);
        assert_eq!(
            state.check(now, &terms, 0).remaining,
            600 - 10 - 20,
            "10 drain in a second"
        );
        state.charge_lease(now, &terms, 20);
        assert_eq!(state.check(now, &terms, 0).remaining, 600 - 10 - 40);
        let empty = State::Gcra(Gcra::default());
        assert!(empty.check_lease(now, &terms, 147).allowed);
        assert!(!empty.check_lease(now, &terms, 148).allowed, "590 are left");
    }
}
