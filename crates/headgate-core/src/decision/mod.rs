//! Combines the verdicts of all counters of a request into one decision: allowed or denied, and which figures to show.
//!
//! Does not count (the script and the local store do) and does not write headers ([`headers`](crate::headers) does).

use crate::limit::{Algorithm, Charge, Limit, NoClient, OnError, Verdict};
use crate::model::{OnNoClient, Policy};

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Counted, and within all enforced limits.
    Allowed,
    /// Refused because an enforced limit is exhausted.
    Denied,
    /// Admitted although it could not be counted.
    FailedOpen,
    /// Refused because it could not be counted.
    FailedClosed,
    /// Matched by `exempt`: neither limited nor counted.
    Exempt,
    /// No source identifies the caller; refused if `on_no_client` is `deny`.
    NoClient {
        /// Whether the request is refused.
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

/// Where the counters of a request were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedBy {
    /// In Redis.
    Redis,
    /// In the memory of this Envoy.
    Local,
    /// In the verdict cache: an earlier denial still applies.
    Cache,
    /// By permits that this worker took in advance.
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
    /// N, or the bucket's capacity for gcra, in requests.
    pub quota: u64,
    /// What is left after this request, in requests (or units of cost).
    pub remaining: u64,
    /// Time until the whole quota is available again, in ms.
    pub reset_ms: u64,
    /// Time until the same call could pass, in ms; 0 if it passed.
    pub wait_ms: u64,
    /// The cost of a call like this one: at least 1, and 1 for a cost that is not known yet.
    pub cost: u64,
}

/// The decision, and all figures that are reported about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The outcome.
    pub outcome: Outcome,
    /// `None`: not counted.
    pub by: Option<CountedBy>,
    /// The limit in the caller's headers: the one that admits the fewest further calls like this one, or the denying
    /// one with the longest wait.
    pub shown: Option<Figures>,
    /// Like `shown`, but for operators: limits that are hidden from callers are included.
    pub reported: Option<Figures>,
    /// For a denial, in ms: the longest wait of all limits that deny; rounded up to whole minutes if only hidden limits
    /// deny.
    pub retry_after_ms: u64,
    /// For a denial: such a call can never pass, because its cost is above N.
    pub never: bool,
    /// Indices of the limits in shadow mode that would have denied the request.
    pub shadow: Vec<usize>,
    /// Every enforced limit that was counted and is exposed to callers, in the policy's order.
    pub applied: Vec<Figures>,
}

/// The result of one counter of the request.
#[derive(Debug, Clone, Copy)]
pub struct CounterResult<'a> {
    /// The charge at the counter.
    pub charge: &'a Charge,
    /// `None`: it could not be counted.
    pub verdict: Option<Verdict>,
    /// Where the counter was read.
    pub by: CountedBy,
}

const MINUTE_MS: u64 = 60_000;

impl Decision {
    /// A decision without counting.
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

    /// The decision on a request that no source identifies, if the key of a limit contains the client. `counted`:
    /// whether other limits apply. `None`: the other limits decide.
    pub fn no_client(policy: &Policy, why: NoClient, counted: bool) -> Option<Decision> {
        let outcome = match (why, policy.on_no_client) {
            (NoClient::Ambiguous, _) => Outcome::AmbiguousClient,
            (NoClient::Unknown, OnNoClient::Deny) => Outcome::NoClient { refused: true },
            (NoClient::Unknown, OnNoClient::Allow) if !counted => Outcome::NoClient { refused: false },
            (NoClient::Unknown, OnNoClient::Allow) => return None,
        };
        Some(Decision::uncounted(outcome))
    }

    /// Decides from every counter of the request. A denial wins over a failure. Otherwise the strictest `on_error` of
    /// the enforced limits that failed applies: deny, local, allow. A limit that was counted locally has applied its
    /// `on_error` already, so it outweighs a failed limit with `allow`. A limit in shadow mode never refuses a request.
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

    /// Whether to count locally what Redis did not count. It is `false` if a limit already denies the request, or if a
    /// failed limit has `on_error: deny`.
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
    /// `None` for a limit that a live override makes unlimited.
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

    /// Whether fewer further calls may pass; on a tie, whether the reset is longer.
    fn tighter(&self, other: &Figures) -> bool {
        (self.calls(), other.reset_ms) < (other.calls(), self.reset_ms)
    }

    fn longer(&self, other: &Figures) -> bool {
        self.wait_ms > other.wait_ms
    }
}

/// Whether a call like this one costs more than the whole quota. A local quota may be only a share of the whole quota,
/// so the limit's own N is used.
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

/// A request that was counted in several places reports the least certain one: local, then cache.
fn least_certain(known: Option<CountedBy>, by: CountedBy) -> Option<CountedBy> {
    match (known, by) {
        (Some(CountedBy::Local), _) | (_, CountedBy::Local) => Some(CountedBy::Local),
        (Some(CountedBy::Cache), _) => Some(CountedBy::Cache),
        _ => Some(by),
    }
}

#[cfg(test)]
mod tests;
