//! The script's reply: whether the call was charged, and for each charge the verdict of its counter.

use crate::limit::algorithm::Mark;
use crate::limit::{Group, Verdict};
use crate::redis::resp::Value;
use std::fmt;

/// A reply to a count or to a charge on the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptReply {
    /// Whether anything was taken: no enforced limit denied.
    pub admitted: bool,
    /// In the order of the group's charges. If one limit denied, none was charged, even if its verdict is `allowed`.
    pub verdicts: Vec<Verdict>,
    marks: Vec<Mark>,
}

/// Why a value is not a valid reply. (The caller handles errors from Redis first.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyError {
    /// The value is not a bulk string.
    NotBytes,
    /// The reply has another length than the group's charges need.
    Length {
        /// The length that they need, in bytes.
        expected: usize,
        /// The length of the reply, in bytes.
        found: usize,
    },
    /// A charge is in a state that this release does not know.
    UnknownState {
        /// The index of the charge.
        charge: usize,
        /// The state in the reply.
        state: u8,
    },
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplyError::NotBytes => f.write_str("the script's reply is no string"),
            ReplyError::Length { expected, found } => {
                write!(f, "the script's reply has {found} bytes, not {expected}")
            }
            ReplyError::UnknownState { charge, state } => {
                write!(f, "the script's reply has state {state} for charge {charge}")
            }
        }
    }
}

impl std::error::Error for ReplyError {}

/// The size of a number in bytes: enough for 2^53, up to which Redis's Lua is exact.
const NUMBER: usize = 7;

/// The size of a charge in bytes: its state, then limit, remaining, reset, wait and mark.
const CHARGE: usize = 1 + 5 * NUMBER;

/// A number, little endian.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl ScriptReply {
    /// The reply of another store than Redis: a verdict and a mark for each charge.
    pub(crate) fn new(admitted: bool, verdicts: Vec<Verdict>, marks: Vec<Mark>) -> ScriptReply {
        ScriptReply {
            admitted,
            verdicts,
            marks,
        }
    }

    /// Decodes the reply to a call for the group.
    ///
    /// # Errors
    /// Why the value is not a reply for this group.
    pub fn decode(group: &Group, value: &Value) -> Result<ScriptReply, ReplyError> {
        let Value::Bulk(Some(bytes)) = value else {
            return Err(ReplyError::NotBytes);
        };
        let (expected, found) = (1 + CHARGE * group.charges.len(), bytes.len());
        let (admitted, charges) = match bytes.split_first() {
            Some((admitted, charges)) if found == expected => (*admitted == 1, charges),
            _ => return Err(ReplyError::Length { expected, found }),
        };
        let mut verdicts = Vec::with_capacity(group.charges.len());
        let mut marks = Vec::with_capacity(group.charges.len());
        for (charge, bytes) in charges.chunks_exact(CHARGE).enumerate() {
            let (state, numbers) = bytes.split_first().unwrap_or((&0, &[]));
            let mut numbers = numbers.chunks_exact(NUMBER).map(number);
            let mut next = || numbers.next().unwrap_or_default(); // there is always one
            let verdict = Verdict {
                allowed: *state == 1,
                limit: Some(next()),
                remaining: next(),
                reset_ms: next(),
                wait_ms: next(),
            };
            verdicts.push(match state {
                0 | 1 => verdict,
                2 => Verdict::UNLIMITED,
                _ => {
                    return Err(ReplyError::UnknownState {
                        charge,
                        state: *state,
                    })
                }
            });
            marks.push(Mark(next()));
        }
        Ok(ScriptReply {
            admitted,
            verdicts,
            marks,
        })
    }

    /// Whether anything of this group was charged: not if all costs are 0 or are charged on the response.
    pub(crate) fn took_something(&self, group: &Group) -> bool {
        let mut charges = group.charges.iter().enumerate();
        charges.any(|(index, charge)| {
            !charge.charged_on_response && charge.cost > 0 && self.charged(index).is_some()
        })
    }

    /// Redis's clock at the call, in unix ms; `None` if nothing was charged. `near`: another clock, to within 8 years.
    pub(crate) fn clock_ms(&self, group: &Group, near: u64) -> Option<u64> {
        let charges = group.charges.iter().enumerate();
        let mut charges = charges.filter(|(_, charge)| !charge.charged_on_response && charge.cost > 0);
        charges.find_map(|(index, charge)| {
            let verdict = self.verdicts.get(index)?;
            let (mark, period_ms) = (self.charged(index)?, charge.rate.period.as_millis());
            charge
                .algorithm
                .form()
                .clock_ms(mark, period_ms, verdict.reset_ms, near)
        })
    }

    /// The mark of the charge; `None` if it was not charged.
    pub(crate) fn charged(&self, index: usize) -> Option<Mark> {
        let verdict = self.verdicts.get(index)?;
        let taken = self.admitted && verdict.allowed && verdict.limit.is_some();
        self.marks.get(index).copied().filter(|_| taken)
    }
}

