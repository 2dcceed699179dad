//! At most one log line a second: hostile input must not fill the disk.

use std::time::Duration;

/// Says which events get a line, and how many before it went without.
#[derive(Debug, Default)]
pub struct Throttle {
    next: Duration,
    /// Events since the last line.
    pending: u64,
}

impl Throttle {
    const PAUSE: Duration = Duration::from_secs(1);

    /// Takes `events` at once; `now` is the time since any fixed moment and never goes back. `Some(n)`: write the
    /// line, `n` events besides the newest went unwritten since the last; `None`: write nothing.
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
    fn one_event_a_second_is_admitted_and_says_how_many_were_not() {
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
