//! From the counters' verdicts to one decision for the request: allowed or denied, and which figures to show.
//!
//! Decides nothing about counting (the script and the local store do) and nothing about wording (the headers do).

use crate::limit::{Algorithm, Charge, Limit, NoClient, OnError, Verdict};
use crate::model::{OnNoClient, Policy};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Allowed,
    Denied,
    /// Let through although it could not be counted.
    FailedOpen,
    /// Refused because it could not be counted.
    FailedClosed,
    Exempt,
    /// No source identifies the caller; refused where `on_no_client` says so.
    NoClient {
        refused: bool,
    },
    /// Refused because a source has several values, by `on_ambiguous_client`.
    AmbiguousClient,
}

impl Outcome {
    /// Its name in filter state and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Allowed => "allowed",
            Outcome::Denied => "denied",
            Outcome::FailedOpen => "failed_open",
            Outcome::FailedClosed => "failed_closed",
            Outcome::Exempt => "exempt",
            Outcome::NoClient { .. } => "no_client",
            Outcome::AmbiguousClient => "ambiguous_client",
        }
    }
}

/// Who counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedBy {
    Redis,
    Local,
    Cache,
    /// From permits that this worker took in advance.
    Lease,
}

impl CountedBy {
    /// Its name in filter state, metrics and log lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            CountedBy::Redis => "redis",
            CountedBy::Local => "local",
            CountedBy::Cache => "cache",
            CountedBy::Lease => "lease",
        }
    }
}

/// The figures of one limit after this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Index into the policy's limits.
    pub limit: usize,
    /// N, or the bucket's capacity for gcra.
    pub quota: u64,
    pub remaining: u64,
    /// Until the whole quota is back, in ms.
    pub reset_ms: u64,
    /// Until the same call could pass, in ms; 0 where it did.
    pub wait_ms: u64,
    /// What a call like this one takes: at least 1, which is also what counts for a cost that is not known yet.
    pub cost: u64,
}

/// The decision and all that is told about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub outcome: Outcome,
    /// `None`: not counted.
    pub by: Option<CountedBy>,
    /// The limit that callers are shown: the one that lets the fewest further calls like this one pass, or the denying
    /// one with the longest wait.
    pub shown: Option<Figures>,
    /// The same for operators, hidden limits included.
    pub reported: Option<Figures>,
    /// For a denial, in ms: the longest wait of all that deny; a minute's multiple if only hidden limits do.
    pub retry_after_ms: u64,
    /// For a denial: such a call can never pass, because N is 0 or the cost is above N.
    pub never: bool,
    /// Indices of the limits in shadow that would have denied.
    pub shadow: Vec<usize>,
    /// Every enforced limit that callers may know of and that was counted, in the policy's order.
    pub applied: Vec<Figures>,
}

/// What became of one counter of the request.
#[derive(Debug, Clone, Copy)]
pub struct CounterResult<'a> {
    pub charge: &'a Charge,
    /// `None`: it could not be counted.
    pub verdict: Option<Verdict>,
    pub by: CountedBy,
}

const MINUTE_MS: u64 = 60_000;

impl Decision {
    /// Without any counting.
    pub fn uncounted(outcome: Outcome) -> Decision {
        Decision {
            outcome,
            by: None,
            shown: None,
            reported: None,
            retry_after_ms: 0,
            never: false,
            shadow: Vec::new(),
            applied: Vec::new(),
        }
    }

    /// For a request that needs a client and has none; `counted`: whether other limits hold all the same.
    pub fn no_client(policy: &Policy, why: NoClient, counted: bool) -> Option<Decision> {
        let outcome = match (why, policy.on_no_client) {
            (NoClient::Ambiguous, _) => Outcome::AmbiguousClient,
            (NoClient::Unknown, OnNoClient::Deny) => Outcome::NoClient { refused: true },
            (NoClient::Unknown, OnNoClient::Allow) if !counted => Outcome::NoClient { refused: false },
            (NoClient::Unknown, OnNoClient::Allow) => return None,
        };
        Some(Decision::uncounted(outcome))
    }

