//! The counting script of the simulated Redis. It decodes the arguments of a call as the script does, counts with the
//! [`Model`], and encodes the reply as the script does.
//!
//! The decoder is strict: arguments that the script would misread silently are a [`MalformedCall`] here.

use crate::model::{Marks, Model};
use headgate_core::limit::algorithm::Mark;
use headgate_core::limit::{Algorithm, Align, Charge, Form, Group, LiveOverride, Period, Rate, Verdict};
use headgate_core::script;
use redis_call::resp::{array, Decoder, Value};
use std::fmt;

/// Bytes of a charge in the plan, and of a number in a reply.
const CHARGE_BYTES: usize = 3 + 5 * 2 + 4 * 8;
const NUMBER_BYTES: usize = 7;

/// The first byte of the argument with the call's number. The script ignores arguments after its fields.
pub const TAG: u8 = b'#';

/// The operation of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Checks all charges, and takes all of them or none.
    Count,
    /// Takes permits that are spent later.
    Lease,
    /// Refunds charges.
    GiveBack,
    /// Charges costs even if they do not fit.
    Charge,
}

/// A call of the script.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The operation.
    pub mode: Mode,
    /// The charges. A call does not contain their limits, so [`Charge::limit`] is the position of the charge.
    pub group: Group,
    /// For [`Mode::GiveBack`]: the marks of the charges.
    pub marks: Marks,
    /// The number of the call in the simulation.
    pub tag: Option<u64>,
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallResult {
    /// Whether the call admits the request.
    pub admitted: bool,
    /// The verdict of each counter; empty for [`Mode::GiveBack`].
    pub verdicts: Vec<Verdict>,
    /// The mark of each charge, for a refund.
    pub marks: Marks,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} #{}", self.mode, self.tag.unwrap_or_default())?;
        for (charge, mark) in self.group.charges.iter().zip(&self.marks) {
            let key = self.group.keys[charge.key].escape_ascii();
            write!(f, " [{key} {} cost {}", charge.field, charge.cost)?;
            match mark {
                Some(Mark(mark)) => write!(f, " mark {mark}]")?,
                None => f.write_str("]")?,
            }
        }
        Ok(())
    }
}

/// The reason why arguments are not a valid call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedCall(pub &'static str);

impl Call {
    /// Decodes the arguments after the script's name: number of keys, keys, plan, fields.
    ///
    /// # Errors
    /// The reason why the arguments are not a valid call.
    pub fn read(args: &[Vec<u8>]) -> Result<Call, MalformedCall> {
        let (numkeys, rest) = args.split_first().ok_or(MalformedCall("no number of keys"))?;
        let numkeys = number(numkeys).ok_or(MalformedCall("number of keys"))? as usize;
        let (keys, argv) = rest
            .split_at_checked(numkeys)
            .ok_or(MalformedCall("too few keys"))?;
        let (plan, names) = argv.split_first().ok_or(MalformedCall("no plan"))?;
        let mut plan = Plan(plan);
        let mode = plan.byte()?;
        let mut counts = Vec::with_capacity(keys.len());
        for _ in keys {
            counts.push(usize::from(plan.u16()?));
        }
        let fields: usize = counts.iter().sum();
        let (names, extra) = names
            .split_at_checked(fields)
            .ok_or(MalformedCall("too few fields"))?;
        let tag = match extra {
            [] => None,
            [tag] if tag.first() == Some(&TAG) => Some(number(&tag[1..]).ok_or(MalformedCall("tag"))?),
            _ => return Err(MalformedCall("more fields than are read")),
        };
        let by_key = by_key(&counts, names);
        let (mut charges, mut marks, mut leases) = (Vec::new(), Vec::new(), 0);
        while !plan.0.is_empty() {
            if plan.0.len() < CHARGE_BYTES {
                return Err(MalformedCall("length of the plan"));
            }
            let (charge, extra, lease) = plan.charge(charges.len(), &by_key, names)?;
            marks.push((mode == 1 && charge.cost > 0).then_some(Mark(extra as u64)));
            leases += usize::from(lease);
            charges.push(charge);
        }
        let mode = match mode {
            0 if leases > 0 && leases == charges.len() => Mode::Lease,
            0 if leases == 0 => Mode::Count,
            1 if leases == 0 => Mode::GiveBack,
            2 if leases == 0 => Mode::Charge,
            _ => return Err(MalformedCall("mode")),
        };
        let keys = keys.to_vec();
        Ok(Call {
            mode,
            group: Group { keys, charges },
            marks,
            tag,
        })
    }

