//! The clock of a world and its queue of planned events.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// A time in a world, in µs since its start. Also a duration in µs.
pub type Micros = u64;

/// A millisecond.
pub const MS: Micros = 1_000;
/// A second.
pub const SECOND: Micros = 1_000_000;

/// Converts the times of a world into the types that the code under test uses.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    /// Unix time at the start, in µs.
    unix_us: u64,
}

impl Clock {
    /// A clock with this unix time (µs) at the start of the world.
    pub fn new(unix_us: u64) -> Clock {
        Clock {
            // Later than the machine's own clock, in case that is read.
            start: Instant::now() + Duration::from_secs(3_600),
            unix_us,
        }
    }

    /// The time as an [`Instant`].
    pub fn instant(&self, at: Micros) -> Instant {
        self.start + Duration::from_micros(at)
    }

    /// The time of an [`Instant`], rounded up to the next µs.
    pub fn micros(&self, at: Instant) -> Micros {
        let nanos = at.saturating_duration_since(self.start).as_nanos();
        nanos.div_ceil(1_000) as Micros
    }

    /// Unix time in µs.
    pub fn unix_us(&self, at: Micros) -> u64 {
        self.unix_us + at
    }
}

/// Planned events in the order of their times. Events with the same time keep the order in which they were planned.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Entry<E>>,
    planned: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Micros,
    number: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    /// Reversed, since the heap returns its greatest entry first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue {
            heap: BinaryHeap::new(),
            planned: 0,
        }
    }
}

impl<E> Queue<E> {
    /// Plans an event for the time `at`.
    pub fn plan(&mut self, at: Micros, event: E) {
        self.planned += 1;
        self.heap.push(Entry {
            at,
            number: self.planned,
            event,
        });
    }

    /// Removes the next event. Returns it with its time.
    pub fn pop(&mut self) -> Option<(Micros, E)> {
        let entry = self.heap.pop()?;
        Some((entry.at, entry.event))
    }

    /// The time of the next event.
    pub fn next_at(&self) -> Option<Micros> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// The number of events planned so far.
    pub fn planned(&self) -> u64 {
        self.planned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_of_planning() {
        let mut queue = Queue::default();
        for (at, event) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b')] {
            queue.plan(at, event);
        }
        let all: String = std::iter::from_fn(|| queue.pop())
            .map(|(_, event)| event)
            .collect();
        assert_eq!(all, "abcd");
    }

    #[test]
    fn moments_and_instants_are_the_same() {
        let clock = Clock::new(7);
        assert_eq!(clock.micros(clock.instant(123_456)), 123_456);
        assert_eq!(clock.micros(clock.instant(5) + Duration::from_nanos(1)), 6);
        assert_eq!(clock.unix_us(3), 10);
    }
}
