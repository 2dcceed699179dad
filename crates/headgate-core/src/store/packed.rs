//! The values that `counting.lua` packs: little-endian whole numbers.

use crate::limit::algorithm::{Log, State};
use crate::limit::Form;

/// The size of a log's header, in bytes.
pub const LOG_HEADER: usize = 29;
/// The size of each time in a log, in bytes.
pub const LOG_ENTRY: usize = 7;

/// Unpacks a field's value. `None`: this release cannot read it, or `form` is a log, which is not stored in a field.
pub fn unpack(form: Form, value: &[u8]) -> Option<State> {
    let widths = form.packed_widths();
    if widths.is_empty() || value.len() != widths.iter().sum::<usize>() {
        return None;
    }
    let mut at = 0;
    let mut numbers = widths.iter().filter_map(|width| {
        let number = number(value, at, *width);
        at += width;
        number
    });
    State::from_numbers(form, &mut numbers)
}

/// Unpacks a log: its times in order, beginning with the oldest, which may be at any index. `None`: this release cannot
/// read it.
pub fn unpack_log(value: &[u8]) -> Option<Log> {
    let place = |at| usize::try_from(number(value, at, 3)?).ok();
    let (room, head, count) = (place(20)?, place(23)?, place(26)?);
    if value.len() != LOG_HEADER + LOG_ENTRY * room || count > room {
        return None;
    }
    let times = (head..head + count)
        .map(|at| number(value, LOG_HEADER + LOG_ENTRY * (at % room), LOG_ENTRY))
        .collect::<Option<Vec<u64>>>()?;
    Log::from_times(times)
}

fn number(value: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = value.get(at..at + length)?;
    let number = bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte));
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with a capacity of three times; the second one is the oldest.
    fn log(count: u8) -> Vec<u8> {
        let mut value = vec![0; LOG_HEADER];
        (value[20], value[23], value[26]) = (3, 1, count);
        for time in [9, 7, 8_u64] {
            value.extend_from_slice(&time.to_le_bytes()[..LOG_ENTRY]);
        }
        value
    }

    #[test]
    fn a_log_is_read_from_the_oldest_on_past_its_end() {
        assert_eq!(unpack_log(&log(3)).unwrap().times(), [7, 8, 9]);
        assert_eq!(unpack_log(&log(2)).unwrap().times(), [7, 8]);
        assert!(unpack_log(&log(0)).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_log_is_not_readable() {
        assert_eq!(unpack_log(&log(4)), None);
        assert_eq!(unpack_log(&log(3)[..LOG_HEADER + 20]), None);
        assert_eq!(unpack_log(b"not ours"), None);
        assert_eq!(unpack_log(b""), None);
    }
}
