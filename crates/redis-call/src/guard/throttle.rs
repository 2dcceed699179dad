//! Limits log lines to one per second: hostile input must not fill the disk.

use std::time::Duration;

/// Decides which events are logged, and counts those that are not.
#[derive(Debug, Default)]
pub struct Throttle {
    next: Duration,
    /// Events since the last line.
    pending: u64,
}

impl Throttle {
    const PAUSE: Duration = Duration::from_secs(1);

    /// Reports `events` that happened at once; `now` is the time since any fixed moment and never decreases. `Some(n)`:
    /// write a line, `n` other events were not logged since the previous line. `None`: write nothing.
    pub fn admit(&mut self, now: Duration, events: u32) -> Option<u64> {
        self.pending = self.pending.saturating_add(u64::from(events));
        if now < self.next {
            return None;
        }
        self.next = now.saturating_add(Self::PAUSE);
        Some(std::mem::take(&mut self.pending).saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_a_second_is_admitted_with_the_number_of_others() {
        let mut throttle = Throttle::default();
        let ms = Duration::from_millis;
        assert_eq!(throttle.admit(ms(0), 1), Some(0));
        assert_eq!(throttle.admit(ms(1), 1), None);
        assert_eq!(throttle.admit(ms(999), 3), None);
        assert_eq!(throttle.admit(ms(1000), 1), Some(4));
        assert_eq!(throttle.admit(ms(5000), 2), Some(1));
        assert_eq!(throttle.admit(ms(5999), 1), None);
    }
}