    /// Encodes a call as `headgate-core` does, and decodes it.
    ///
    /// # Errors
    /// The reason why the arguments are not a valid call.
    pub fn of(group: &Group, mode: script::Mode<'_>) -> Result<Call, MalformedCall> {
        let (mut tail, mut bytes) = (Vec::new(), Vec::new());
        let parts = script::arguments(group, mode, &mut tail);
        array(&mut bytes, parts);
        bytes.extend_from_slice(&tail);
        let mut decoder = Decoder::new();
        decoder.push(&bytes);
        let Ok(Some(Value::Array(Some(items)))) = decoder.next() else {
            return Err(MalformedCall("RESP"));
        };
        let args = items.into_iter().map(|item| match item {
            Value::Bulk(Some(bytes)) => bytes,
            _ => Vec::new(),
        });
        Call::read(&args.collect::<Vec<_>>())
    }

    /// Executes the call at `clock_us` (unix time in µs).
    pub fn run(&self, model: &mut Model, clock_us: u64) -> CallResult {
        let group = &self.group;
        match self.mode {
            Mode::Count | Mode::Lease => {
                let (admitted, verdicts, marks) = model.count(group, clock_us, self.mode == Mode::Lease);
                CallResult {
                    admitted,
                    verdicts,
                    marks,
                }
            }
            Mode::GiveBack => {
                model.give_back(group, clock_us, &self.marks);
                CallResult::without_verdicts()
            }
            Mode::Charge => CallResult {
                verdicts: model.charge(group, clock_us),
                ..CallResult::without_verdicts()
            },
        }
    }

    /// Whether the call would write. A node that is out of memory refuses such calls.
    pub fn writes(&self, model: &Model, clock_us: u64) -> bool {
        match self.mode {
            Mode::Count | Mode::Lease => {
                let (admitted, verdicts) = model.check(&self.group, clock_us, self.mode == Mode::Lease);
                let takes = |(charge, verdict): (&Charge, &Verdict)| {
                    charge.cost > 0
                        && !charge.charged_on_response
                        && verdict.allowed
                        && verdict.limit.is_some()
                };
                admitted && self.group.charges.iter().zip(&verdicts).any(takes)
            }
            Mode::GiveBack | Mode::Charge => self.group.charges.iter().any(|charge| charge.cost > 0),
        }
    }
}

impl CallResult {
    fn without_verdicts() -> CallResult {
        CallResult {
            admitted: true,
            verdicts: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// The reply of the script: the bytes of a bulk string.
    pub fn pack(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.admitted)];
        for (at, verdict) in self.verdicts.iter().enumerate() {
            let mark = self.marks.get(at).copied().flatten().unwrap_or_default();
            let (state, limit) = match verdict.limit {
                None => (2, 0),
                Some(limit) => (u8::from(verdict.allowed), limit),
            };
            bytes.push(state);
            for number in [
                limit,
                verdict.remaining,
                verdict.reset_ms,
                verdict.wait_ms,
                mark.0,
            ] {
                bytes.extend_from_slice(&number.to_le_bytes()[..NUMBER_BYTES]);
            }
        }
        bytes
    }
}

/// The number of the call whose arguments, in RESP, end with these bytes.
pub fn tag_of(args: &[u8]) -> Option<u64> {
    let text = args.strip_suffix(b"\r\n")?;
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (rest, digits) = text.split_at(text.len() - digits);
    number(digits).filter(|_| rest.last() == Some(&TAG))
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The names of the fields of each key.
fn by_key<'a>(counts: &[usize], mut names: &'a [Vec<u8>]) -> Vec<&'a [Vec<u8>]> {
    let mut all = Vec::with_capacity(counts.len());
    for count in counts {
        let (of_key, rest) = names.split_at(*count);
        all.push(of_key);
        names = rest;
    }
    all
}

