//! How long to wait before the next attempt after a failure: to open a stream, or to probe a shard.

use fastrand::Rng;
use std::time::{Duration, Instant};

/// Upper bound of the first wait.
pub(crate) const FIRST: Duration = Duration::from_millis(20);
/// Upper bound of every wait before a stream is opened again.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);

/// Exponential backoff with jitter. The ceiling after the nth consecutive failure is 20 ms × 2ⁿ⁻¹, at most `longest`;
/// the wait is between half of the ceiling and the ceiling.
#[derive(Debug)]
pub(crate) struct Backoff {
    longest: Duration,
    failures: u32,
    retry_at: Option<Instant>,
    rng: Rng,
}

impl Backoff {
    pub fn up_to(longest: Duration, rng: Rng) -> Backoff {
        Backoff {
            longest,
            failures: 0,
            retry_at: None,
            rng,
        }
    }

    pub fn failed(&mut self, now: Instant) {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + self.spread(ceiling / 2, ceiling / 2));
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.retry_at = None;
    }

    /// The earliest time of the next attempt; `None`: now.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// `least` plus a random part of `more`, so that many Envoys that start together do not continue in step.
    pub fn spread(&mut self, least: Duration, more: Duration) -> Duration {
        least + Duration::from_micros((self.rng.f64() * more.as_micros() as f64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_seconds_and_a_success_resets_them() {
        let now = Instant::now();
        let mut backoff = Backoff::up_to(LONGEST, Rng::with_seed(1));
        assert_eq!(backoff.retry_at(), None);
        for n in 0..40 {
            backoff.failed(now);
            let wait = backoff.retry_at().unwrap() - now;
            let ceiling = FIRST.saturating_mul(1 << n.min(16)).min(LONGEST);
            assert!(
                wait >= ceiling / 2 && wait <= ceiling,
                "after {n} failures: {wait:?}"
            );
        }
        backoff.succeeded();
        assert_eq!(backoff.retry_at(), None);
    }
}
