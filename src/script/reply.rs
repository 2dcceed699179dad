//! What the script answers: whether the call was charged, and for each charge what its counter says.

use crate::limit::algorithm::Mark;
use crate::limit::{Group, Verdict};
use crate::redis::resp::Value;
use std::fmt;

/// A reply to counting or to charging afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Whether anything was taken: no enforced limit denied.
    pub admitted: bool,
    /// In the order of the group's charges. A limit that is allowed here while another denied was not charged.
    pub verdicts: Vec<Verdict>,
    marks: Vec<Mark>,
}

/// Why a reply is none. (An error that Redis sent is for the caller to look at first.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyError {
    NotAnArray,
    NotAnInteger {
        at: usize,
    },
    Length {
        expected: usize,
        found: usize,
    },
    /// A state that this release does not know, or a number below 0.
    OutOfRange {
        at: usize,
        number: i64,
    },
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplyError::NotAnArray => f.write_str("the script's reply is no array"),
            ReplyError::NotAnInteger { at } => write!(f, "element {at} of the script's reply is no integer"),
            ReplyError::Length { expected, found } => {
                write!(f, "the script's reply has {found} elements, not {expected}")
            }
            ReplyError::OutOfRange { at, number } => {
                write!(f, "element {at} of the script's reply is {number}")
            }
        }
    }
}

impl std::error::Error for ReplyError {}

/// Integers for each charge: state, limit, remaining, reset, wait, mark.
const FIELDS: usize = 6;

impl Reply {
    /// What another store than Redis answers: a verdict and a mark for each charge.
    pub(crate) fn new(admitted: bool, verdicts: Vec<Verdict>, marks: Vec<Mark>) -> Reply {
        Reply {
            admitted,
            verdicts,
            marks,
        }
    }

    /// Reads the reply to a call for the group.
    pub fn decode(group: &Group, value: &Value) -> Result<Reply, ReplyError> {
        let Value::Array(Some(items)) = value else {
            return Err(ReplyError::NotAnArray);
        };
        let expected = 1 + FIELDS * group.charges.len();
        if items.len() != expected {
            return Err(ReplyError::Length {
                expected,
                found: items.len(),
            });
        }
        let mut numbers = items.iter().enumerate().map(|(at, item)| match item {
            Value::Int(number) => {
                u64::try_from(*number).map_err(|_| ReplyError::OutOfRange { at, number: *number })
            }
            _ => Err(ReplyError::NotAnInteger { at }),
        });
        // The length was checked: there is always a next one.
        let mut next = || numbers.next().unwrap_or(Err(ReplyError::NotAnArray));

        let mut reply = Reply {
            admitted: next()? == 1,
            verdicts: Vec::with_capacity(group.charges.len()),
            marks: Vec::with_capacity(group.charges.len()),
        };
        for index in 0..group.charges.len() {
            let state = next()?;
            let verdict = Verdict {
                allowed: state == 1,
                limit: Some(next()?),
                remaining: next()?,
                reset_ms: next()?,
                wait_ms: next()?,
            };
            reply.marks.push(Mark(next()?));
            reply.verdicts.push(match state {
                0 | 1 => verdict,
                2 => Verdict::UNLIMITED,
                _ => {
                    return Err(ReplyError::OutOfRange {
                        at: 1 + FIELDS * index,
                        number: i64::try_from(state).unwrap_or(i64::MAX),
                    })
                }
            });
        }
        Ok(reply)
    }

    /// Under what the charge was taken; `None` if it was not.
    pub(crate) fn charged(&self, index: usize) -> Option<Mark> {
        let verdict = self.verdicts.get(index)?;
        let taken = self.admitted && verdict.allowed && verdict.limit.is_some();
        self.marks.get(index).copied().filter(|_| taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::tests::group;

    fn decode(numbers: &[i64]) -> Result<Reply, ReplyError> {
        let items = numbers.iter().map(|number| Value::Int(*number)).collect();
        Reply::decode(&group(2), &Value::Array(Some(items)))
    }

    #[test]
    fn a_reply_has_a_verdict_for_each_charge() {
        let reply = decode(&[0, 0, 10, 3, 5000, 700, 9, 2, 0, 0, 0, 0, 0]).unwrap();
        let denied = Verdict {
            allowed: false,
            limit: Some(10),
            remaining: 3,
            reset_ms: 5000,
            wait_ms: 700,
        };
        assert_eq!(reply.verdicts, [denied, Verdict::UNLIMITED]);
        assert!(!reply.admitted);
    }

    #[test]
    fn only_what_was_taken_can_be_given_back() {
        let charged = |numbers: &[i64]| {
            let reply = decode(numbers).unwrap();
            [reply.charged(0), reply.charged(1), reply.charged(2)]
        };
        assert_eq!(
            charged(&[1, 1, 9, 8, 0, 0, 77, 0, 9, 0, 0, 1, 78]),
            [Some(Mark(77)), None, None],
            "a shadow limit without room was not charged"
        );
        assert_eq!(charged(&[0, 1, 9, 8, 0, 0, 77, 0, 9, 0, 0, 1, 78]), [None; 3]);
        assert_eq!(charged(&[1, 2, 0, 0, 0, 0, 0, 1, 9, 8, 0, 0, 78])[0], None);
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let good = [1, 1, 9, 8, 0, 0, 77, 1, 9, 8, 0, 0, 78];
        assert_eq!(
            decode(&good[..12]),
            Err(ReplyError::Length {
                expected: 13,
                found: 12
            })
        );
        let with = |at: usize, number| {
            let mut numbers = good;
            numbers[at] = number;
            decode(&numbers)
        };
        assert_eq!(with(1, 3), Err(ReplyError::OutOfRange { at: 1, number: 3 }));
        assert_eq!(with(5, -1), Err(ReplyError::OutOfRange { at: 5, number: -1 }));
        let texts = Value::Array(Some(vec![Value::Bulk(Some(b"1".to_vec())); 13]));
        assert_eq!(
            Reply::decode(&group(2), &texts),
            Err(ReplyError::NotAnInteger { at: 0 })
        );
        let error = Value::Error(b"NOSCRIPT No matching script.".to_vec());
        assert_eq!(Reply::decode(&group(2), &error), Err(ReplyError::NotAnArray));
    }
}