/// The rest of the packed plan.
struct Plan<'a>(&'a [u8]);

impl Plan<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], MalformedCall> {
        let (bytes, rest) = self
            .0
            .split_first_chunk()
            .ok_or(MalformedCall("length of the plan"))?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn byte(&mut self) -> Result<u8, MalformedCall> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, MalformedCall> {
        self.take().map(u16::from_le_bytes)
    }

    fn double(&mut self) -> Result<f64, MalformedCall> {
        let number = self.take().map(f64::from_le_bytes)?;
        let whole = number.fract() == 0.0 && number >= -1.0 && number <= (1_u64 << 53) as f64;
        whole.then_some(number).ok_or(MalformedCall("a number"))
    }

    /// The next charge, its last number, and whether it is a lease.
    fn charge(
        &mut self,
        index: usize,
        by_key: &[&[Vec<u8>]],
        names: &[Vec<u8>],
    ) -> Result<(Charge, f64, bool), MalformedCall> {
        let [form, shadow, way] = self.take()?;
        let [key, field, name, live_key, live_field] =
            [self.u16()?, self.u16()?, self.u16()?, self.u16()?, self.u16()?];
        let [limit, period, cost, extra] = [self.double()?, self.double()?, self.double()?, self.double()?];
        let key = place(key, by_key.len()).ok_or(MalformedCall("place of a key"))?;
        let field = match (form, field) {
            (4, 0) if name == 0 => "",
            (4, _) | (_, 0) => return Err(MalformedCall("a field of a log, or none of another")),
            _ => {
                let of_key = field_at(by_key[key], field)?;
                // The second place counts the fields of all keys.
                let of_all = field_at(names, name.checked_sub(1).ok_or(MalformedCall("a field"))?)?;
                (of_key == of_all)
                    .then_some(of_key)
                    .ok_or(MalformedCall("a field's two places"))?
            }
        };
        let live = match live_key {
            0 => None,
            _ => {
                let key = place(live_key, by_key.len()).ok_or(MalformedCall("place of an override"))?;
                let field = field_at(by_key[key], live_field)?;
                Some(LiveOverride {
                    key,
                    field: field.into(),
                    unlimited: limit < 0.0,
                })
            }
        };
        let algorithm = match form {
            1 if extra < 0.0 => Algorithm::FixedWindow {
                align: Align::FirstCall,
            },
            1 => Algorithm::FixedWindow { align: Align::Client },
            2 => Algorithm::SlidingWindowCounter,
            3 => Algorithm::Gcra { burst: extra as u64 },
            4 => Algorithm::SlidingWindowLog,
            _ => return Err(MalformedCall("form")),
        };
        if limit < 0.0 && live.is_none() {
            return Err(MalformedCall("unlimited without an override"));
        }
        let charge = Charge {
            limit: index,
            matched: None,
            key,
            field: field.into(),
            algorithm,
            rate: Rate {
                limit: limit.max(0.0) as u64,
                period: Period::from_millis(period as u64).ok_or(MalformedCall("period"))?,
            },
            cost: cost as u64,
            charged_on_response: way == 1,
            enforced: shadow == 0,
            phase_ms: match algorithm.form() {
                Form::Fixed => extra.max(0.0) as u64,
                _ => 0,
            },
            live,
        };
        Ok((charge, extra, way == 2))
    }
}

/// The index for a place that counts from 1.
fn place(place: u16, count: usize) -> Option<usize> {
    usize::from(place).checked_sub(1).filter(|at| *at < count)
}

fn field_at(names: &[Vec<u8>], at: u16) -> Result<&str, MalformedCall> {
    let name = place(at, names.len()).ok_or(MalformedCall("place of a field"))?;
    std::str::from_utf8(&names[name]).map_err(|_| MalformedCall("a field's name"))
}

#[cfg(test)]
mod tests;
