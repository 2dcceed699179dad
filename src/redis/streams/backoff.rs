//! How long to leave a stream alone that does not stay open.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(5);

/// Exponential backoff with full jitter on the upper half: after the nth failure in a row between half and all of
/// 20 ms × 2ⁿ⁻¹, at most 5 s.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    retry_at: Option<Instant>,
}

impl Backoff {
    pub fn failed(&mut self, now: Instant) {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + ceiling.mul_f64(0.5 + fastrand::f64() / 2.0));
    }

    pub fn succeeded(&mut self) {
        *self = Backoff::default();
    }

    /// The earliest moment at which it may be tried again; `None`: now.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_seconds_and_a_success_forgets_them() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
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
