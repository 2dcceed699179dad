//! Merges the results of several instances in one filter chain (before and after authentication).
//!
//! Each instance writes filter state; a later one merges what it finds. Counters are not shared: each instance has its
//! own.

use crate::headers::{self, Family, Header};
use crate::identify::Headers;

/// Filter state: the name of the last instance that set headers or refused the request after another had decided.
pub const SHOWN_BY: &str = "ratelimit_shown_by";

/// The quota headers of earlier instances, from the request's headers: the first instance removed those that the caller
/// sent.
pub fn shown(request: &(impl Headers + ?Sized)) -> Vec<Header> {
    const KNOWN: [&str; 5] = [
        headers::LIMIT,
        headers::REMAINING,
        headers::RESET,
        headers::IETF_POLICY,
        headers::IETF_STATE,
    ];
    let mut shown = Vec::new();
    request.each_header(&mut |name, value| {
        let known = KNOWN.into_iter().find(|known| known.as_bytes() == name);
        if let (Some(name), Ok(value)) = (known, std::str::from_utf8(value)) {
            shown.push((name, value.to_owned().into()));
        }
    });
    shown
}

/// The headers of an instance, and the cost of the call under the limit in X-RateLimit-*.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shown {
    /// The headers.
    pub headers: Vec<Header>,
    /// The cost of the call; at least 1.
    pub cost: u64,
}

/// Merges two sets of headers: of X-RateLimit-* the tighter limit's, or the denial's; the draft's lists are joined. A
/// denial without quota headers hides the earlier instance's as well. Other headers stay. The cost is that of the limit
/// in the merged headers.
pub fn merge(earlier: Shown, ours: Shown, denied: bool) -> Shown {
    if earlier.headers.is_empty() {
        return ours;
    }
    let (earlier_cost, mut cost) = (earlier.cost, ours.cost);
    let (earlier, mut ours) = (earlier.headers, ours.headers);
    let has = |list: &[Header], family| list.iter().any(|(name, _)| family_of(name) == Some(family));
    if denied && !has(&ours, Family::XRateLimit) && !has(&ours, Family::Ietf) {
        return Shown { headers: ours, cost };
    }
    let keeps_earlier = !denied
        && match (
            remaining_quota(&earlier, earlier_cost),
            remaining_quota(&ours, cost),
        ) {
            (Some(earlier), Some(ours)) => earlier.tighter(&ours),
            (Some(_), None) => true,
            (None, _) => false,
        };
    if keeps_earlier {
        cost = earlier_cost;
        ours.retain(|(name, _)| family_of(name) != Some(Family::XRateLimit));
    }
    for (name, value) in earlier {
        match family_of(name) {
            Some(Family::XRateLimit) if keeps_earlier => ours.push((name, value)),
            Some(Family::Ietf) => match ours.iter_mut().find(|(ours, _)| *ours == name) {
                Some((_, list)) => *list = format!("{value}, {list}").into(),
                None => ours.push((name, value)),
            },
            _ => {}
        }
    }
    Shown { headers: ours, cost }
}

/// Whether the earlier decision stays in filter state although a later instance decided. A later refusal always wins.
/// Of two admissions, the one that could not be counted wins over a counted one, and that over one without counting.
pub fn stays(earlier: &[u8], later: &str, later_refuses: bool) -> bool {
    let telling = |word: &[u8]| match word {
        b"exempt" | b"no_client" => 0,
        b"allowed" => 1,
        _ => 2,
    };
    !later_refuses && telling(earlier) > telling(later.as_bytes())
}

/// The remaining quota of a limit, to compare limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemainingQuota {
    /// What is left, in requests (or units of cost).
    pub remaining: u64,
    /// When the whole quota is available again. Both limits must have the same form of it.
    pub reset: u64,
    /// The cost of a call like this one; at least 1.
    pub cost: u64,
}

impl RemainingQuota {
    /// Whether fewer further calls like this one may pass; on a tie, whether the reset is longer.
    pub fn tighter(&self, other: &RemainingQuota) -> bool {
        let calls =
            |remaining_quota: &RemainingQuota| remaining_quota.remaining / remaining_quota.cost.max(1);
        (calls(self), other.reset) < (calls(other), self.reset)
    }
}

fn remaining_quota(list: &[Header], cost: u64) -> Option<RemainingQuota> {
    let number = |name| list.iter().find(|(known, _)| *known == name)?.1.number();
    Some(RemainingQuota {
        remaining: number(headers::REMAINING)?,
        reset: number(headers::RESET)?,
        cost,
    })
}

