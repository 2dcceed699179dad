//! The layout of counters in one shared value: one after the other, the least recently used first.
//!
//! | | |
//! |---|---|
//! | u16 | bytes after the header, which ends with the time of the last use |
//! | u8 | version of the format of this counter; an unknown version is an expired counter |
//! | u8 | form: 1 fixed, 2 counter, 3 gcra, 4 log |
//! | u64 | the counter's id |
//! | u64 | unix ms at which it expires |
//! | u64 | unix ms of its last use |
//! | u64 | unix ms until which it denies calls like the last one; 0: it does not |
//! | … | the state: its numbers as u64 |
//!
//! All little endian. Truncated counters are ignored. The header is the same in every version, so modules of two
//! releases in one Envoy keep each other's counters.

use crate::limit::algorithm::State;
use crate::limit::Form;

const VERSION: u8 = 2;
const HEADER: usize = 2 + 1 + 1 + 3 * 8;
/// The offset of the number before the state.
const DENY_UNTIL: usize = 8;

/// The times of a counter, in unix ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CounterTimes {
    /// When it expires.
    pub ends: u64,
    /// Its last use.
    pub used: u64,
    /// Until when it denies calls like the last one; 0: it does not deny. It is stored because it depends on the limit
    /// and the cost of that call.
    pub deny_until: u64,
}

/// A counter as stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredCounter<'a> {
    pub id: u64,
    pub times: CounterTimes,
    form: u8,
    state: &'a [u8],
    /// All of it.
    pub bytes: &'a [u8],
}

impl StoredCounter<'_> {
    /// It has expired, or its version is unknown.
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.times.ends <= now_ms
    }

    /// A call like the last one would be denied.
    pub fn denies(&self, now_ms: u64) -> bool {
        self.times.deny_until > now_ms
    }

    /// `None`: it is not a state of this form.
    pub fn state(&self, form: Form) -> Option<State> {
        if self.form != form.number() {
            return None;
        }
        let mut numbers = self.state.chunks_exact(8).filter_map(read_u64);
        State::from_numbers(form, &mut numbers)
    }
}

/// All counters of a bucket, in their order. One of an unknown version has expired.
pub(super) fn slots(mut bytes: &[u8]) -> impl Iterator<Item = StoredCounter<'_>> + Clone {
    std::iter::from_fn(move || {
        let [low, high, version, form, ..] = *bytes else {
            return None;
        };
        let size = HEADER + usize::from(u16::from_le_bytes([low, high]));
        let (slot, rest) = bytes.split_at_checked(size)?;
        let number = |at: usize| slot.get(at..at + 8).and_then(read_u64);
        bytes = rest;
        let mut times = CounterTimes {
            ends: 0,
            used: number(20)?,
            deny_until: 0,
        };
        let (mut known, mut state): (u8, &[u8]) = (0, &[]);
        if let (VERSION, Some(deny_until)) = (version, number(HEADER)) {
            times.ends = number(12)?;
            times.deny_until = deny_until;
            (known, state) = (form, slot.get(HEADER + DENY_UNTIL..)?);
        }
        Some(StoredCounter {
            id: number(4)?,
            times,
            form: known,
            state,
            bytes: slot,
        })
    })
}

/// Appends a counter.
pub(super) fn push(out: &mut Vec<u8>, id: u64, times: CounterTimes, state: &State) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, VERSION, state.form().number()]);
    let mut add = |number: u64| out.extend_from_slice(&number.to_le_bytes());
    for number in [id, times.ends, times.used, times.deny_until] {
        add(number);
    }
    state.each_number(&mut add);
    // A log has at most a few hundred entries.
    let size = u16::try_from(out.len() - start - HEADER).unwrap_or(u16::MAX);
    if let Some(place) = out.get_mut(start..start + 2) {
        place.copy_from_slice(&size.to_le_bytes());
    }
}

pub(super) fn read_u64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::algorithm::{Fixed, Gcra, Log, SlidingCounter};

    fn states() -> [State; 4] {
        [
            State::Fixed(Fixed {
                start_ms: 1,
                count: 2,
            }),
            State::Counter(SlidingCounter {
                window: 3,
                current: 4,
                previous: 5,
            }),
            State::Gcra(Gcra { time_ms: 6, level: 7 }),
            State::Log(Log::from_times(vec![8, 9, 9]).unwrap()),
        ]
    }

    const FORMS: [Form; 4] = Form::ALL;

    fn bucket() -> Vec<u8> {
        let mut bytes = Vec::new();
        for (n, state) in states().iter().enumerate() {
            push(&mut bytes, n as u64, times(n as u64), state);
        }
        bytes
    }

    fn times(n: u64) -> CounterTimes {
        CounterTimes {
            ends: 100 + n,
            used: 50,
            deny_until: 60 * n,
        }
    }

    #[test]
    fn what_was_pushed_is_read_and_no_other_form() {
        let bytes = bucket();
        let read: Vec<StoredCounter> = slots(&bytes).collect();
        assert_eq!(read.len(), 4);
        for (n, (slot, state)) in read.iter().zip(states()).enumerate() {
            assert_eq!((slot.id, slot.times), (n as u64, times(n as u64)));
            assert_eq!((slot.denies(59), slot.denies(60 * n as u64)), (n > 0, false));
            for (m, form) in FORMS.into_iter().enumerate() {
                assert_eq!(slot.state(form), (m == n).then(|| state.clone()));
            }
        }
    }

    #[test]
    fn a_counter_of_an_unknown_version_is_over_and_the_others_stay() {
        let mut bytes = bucket();
        bytes[2] = VERSION + 1;
        let read: Vec<StoredCounter> = slots(&bytes).collect();
        assert_eq!(read.len(), 4);
        assert!(read[0].is_over(0) && read[0].state(Form::Fixed).is_none());
        assert!(!read[1].is_over(0) && read[1].state(Form::Counter).is_some());
    }

    #[test]
    fn broken_bytes_are_no_slots_and_no_states() {
        let bytes = bucket();
        for cut in 0..bytes.len() {
            assert!(slots(&bytes[..cut]).count() < 4);
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 255] {
                let mut broken = bytes.clone();
                broken[at] = value;
                for slot in slots(&broken) {
                    let _whatever = FORMS.map(|form| slot.state(form));
                }
            }
        }
    }
}
