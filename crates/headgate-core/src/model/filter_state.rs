//! Which values of filter state are written: `wasm.ratelimit_*`, for access logs, traces and other filters.
//!
//! Each value costs a call of the host for each request. Decides which are written, not their contents.

/// A value of filter state. Those that only later instances read are not listed here: they are always written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateName {
    /// The outcome, such as `allowed` or `denied`.
    Decision,
    /// Where it was counted, such as `redis` or `local`.
    By,
    /// The name of the limit whose figures are reported.
    Name,
    /// Its N, or the bucket's capacity for gcra.
    Limit,
    /// What is left of it.
    Remaining,
    /// When its whole quota is available again.
    Reset,
    /// Retry-After of a denial, in seconds.
    RetryAfter,
    /// The client, without any secret.
    Client,
    /// The limits in shadow that would have denied, joined by commas.
    Shadow,
    /// How long the request waited for Redis, in µs.
    RedisUs,
    /// Why the request could not be counted.
    Error,
}

impl StateName {
    /// In the order of the documentation.
    pub const ALL: [StateName; 11] = [
        StateName::Decision,
        StateName::By,
        StateName::Name,
        StateName::Limit,
        StateName::Remaining,
        StateName::Reset,
        StateName::RetryAfter,
        StateName::Client,
        StateName::Shadow,
        StateName::RedisUs,
        StateName::Error,
    ];

    /// Its name; Envoy adds the prefix `wasm.`.
    pub const fn as_str(self) -> &'static str {
        match self {
            StateName::Decision => "ratelimit_decision",
            StateName::By => "ratelimit_by",
            StateName::Name => "ratelimit_name",
            StateName::Limit => "ratelimit_limit",
            StateName::Remaining => "ratelimit_remaining",
            StateName::Reset => "ratelimit_reset",
            StateName::RetryAfter => "ratelimit_retry_after",
            StateName::Client => "ratelimit_client",
            StateName::Shadow => "ratelimit_shadow",
            StateName::RedisUs => "ratelimit_redis_us",
            StateName::Error => "ratelimit_error",
        }
    }

    /// Each with its name.
    pub const NAMED: [(&'static str, StateName); StateName::ALL.len()] = {
        let mut named = [("", StateName::Decision); StateName::ALL.len()];
        let mut index = 0;
        while index < named.len() {
            // Only evaluated at compile time.
            #[allow(clippy::indexing_slicing)]
            let name = StateName::ALL[index];
            #[allow(clippy::indexing_slicing)]
            {
                named[index] = (name.as_str(), name);
            }
            index += 1;
        }
        named
    };

    const fn bit(self) -> u16 {
        1 << self as u16
    }

    /// Whether it is one of the four that are figures of one limit.
    const fn is_figure(self) -> bool {
        matches!(
            self,
            StateName::Name | StateName::Limit | StateName::Remaining | StateName::Reset
        )
    }
}

/// The values that a policy writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterState(u16);

impl FilterState {
    /// All values: the default.
    pub const ALL: FilterState = FilterState(u16::MAX);

    /// The listed values, and those that later instances need: the decision, and the remaining quota with its reset, to
    /// compare limits.
    pub fn listed(names: &[StateName]) -> FilterState {
        let mut bits = StateName::Decision.bit();
        for name in names {
            bits |= name.bit();
            if name.is_figure() {
                bits |= StateName::Remaining.bit() | StateName::Reset.bit();
            }
        }
        FilterState(bits)
    }

    /// Whether this value is written.
    pub const fn writes(self, name: StateName) -> bool {
        self.0 & name.bit() != 0
    }

    /// Whether any of the figures of one limit is written.
    pub const fn writes_figures(self) -> bool {
        self.writes(StateName::Remaining)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StateName::*;

    fn written(state: FilterState) -> Vec<StateName> {
        let written = |name: &StateName| state.writes(*name);
        StateName::ALL.into_iter().filter(written).collect()
    }

    #[test]
    fn what_is_listed_is_written_and_what_a_chain_needs() {
        assert_eq!(written(FilterState::ALL), StateName::ALL);
        assert_eq!(written(FilterState::listed(&StateName::ALL)), StateName::ALL);
        assert_eq!(written(FilterState::listed(&[])), [Decision]);
        assert_eq!(
            written(FilterState::listed(&[Error, Client])),
            [Decision, Client, Error]
        );
        for figure in [Name, Limit, Remaining, Reset] {
            let state = FilterState::listed(&[figure]);
            assert!(
                [Decision, Remaining, Reset, figure]
                    .iter()
                    .all(|name| state.writes(*name)),
                "{figure:?}"
            );
            assert!(state.writes_figures() && !state.writes(By));
        }
        assert!(!FilterState::listed(&[By]).writes_figures());
    }

    #[test]
    fn each_name_has_a_bit_and_a_text_of_its_own() {
        for (index, name) in StateName::ALL.into_iter().enumerate() {
            assert_eq!(name as usize, index);
            assert!(name.as_str().starts_with("ratelimit_"));
            let twice = StateName::ALL
                .iter()
                .filter(|other| other.as_str() == name.as_str());
            assert_eq!(twice.count(), 1);
        }
    }
}
