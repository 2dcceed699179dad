//! Rates: how many requests in which period; parses what people write (`100/minute`, `10/30s`).

use std::fmt;

/// A span of time in whole milliseconds, 1 s to 366 d.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(u64);

impl Period {
    /// `None` out of range.
    pub fn from_millis(millis: u64) -> Option<Period> {
        (1_000..=366 * 86_400_000)
            .contains(&millis)
            .then_some(Period(millis))
    }

    pub fn as_millis(self) -> u64 {
        self.0
    }
}

/// `limit` requests each `period`; `limit` is 0 (always deny) to 10⁹, and their product at most 2⁵³ ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub limit: u64,
    pub period: Period,
}

/// What a limit grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    Limited(Rate),
    Unlimited,
}

/// Why a rate does not parse; the text is for the person who wrote it and names the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateError(pub String);

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Quota {
    /// Parses `N/period` or `unlimited`.
    pub fn parse(text: &str) -> Result<Quota, RateError> {
        let _ = text;
        Err(RateError("not written yet".into()))
    }
}
