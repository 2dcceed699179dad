//! A buffer of how long requests waited for their counts, in µs, for the proxy's histogram: passing many values in a
//! row is cheaper, as the proxy's code and data are in the CPU's cache then.

use super::meter::Meter;

/// The size of the buffer. Passing it on takes the proxy some 10 µs.
const AT_ONCE: usize = 64;

pub(super) struct WaitHistogram {
    /// The histogram; `None`: the proxy refused it.
    id: Option<u32>,
    pending: Vec<u64>,
}

impl WaitHistogram {
    pub fn new(id: Option<u32>) -> WaitHistogram {
        WaitHistogram {
            id,
            pending: Vec::new(),
        }
    }

    pub fn note(&mut self, micros: u64, meter: &impl Meter) {
        if self.id.is_some() {
            self.pending.push(micros);
        }
        if self.pending.len() >= AT_ONCE {
            self.hand_on(meter);
        }
    }

    pub fn hand_on(&mut self, meter: &impl Meter) {
        if let Some(id) = self.id {
            self.pending.drain(..).for_each(|micros| meter.record(id, micros));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::meter::MetricKind;
    use super::*;
    use std::cell::RefCell;

    /// Keeps every value that is recorded.
    #[derive(Default)]
    struct All(RefCell<Vec<u64>>);

    impl Meter for All {
        fn define(&self, _: MetricKind, _: &str) -> Option<u32> {
            None
        }

        fn add(&self, _: u32, _: i64) {}

        fn record(&self, id: u32, value: u64) {
            assert_eq!(id, 7);
            self.0.borrow_mut().push(value);
        }
    }

    #[test]
    fn every_value_is_handed_on_once_and_few_wait() {
        let (mut waits, all) = (WaitHistogram::new(Some(7)), All::default());
        for micros in 0..1_000 {
            waits.note(micros, &all);
            assert!(micros + 1 - all.0.borrow().len() as u64 <= AT_ONCE as u64);
        }
        waits.hand_on(&all);
        waits.hand_on(&all);
        assert_eq!(*all.0.borrow(), (0..1_000).collect::<Vec<u64>>());
    }

    #[test]
    fn without_a_histogram_nothing_is_kept() {
        let (mut waits, all) = (WaitHistogram::new(None), All::default());
        (0..1_000).for_each(|micros| waits.note(micros, &all));
        assert!(waits.pending.is_empty() && all.0.borrow().is_empty());
    }
}
