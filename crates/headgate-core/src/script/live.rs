//! A live override's value: `<N|unlimited>`, and after a space the unix ms of its end, if it has one.

use crate::limit::algorithm::{EXACT, MAX_LOG};
use crate::limit::{Form, Period, MAX_LIMIT};
use crate::model::plain_number;
use std::fmt;

/// The quota of a live override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveQuota {
    /// Requests in each period; `None`: unlimited.
    pub limit: Option<u64>,
    /// Unix ms; from then on it is ignored.
    pub until_ms: Option<u64>,
}

impl LiveQuota {
    /// `None`: malformed, and ignored by the script.
    pub fn parse(value: &[u8]) -> Option<LiveQuota> {
        let mut parts = value.split(|byte| *byte == b' ');
        let limit = match parts.next()? {
            b"unlimited" => None,
            digits => Some(plain_number(digits)?),
        };
        let until_ms = parts.next().map(plain_number);
        match (until_ms, parts.next()) {
            (None, None) => Some(LiveQuota {
                limit,
                until_ms: None,
            }),
            (Some(Some(until)), None) => Some(LiveQuota {
                limit,
                until_ms: Some(until),
            }),
            _ => None,
        }
    }

    /// Whether it is still in force.
    pub fn holds(&self, clock_ms: u64) -> bool {
        self.until_ms.is_none_or(|until| clock_ms < until)
    }

    /// N for a counter: too large a number becomes the largest possible.
    pub fn limit_for(&self, form: Form, period: Period) -> Option<u64> {
        let most = if form == Form::Log { MAX_LOG } else { MAX_LIMIT };
        self.limit
            .map(|limit| limit.min(most).min(EXACT / period.as_millis()))
    }
}

impl fmt::Display for LiveQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            Some(limit) => write!(f, "{limit}")?,
            None => f.write_str("unlimited")?,
        }
        self.until_ms.map_or(Ok(()), |until| write!(f, " {until}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_quota_and_an_optional_end() {
        let quota = |limit, until_ms| Some(LiveQuota { limit, until_ms });
        for (value, parsed) in [
            ("0", quota(Some(0), None)),
            ("250", quota(Some(250), None)),
            ("unlimited", quota(None, None)),
            ("unlimited 1700000000000", quota(None, Some(1_700_000_000_000))),
            ("99999999999999999999999 5", quota(Some(u64::MAX), Some(5))),
        ] {
            assert_eq!(LiveQuota::parse(value.as_bytes()), parsed, "{value}");
        }
        for value in [
            "",
            " ",
            "-5",
            "5 ",
            " 5",
            "5  6",
            "5 6 7",
            "1e3",
            "0x10",
            "Unlimited",
            "5 soon",
            "5\n",
            "5.0",
        ] {
            assert_eq!(LiveQuota::parse(value.as_bytes()), None, "{value:?}");
        }
    }

    #[test]
    fn what_is_shown_is_what_is_parsed() {
        for value in ["7", "unlimited", "7 1700000000000"] {
            assert_eq!(LiveQuota::parse(value.as_bytes()).unwrap().to_string(), value);
        }
    }

    #[test]
    fn an_override_ends_at_its_ms_and_its_n_is_bounded() {
        let quota = LiveQuota::parse(b"2000000000 1000").unwrap();
        assert!(quota.holds(999) && !quota.holds(1000));
        let minute = Period::from_millis(60_000).unwrap();
        let year = Period::from_millis(366 * 86_400_000).unwrap();
        assert_eq!(quota.limit_for(Form::Counter, minute), Some(1_000_000_000));
        assert_eq!(quota.limit_for(Form::Counter, year), Some(284_836));
        assert_eq!(quota.limit_for(Form::Log, minute), Some(10_000));
    }
}
