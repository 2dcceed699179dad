//! The arguments after `EVALSHA <sha>` (or `EVAL <body>`): the number of keys, the keys, the plan and the field names.
//!
//! The plan is packed, as sixteen small arguments cost Redis more than the counting. Little endian:
//!
//! | | |
//! |---|---|
//! | u8 | mode: 0 count, 1 refund, 2 charge on the response |
//! | u16 for each key | how many of its fields are read, in the order of the names that follow; 0: a log, or nothing |
//!
//! and for each charge, in the group's order:
//!
//! | | |
//! |---|---|
//! | u8 | form: 1 fixed, 2 counter, 3 gcra, 4 log |
//! | u8 | 1: in shadow |
//! | u8 | 1: needs 1 left whatever its cost; 2: a lease, which needs four times its cost |
//! | u16 | its key's place among the keys, from 1 |
//! | u16, u16 | its field's place among those read from that key (0: a log), and among all arguments, from 1 |
//! | u16, u16 | the live override's key and its field's place there, from 1 (0: none) |
//! | f64 | N; -1: unlimited, unless a live override says otherwise |
//! | f64 | the period in ms |
//! | f64 | the cost |
//! | f64 | counting: a fixed window's phase in ms (-1: begins with the first call), gcra's burst (0: follows N); giving back: the mark |
//!
//! All numbers are whole and at most 2⁵³, so that doubles hold them.

use super::ScriptReply;
use crate::limit::algorithm::{EXACT, MAX_LOG};
use crate::limit::{Charge, Form, Group};
use crate::redis::resp::{bulk, bulk_int};
use crate::redis::Call;

/// What the script does with a group's charges.
#[derive(Debug, Clone, Copy)]
pub enum Mode<'a> {
    /// Check all, and charge all or none.
    Count,
    /// Refund what a counting call charged, by its own reply. Send it once: a repetition may refund what other calls
    /// were charged.
    GiveBack(&'a ScriptReply),
    /// Like [`Mode::Count`], for permits that are spent later ([`lease_ms`](crate::limit::algorithm::lease_ms)).
    Lease,
    /// Charge the costs, whether they fit or not: they became known with the response.
    Charge,
}

const CHARGE_BYTES: usize = 3 + 5 * 2 + 4 * 8;

/// The indices of the fields of one key: first its counters, then its live overrides.
#[derive(Clone, Copy, Default)]
struct KeyFields {
    counters: u16,
    overrides: u16,
    /// The number of arguments before them.
    before: u16,
    /// How many of each have been assigned to their charges.
    placed_counters: u16,
    placed_overrides: u16,
}

/// The call for a group.
pub fn call(group: &Group, mode: Mode<'_>) -> Call {
    let mut tail = Vec::with_capacity(256);
    let parts = arguments(group, mode, &mut tail);
    Call::script(group.slot(), parts, tail)
}

/// Appends the arguments as RESP bulk strings and returns how many there are. The command's array has two more: its
/// name, and the SHA-1 or the body; so the same bytes serve EVALSHA and, after NOSCRIPT, EVAL.
pub fn arguments(group: &Group, mode: Mode<'_>, out: &mut Vec<u8>) -> usize {
    bulk_int(out, group.keys.len());
    for key in &group.keys {
        bulk(out, key);
    }
    let mut fields = count_fields(group);
    push_plan(group, mode, &mut fields, out);
    let mut names = 0;
    for key in 0..group.keys.len() {
        let counters = group
            .charges
            .iter()
            .filter(|charge| charge.key == key && !is_log(charge));
        let overrides = group.charges.iter().filter_map(|charge| charge.live.as_ref());
        for field in counters
            .map(|charge| &charge.field)
            .chain(overrides.filter(|live| live.key == key).map(|live| &live.field))
        {
            bulk(out, field.as_bytes());
            names += 1;
        }
    }
    1 + group.keys.len() + 1 + names
}

fn is_log(charge: &Charge) -> bool {
    charge.algorithm.form() == Form::Log
}

fn count_fields(group: &Group) -> Vec<KeyFields> {
    let mut fields = vec![KeyFields::default(); group.keys.len()];
    for charge in &group.charges {
        if let Some(key) = fields.get_mut(charge.key).filter(|_| !is_log(charge)) {
            key.counters += 1;
        }
        if let Some(key) = charge.live.as_ref().and_then(|live| fields.get_mut(live.key)) {
            key.overrides += 1;
        }
    }
    let mut before = 1; // the plan
    for key in &mut fields {
        key.before = before;
        before += key.counters + key.overrides;
    }
    fields
}