    /// Decides from every counter of the request. A known denial wins over a failure; else the strictest `on_error`
    /// of the enforced limits that failed: deny, local, allow. A limit that was counted locally has followed its own,
    /// and so outweighs one that lets pass. A limit in shadow is never in the way.
    pub fn from_counted<'a>(
        limits: &[Limit],
        counted: impl IntoIterator<Item = CounterResult<'a>>,
    ) -> Decision {
        let mut decision = Decision::uncounted(Outcome::Allowed);
        let mut tightest: Option<Figures> = None;
        let mut tightest_shown: Option<Figures> = None;
        let mut denying: Option<Figures> = None;
        let mut denying_shown: Option<Figures> = None;
        let mut failure: Option<OnError> = None;
        let (mut enforced, mut shadow_failed, mut locally) = (false, false, false);
        for CounterResult { charge, verdict, by } in counted {
            let Some(limit) = limits.get(charge.limit) else {
                continue;
            };
            enforced |= charge.enforced;
            let Some(verdict) = verdict else {
                match charge.enforced {
                    true => failure = failure.max(Some(limit.on_error)),
                    false => shadow_failed = true,
                }
                continue;
            };
            decision.by = least_certain(decision.by, by);
            locally |= charge.enforced && by == CountedBy::Local;
            if !charge.enforced {
                if !verdict.allowed {
                    decision.shadow.push(charge.limit);
                }
                continue;
            }
            let Some(figures) = Figures::of(charge, &verdict) else {
                continue;
            };
            if limit.expose {
                decision.applied.push(figures);
            }
            decision.never |= !verdict.allowed && is_out_of_reach(charge, &figures, by);
            let (all, shown) = match verdict.allowed {
                true => (&mut tightest, &mut tightest_shown),
                false => (&mut denying, &mut denying_shown),
            };
            let before = if verdict.allowed {
                Figures::tighter
            } else {
                Figures::longer
            };
            keep(all, figures, before);
            if limit.expose {
                keep(shown, figures, before);
            }
        }
        let failure = failure.filter(|on_error| !(locally && *on_error == OnError::Allow));
        if let Some(reported) = denying {
            decision.outcome = Outcome::Denied;
            decision.retry_after_ms = match denying_shown {
                Some(_) => reported.wait_ms,
                None => reported.wait_ms.div_ceil(MINUTE_MS).max(1) * MINUTE_MS,
            };
            (decision.shown, decision.reported) = (denying_shown, denying);
        } else if let Some(on_error) = failure.or((shadow_failed && !enforced).then_some(OnError::Allow)) {
            decision.outcome = match on_error {
                OnError::Deny => Outcome::FailedClosed,
                OnError::Allow | OnError::Local => Outcome::FailedOpen,
            };
            decision.by = None;
            decision.applied.clear();
        } else {
            (decision.shown, decision.reported) = (tightest_shown, tightest);
        }
        decision
    }

    /// Whether counters that Redis did not count are to be counted locally, where their limits say so: not where one
    /// denies already, nor where one that failed refuses by itself.
    pub fn asks_locally<'a>(limits: &[Limit], counted: impl IntoIterator<Item = CounterResult<'a>>) -> bool {
        let mut asks = false;
        for CounterResult { charge, verdict, .. } in counted {
            let on_error = limits.get(charge.limit).map(|limit| limit.on_error);
            match (verdict, on_error) {
                (Some(verdict), _) if charge.enforced && !verdict.allowed => return false,
                (None, Some(OnError::Deny)) if charge.enforced => return false,
                (None, Some(OnError::Local)) => asks = true,
                _ => {}
            }
        }
        asks
    }

    /// Whether the filter answers instead of the upstream.
    pub fn refuses(&self) -> bool {
        match self.outcome {
            Outcome::Denied
            | Outcome::FailedClosed
            | Outcome::NoClient { refused: true }
            | Outcome::AmbiguousClient => true,
            Outcome::Allowed | Outcome::FailedOpen | Outcome::Exempt | Outcome::NoClient { .. } => false,
        }
    }
}

impl Figures {
    /// `None` for a limit that a live override made unlimited.
    fn of(charge: &Charge, verdict: &Verdict) -> Option<Figures> {
        Some(Figures {
            limit: charge.limit,
            quota: verdict.limit?,
            remaining: verdict.remaining,
            reset_ms: verdict.reset_ms,
            wait_ms: verdict.wait_ms,
            cost: match charge.charged_on_response {
                true => 1,
                false => charge.cost.max(1),
            },
        })
    }

    /// How many further calls like this one may pass.
    fn calls(&self) -> u64 {
        self.remaining / self.cost
    }

    /// Fewer further calls; a tie: the longer reset.
    fn tighter(&self, other: &Figures) -> bool {
        (self.calls(), other.reset_ms) < (other.calls(), self.reset_ms)
    }

    fn longer(&self, other: &Figures) -> bool {
        self.wait_ms > other.wait_ms
    }
}

/// Whether a call like this one cannot pass with the whole quota. Counted locally, the quota may be a share of what
/// Redis would grant, and so less than the limit's own.
fn is_out_of_reach(charge: &Charge, figures: &Figures, by: CountedBy) -> bool {
    let quota = match (by, charge.algorithm) {
        (CountedBy::Local, Algorithm::Gcra { burst: burst @ 1.. }) if charge.rate.limit > 0 => burst,
        (CountedBy::Local, _) => charge.rate.limit,
        _ => figures.quota,
    };
    figures.cost > quota
}

fn keep(best: &mut Option<Figures>, figures: Figures, before: fn(&Figures, &Figures) -> bool) {
    if best.as_ref().is_none_or(|best| before(&figures, best)) {
        *best = Some(figures);
    }
}

/// A request that was counted in several places is said to be counted by the least certain one.
fn least_certain(known: Option<CountedBy>, by: CountedBy) -> Option<CountedBy> {
    match (known, by) {
        (Some(CountedBy::Local), _) | (_, CountedBy::Local) => Some(CountedBy::Local),
        (Some(CountedBy::Cache), _) => Some(CountedBy::Cache),
        _ => Some(by),
    }
}

#[cfg(test)]
mod tests;