fn family_of(name: &str) -> Option<Family> {
    Family::of(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::HeaderValue;
    use crate::identify::FakeRequest;

    fn figures(quota: u64, remaining: u64, reset: u64) -> Vec<Header> {
        vec![
            (headers::LIMIT, quota.to_string().into()),
            (headers::REMAINING, remaining.to_string().into()),
            (headers::RESET, reset.to_string().into()),
        ]
    }

    fn ietf(name: &str) -> Vec<Header> {
        vec![
            (headers::IETF_POLICY, format!("\"{name}\";q=1").into()),
            (headers::IETF_STATE, format!("\"{name}\";r=0").into()),
        ]
    }

    fn sorted(mut list: Vec<Header>) -> Vec<Header> {
        list.sort();
        list
    }

    #[test]
    fn only_quota_headers_are_read_from_the_request() {
        let list = [figures(10, 9, 60), ietf("a")].concat();
        let request = |list: &[Header]| {
            let list: Vec<_> = list
                .iter()
                .map(|(name, value)| (*name, value.to_string()))
                .collect();
            let list: Vec<_> = list.iter().map(|(name, value)| (*name, value.as_str())).collect();
            shown(&FakeRequest::default().with(&list))
        };
        assert_eq!(request(&list), list);
        let others = [(headers::LIMITED, "true"), (":path", "/"), ("x-ratelimit", "1")];
        assert_eq!(
            request(&others.map(|(name, value)| (name, value.into()))),
            Vec::new()
        );
        let mut broken = FakeRequest::default();
        broken.headers.push((headers::LIMIT.to_owned(), b"\xff".to_vec()));
        assert_eq!(shown(&broken), Vec::new());
    }

    /// Merged headers, of calls that cost 1.
    fn merge(earlier: Vec<Header>, ours: Vec<Header>, denied: bool) -> Vec<Header> {
        let shown = |headers| Shown { headers, cost: 1 };
        super::merge(shown(earlier), shown(ours), denied).headers
    }

    #[test]
    fn the_fewest_further_calls_are_shown_or_the_longer_reset() {
        for (earlier, ours, shown) in [
            (figures(10, 5, 60), figures(100, 6, 60), figures(10, 5, 60)),
            (figures(10, 5, 60), figures(1_000, 4, 60), figures(1_000, 4, 60)),
            (
                figures(1_000, 999, 60),
                figures(1_000_000, 995_000, 60),
                figures(1_000, 999, 60),
            ),
            (figures(10, 5, 61), figures(100, 5, 60), figures(10, 5, 61)),
            (figures(10, 5, 60), figures(100, 5, 60), figures(100, 5, 60)),
            (figures(10, 5, 60), vec![], figures(10, 5, 60)),
            (vec![], figures(10, 5, 60), figures(10, 5, 60)),
        ] {
            assert_eq!(sorted(merge(earlier, ours, false)), sorted(shown));
        }
    }

    #[test]
    fn the_cost_of_a_call_belongs_to_its_quota() {
        let of = |cost, remaining| Shown {
            headers: figures(100, remaining, 60),
            cost,
        };
        assert_eq!(
            super::merge(of(30, 100), of(1, 5), false),
            of(30, 100),
            "3 calls are fewer than 5"
        );
        assert_eq!(super::merge(of(1, 5), of(30, 100), false), of(30, 100));
        assert_eq!(super::merge(of(30, 100), of(1, 2), false), of(1, 2));
        assert_eq!(super::merge(of(30, 0), of(7, 2), true), of(7, 2));
    }

    #[test]
    fn a_denial_shows_its_own_figures_or_none_at_all() {
        let denial = [figures(100, 0, 60), vec![("retry-after", HeaderValue::Number(7))]].concat();
        assert_eq!(merge(figures(10, 0, 99), denial.clone(), true), denial);
        let hidden = vec![("retry-after", HeaderValue::Number(60))];
        assert_eq!(
            merge([figures(10, 0, 99), ietf("a")].concat(), hidden.clone(), true),
            hidden
        );
    }

    #[test]
    fn the_lists_of_the_draft_are_joined_in_the_order_of_the_chain() {
        let merged = merge(ietf("a"), [figures(10, 5, 60), ietf("b")].concat(), false);
        let expected = vec![
            (headers::IETF_POLICY, "\"a\";q=1, \"b\";q=1".into()),
            (headers::IETF_STATE, "\"a\";r=0, \"b\";r=0".into()),
        ];
        assert_eq!(sorted(merged), sorted([figures(10, 5, 60), expected].concat()));
        assert_eq!(merge(ietf("a"), ietf("b"), true).len(), 2);
    }

    #[test]
    fn the_most_telling_decision_stays() {
        for (earlier, later, refuses, stay) in [
            ("allowed", "exempt", false, true),
            ("allowed", "no_client", false, true),
            ("allowed", "no_client", true, false),
            ("allowed", "allowed", false, false),
            ("exempt", "allowed", false, false),
            ("failed_open", "allowed", false, true),
            ("failed_open", "denied", true, false),
            ("allowed", "failed_open", false, false),
        ] {
            assert_eq!(
                stays(earlier.as_bytes(), later, refuses),
                stay,
                "{earlier}, then {later}"
            );
        }
    }
}
