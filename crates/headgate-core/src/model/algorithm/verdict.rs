//! What one counter says of one call.

/// Whole numbers are exact in a double up to here.
pub const EXACT: u64 = 1 << 53;

/// What one counter says of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    /// The N that held (a live override may have changed it), for gcra the burst; `None`: unlimited, then `allowed`
    /// and all else 0.
    pub limit: Option<u64>,
    /// What is left after this call, in requests (or units of cost).
    pub remaining: u64,
    /// Until the whole quota is back if no further call comes, in ms.
    pub reset_ms: u64,
    /// Until a call of the same cost can pass if no further call comes, in ms; 0 when it was allowed.
    /// A call that can never pass (N is 0, or the cost is above N or the burst) gets one period; where N is 0, so does
    /// `reset_ms`.
    pub wait_ms: u64,
}

impl Verdict {
    /// For a call that may pass if `need` of `limit` is left; `left` is below 0 where a lowered N or a charge after
    /// the fact left the counter overdrawn. `wait_ms` is asked for where time will help.
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

/// The largest count that a period's arithmetic holds exactly. Charges after the fact stop there.
pub(super) fn most(period_ms: u64) -> u64 {
    EXACT / period_ms.max(1)
}
