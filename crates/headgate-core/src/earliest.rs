//! The earliest of several optional times.

use std::time::Instant;

/// The earliest time; `None` if all are `None`.
pub fn earliest(moments: &[Option<Instant>]) -> Option<Instant> {
    let mut first: Option<Instant> = None;
    for moment in moments {
        if let Some(at) = *moment {
            first = Some(first.map_or(at, |first| first.min(at)));
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_earliest_is_found_in_any_position_and_none_among_nones() {
        let now = Instant::now();
        let later = now + Duration::from_nanos(1);
        assert_eq!(earliest(&[]), None);
        assert_eq!(earliest(&[None, None]), None);
        assert_eq!(earliest(&[None, Some(later), Some(now)]), Some(now));
        assert_eq!(earliest(&[Some(now), None, Some(later)]), Some(now));
    }
}
