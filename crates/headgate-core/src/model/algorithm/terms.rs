//! What holds for one call at one counter, and under what it was charged.

use super::Algorithm;
use crate::model::Rate;

/// What holds for one call at one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub algorithm: Algorithm,
    /// After all overrides.
    pub rate: Rate,
    /// Shift of a fixed window aligned by client, in ms, below the period.
    pub phase_ms: u64,
    /// Costs are charged after the call, whether they fit or not.
    pub overdraws: bool,
}

impl Terms {
    pub(super) fn period_ms(&self) -> u64 {
        self.rate.period.as_millis()
    }
}

/// Under what a call was charged (a window, or a time), by which it can be given back to the same counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark(pub u64);