fn push_plan(group: &Group, mode: Mode<'_>, fields: &mut [KeyFields], out: &mut Vec<u8>) {
    let length = 1 + 2 * fields.len() + CHARGE_BYTES * group.charges.len();
    out.push(b'$');
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.push(match mode {
        Mode::Count | Mode::Lease => 0,
        Mode::GiveBack(_) => 1,
        Mode::Charge => 2,
    });
    for key in fields.iter() {
        push_u16(out, key.counters + key.overrides);
    }
    for (index, charge) in group.charges.iter().enumerate() {
        push_charge(charge, index, mode, fields, out);
    }
    out.extend_from_slice(b"\r\n");
}

fn push_charge(charge: &Charge, index: usize, mode: Mode<'_>, fields: &mut [KeyFields], out: &mut Vec<u8>) {
    let form = charge.algorithm.form().number();
    let parameter = charge.algorithm.script_parameter(charge.phase_ms);
    let way = match mode {
        Mode::Count => u8::from(charge.charged_on_response),
        Mode::Lease => 2,
        Mode::GiveBack(_) | Mode::Charge => 0,
    };
    out.extend_from_slice(&[form, u8::from(!charge.enforced), way]);

    push_u16(out, place(charge.key));
    match fields.get_mut(charge.key).filter(|_| !is_log(charge)) {
        Some(key) => {
            key.placed_counters += 1;
            push_u16(out, key.placed_counters);
            push_u16(out, key.before + key.placed_counters);
        }
        None => out.extend_from_slice(&[0; 4]),
    }
    match charge
        .live
        .as_ref()
        .and_then(|live| Some((live.key, fields.get_mut(live.key)?)))
    {
        Some((index, key)) => {
            key.placed_overrides += 1;
            push_u16(out, place(index));
            push_u16(out, key.counters + key.placed_overrides);
        }
        None => out.extend_from_slice(&[0; 4]),
    }

    let period = charge.rate.period.as_millis();
    // Above any N: such a call never passes, and its overdraft is bounded.
    let most = if is_log(charge) { MAX_LOG } else { EXACT / period } + 1;
    let (cost, parameter) = match mode {
        Mode::Count if charge.charged_on_response => (0, parameter),
        Mode::Count | Mode::Lease | Mode::Charge => (charge.cost, parameter),
        Mode::GiveBack(_) if charge.charged_on_response => (0, 0.0),
        Mode::GiveBack(reply) => reply
            .charged(index)
            .map_or((0, 0.0), |mark| (charge.cost, mark.0 as f64)),
    };
    let limit = match &charge.live {
        Some(live) if live.unlimited => -1.0,
        _ => charge.rate.limit as f64,
    };
    for number in [limit, period as f64, cost.min(most) as f64, parameter] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn push_u16(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Counted from 1. Redis refuses a call with more keys than fit (the script finds no such key).
fn place(index: usize) -> u16 {
    u16::try_from(index + 1).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::algorithm::Mark;
    use crate::limit::LiveOverride;
    use crate::limit::{Algorithm, Align};
    use crate::redis::resp::{array, Decoder, Value};
    use crate::script::packed;
    use crate::script::tests::group;

    /// The arguments as Redis reads them.
    fn parts(group: &Group, mode: Mode<'_>) -> Vec<Vec<u8>> {
        let mut tail = Vec::new();
        let count = arguments(group, mode, &mut tail);
        let mut bytes = Vec::new();
        array(&mut bytes, count);
        bytes.extend_from_slice(&tail);
        let mut decoder = Decoder::new();
        decoder.push(&bytes);
        let Ok(Some(Value::Array(Some(items)))) = decoder.next() else {
            panic!("no array of {count} in {:?}", String::from_utf8_lossy(&bytes));
        };
        let texts = items.into_iter().map(|item| match item {
            Value::Bulk(Some(bytes)) => bytes,
            other => panic!("{other:?}"),
        });
        texts.collect()
    }

    /// The charge at `index` of a plan: its bytes and places, then N, period, cost and parameter.
    fn charge(plan: &[u8], keys: usize, index: usize) -> (Vec<u8>, Vec<u16>, Vec<f64>) {
        let bytes = &plan[1 + 2 * keys + CHARGE_BYTES * index..][..CHARGE_BYTES];
        let places = bytes[3..13]
            .chunks(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let numbers = bytes[13..]
            .chunks(8)
            .map(|eight| f64::from_le_bytes(eight.try_into().unwrap()));
        (bytes[..3].to_vec(), places.collect(), numbers.collect())
    }

    /// A fixed window, a log beside it and a counter in a hash of its own with a live override.
    fn mixed() -> Group {
        let mut group = group(3);
        group.keys.extend([b"log".to_vec(), b"own".to_vec()]);
        group.charges[0].algorithm = Algorithm::FixedWindow { align: Align::Client };
        group.charges[0].phase_ms = 7;
        group.charges[0].enforced = false;
        group.charges[1].algorithm = Algorithm::SlidingWindowLog;
        group.charges[1].key = 1;
        group.charges[2].key = 2;
        group.charges[2].charged_on_response = true;
        group.charges[2].live = Some(LiveOverride {
            key: 0,
            field: "2:override".into(),
            unlimited: true,
        });
        group
    }

    #[test]
    fn the_arguments_are_keys_then_plan_then_fields() {
        let parts = parts(&mixed(), Mode::Count);
        let texts: Vec<_> = parts.iter().map(|part| String::from_utf8_lossy(part)).collect();
        assert_eq!(texts[..4], ["3", "hash", "log", "own"]);
        assert_eq!(texts[5..], ["0:counter:60000", "2:override", "2:counter:60000"]);

        let plan = &parts[4];
        assert_eq!(plan.len(), 1 + 3 * 2 + 3 * CHARGE_BYTES);
        assert_eq!(
            plan[..7],
            [0, 2, 0, 0, 0, 1, 0],
            "the mode, and fields read from each key"
        );
        let first = (vec![1, 1, 0], vec![1, 1, 2, 0, 0], vec![10.0, 60_000.0, 1.0, 7.0]);
        assert_eq!(charge(plan, 3, 0), first);
        let log = (vec![4, 0, 0], vec![2, 0, 0, 0, 0], vec![10.0, 60_000.0, 1.0, 0.0]);
        assert_eq!(charge(plan, 3, 1), log);
        let later = (vec![2, 0, 1], vec![3, 1, 4, 1, 2], vec![-1.0, 60_000.0, 0.0, 0.0]);
        assert_eq!(charge(plan, 3, 2), later);
    }

    #[test]
    fn each_form_has_its_word_and_its_parameter() {
        let mut group = group(1);
        for (algorithm, form, parameter) in [
            (Algorithm::FixedWindow { align: Align::Epoch }, 1, 0.0),
            (
                Algorithm::FixedWindow {
                    align: Align::FirstCall,
                },
                1,
                -1.0,
            ),
            (Algorithm::SlidingWindowCounter, 2, 0.0),
            (Algorithm::Gcra { burst: 5 }, 3, 5.0),
            (Algorithm::SlidingWindowLog, 4, 0.0),
        ] {
            group.charges[0].algorithm = algorithm;
            let (bytes, _, numbers) = charge(&parts(&group, Mode::Count)[2], 1, 0);
            assert_eq!((bytes[0], numbers[3]), (form, parameter), "{algorithm:?}");
        }
    }

    #[test]
    fn giving_back_sends_marks_of_charges_and_0_for_the_rest() {
        let mut group = group(2);
        group.charges[0].cost = 4;
        let reply = packed(true, &[[1, 9, 5, 0, 0, 77], [0, 9, 0, 0, 60_000, 78]]);
        let reply = ScriptReply::decode(&group, &reply).unwrap();
        assert_eq!(reply.charged(0), Some(Mark(77)));
        let plan = &parts(&group, Mode::GiveBack(&reply))[2];
        assert_eq!(plan[0], 1);
        assert_eq!(charge(plan, 1, 0).2[2..], [4.0, 77.0]);
        assert_eq!(charge(plan, 1, 1).2[2..], [0.0, 0.0]);
    }

    #[test]
    fn a_cost_above_all_limits_stays_in_the_range_of_exact_numbers() {
        let mut group = group(1);
        group.charges[0].cost = u64::MAX;
        let plan = &parts(&group, Mode::Charge)[2];
        assert_eq!(plan[0], 2);
        assert_eq!(charge(plan, 1, 0).2[2], ((1_u64 << 53) / 60_000 + 1) as f64);
    }

    #[test]
    fn a_lease_is_a_count_that_needs_more_than_it_takes() {
        let mut group = group(1);
        group.charges[0].cost = 30;
        let plan = &parts(&group, Mode::Lease)[2];
        assert_eq!((plan[0], charge(plan, 1, 0).0), (0, vec![2, 0, 2]));
        assert_eq!(charge(plan, 1, 0).2[2], 30.0);
    }

    #[test]
    fn arguments_are_appended_to_the_buffer() {
        let mut out = b"before".to_vec();
        arguments(&group(1), Mode::Count, &mut out);
        assert!(out.starts_with(b"before$1\r\n1\r\n$4\r\nhash\r\n"));
    }
}
