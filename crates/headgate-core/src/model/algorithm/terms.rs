//! The terms of one call at one counter, and the mark of its charge.

use super::Algorithm;
use crate::model::Rate;

/// The terms of one call at one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How the counter counts.
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

/// The window or the time under which a call was charged. The counter needs it for a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark(pub u64);
