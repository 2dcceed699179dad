//! The verdict of one counter on one call.

/// Whole numbers are exact in a double up to here.
pub const EXACT: u64 = 1 << 53;

/// The verdict of one counter on one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the call passes this counter.
    pub allowed: bool,
    /// The N that applied (a live override may have changed it), for gcra the burst. `None`: unlimited; then `allowed`
    /// is true and all else is 0.
    pub limit: Option<u64>,
    /// What is left after this call, in requests (or units of cost).
    pub remaining: u64,
    /// Time until the whole quota is available again if no further call comes, in ms.
    pub reset_ms: u64,
    /// Time until a call of the same cost can pass if no further call comes, in ms; 0 if it was allowed. A call that
    /// can never pass (N is 0, or the cost is above N or the burst) has one period here; if N is 0, so has `reset_ms`.
    pub wait_ms: u64,
}

impl Verdict {
    /// The verdict on a call that passes if `need` of `limit` is left. `left` is negative if a lowered N or a charge on
    /// a response has overdrawn the counter. `wait_ms` is called only if waiting helps.
    pub(super) fn new(
        limit: u64,
        left: i64,
        need: u64,
        period_ms: u64,
        reset_ms: u64,
        wait_ms: impl FnOnce() -> u64,
    ) -> Verdict {
        let allowed = signed(need) <= left;
        Verdict {
            allowed,
            limit: Some(limit),
            remaining: u64::try_from(left).unwrap_or(0),
            reset_ms,
            wait_ms: match allowed {
                true => 0,
                false if need > limit => period_ms,
                false => wait_ms(),
            },
        }
    }

    /// N is 0: nothing passes, whatever it costs.
    pub(super) fn never(period_ms: u64) -> Verdict {
        Verdict {
            allowed: false,
            limit: Some(0),
            remaining: 0,
            reset_ms: period_ms,
            wait_ms: period_ms,
        }
    }

    /// No limit holds.
    pub const UNLIMITED: Verdict = Verdict {
        allowed: true,
        limit: None,
        remaining: 0,
        reset_ms: 0,
        wait_ms: 0,
    };
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The largest count that a period's arithmetic holds exactly. Charges on responses stop there.
pub(super) fn most(period_ms: u64) -> u64 {
    EXACT / period_ms.max(1)
}