/// A reply as the script packs it: whether the call was charged, and six numbers for each charge.
#[cfg(test)]
pub(crate) fn packed(admitted: bool, charges: &[[u64; 6]]) -> Value {
    let mut bytes = vec![u8::from(admitted)];
    for [state, numbers @ ..] in charges {
        bytes.push(*state as u8);
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes()[..NUMBER]);
        }
    }
    Value::Bulk(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::tests::group;

    #[test]
    fn a_reply_has_a_verdict_for_each_charge() {
        let reply = packed(false, &[[0, 10, 3, 5000, 700, 9], [2, 0, 0, 0, 0, 0]]);
        let reply = ScriptReply::decode(&group(2), &reply).unwrap();
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
    fn numbers_are_exact_up_to_2_to_the_53rd() {
        let largest = 1 << 53;
        let reply = packed(true, &[[1, largest, largest - 1, 256, 65_535, largest]]);
        let reply = ScriptReply::decode(&group(1), &reply).unwrap();
        let verdict = reply.verdicts[0];
        assert_eq!(
            (
                verdict.limit,
                verdict.remaining,
                verdict.reset_ms,
                verdict.wait_ms
            ),
            (Some(largest), largest - 1, 256, 65_535)
        );
        assert_eq!(reply.charged(0), Some(Mark(largest)));
    }

    #[test]
    fn only_what_was_taken_can_be_given_back() {
        let charged = |admitted, charges| {
            let reply = ScriptReply::decode(&group(2), &packed(admitted, charges)).unwrap();
            [reply.charged(0), reply.charged(1), reply.charged(2)]
        };
        let shadow = &[[1, 9, 8, 0, 0, 77], [0, 9, 0, 0, 1, 78]];
        assert_eq!(
            charged(true, shadow),
            [Some(Mark(77)), None, None],
            "a shadow limit without room was not charged"
        );
        assert_eq!(charged(false, shadow), [None; 3]);
        assert_eq!(charged(true, &[[2, 0, 0, 0, 0, 0], [1, 9, 8, 0, 0, 78]])[0], None);
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let good = packed(true, &[[1, 9, 8, 0, 0, 77], [1, 9, 8, 0, 0, 78]]);
        let decode = |charges, value: &Value| ScriptReply::decode(&group(charges), value).unwrap_err();
        let (expected, found) = (1 + 3 * CHARGE, 1 + 2 * CHARGE);
        assert_eq!(decode(3, &good), ReplyError::Length { expected, found });
        let nothing = Value::Bulk(Some(Vec::new()));
        let (expected, found) = (1 + CHARGE, 0);
        assert_eq!(decode(1, &nothing), ReplyError::Length { expected, found });
        let unknown = packed(true, &[[1, 9, 8, 0, 0, 77], [3, 9, 8, 0, 0, 78]]);
        assert_eq!(
            decode(2, &unknown),
            ReplyError::UnknownState { charge: 1, state: 3 }
        );
        let error = Value::Error(b"NOSCRIPT No matching script.".to_vec());
        for value in [
            Value::Int(1),
            Value::Bulk(None),
            Value::Array(Some(vec![])),
            error,
        ] {
            assert_eq!(decode(1, &value), ReplyError::NotBytes);
        }
    }
}
