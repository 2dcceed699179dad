//! What follows `EVALSHA <sha>` (or `EVAL <body>`): the number of keys, the keys, the plan and the field names.
//!
//! The plan is packed, since sixteen small arguments cost Redis more than the counting. Little endian:
//!
//! | | |
//! |---|---|
//! | u8 | mode: 0 count, 1 give back, 2 charge afterwards |
//! | u16 for each key | how many of its fields are read, in the order of the names that follow; 0: a log, or nothing |
//!
//! and for each charge, in the group's order:
//!
//! | | |
//! |---|---|
//! | u8 | form: 1 fixed, 2 counter, 3 gcra, 4 log |
//! | u8 | 1: in shadow |
//! | u8 | 1: needs 1 left whatever its cost |
//! | u16 | its key's place among the keys, from 1 |
//! | u16, u16 | its field's place among those read from that key (0: a log), and among all arguments, from 1 |
//! | u16, u16 | the live override's key and its field's place there, from 1 (0: none) |
//! | f64 | N; -1: unlimited, unless a live override says otherwise |
//! | f64 | the period in ms |
//! | f64 | the cost |
//! | f64 | counting: a fixed window's phase in ms (-1: begins with the first call), gcra's burst (0: follows N); giving back: the mark |
//!
//! All numbers are whole and at most 2⁵³, so that doubles hold them.

use super::Reply;
use crate::limit::algorithm::{EXACT, MAX_LOG};
use crate::limit::{Algorithm, Align, Charge, Form, Group};
use crate::redis::resp::{bulk, bulk_int};

/// What the script is to do with a group's charges.
#[derive(Debug, Clone, Copy)]
pub enum Mode<'a> {
    /// Check all, and charge all or none.
    Count,
    /// Take off what a counting call charged, by its own reply. To be sent once: a repetition may take off what
    /// others were charged.
    GiveBack(&'a Reply),
    /// Charge the costs, whether they fit or not: those that became known with the response.
    Charge,
}

const CHARGE_BYTES: usize = 3 + 5 * 2 + 4 * 8;

/// Where the fields of one key stand: first those of its counters, then its live overrides.
#[derive(Clone, Copy, Default)]
struct Fields {
    counters: u16,
    overrides: u16,
    /// How many arguments stand before them.
    before: u16,
    /// How many of each have been told to their charges.
    placed_counters: u16,
    placed_overrides: u16,
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

fn count_fields(group: &Group) -> Vec<Fields> {
    let mut fields = vec![Fields::default(); group.keys.len()];
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

fn push_plan(group: &Group, mode: Mode<'_>, fields: &mut [Fields], out: &mut Vec<u8>) {
    let length = 1 + 2 * fields.len() + CHARGE_BYTES * group.charges.len();
    out.push(b'$');
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.push(match mode {
        Mode::Count => 0,
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

fn push_charge(charge: &Charge, index: usize, mode: Mode<'_>, fields: &mut [Fields], out: &mut Vec<u8>) {
    let (form, parameter) = match charge.algorithm {
        Algorithm::FixedWindow {
            align: Align::FirstCall,
        } => (1, -1.0),
        Algorithm::FixedWindow { .. } => (1, charge.phase_ms as f64),
        Algorithm::SlidingWindowCounter => (2, 0.0),
        Algorithm::Gcra { burst } => (3, burst as f64),
        Algorithm::SlidingWindowLog => (4, 0.0),
    };
    let needs_one = charge.later && matches!(mode, Mode::Count);
    out.extend_from_slice(&[form, u8::from(!charge.enforced), u8::from(needs_one)]);

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
    // More than any N: such a call never passes, and what it may overdraw is bounded.
    let most = if is_log(charge) { MAX_LOG } else { EXACT / period } + 1;
    let (cost, parameter) = match mode {
        Mode::Count if charge.later => (0, parameter),
        Mode::Count | Mode::Charge => (charge.cost, parameter),
        Mode::GiveBack(_) if charge.later => (0, 0.0),
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

/// Counted from 1. A policy with more keys than fit is refused by Redis (the script finds no such key).
fn place(index: usize) -> u16 {
    u16::try_from(index + 1).unwrap_or(u16::MAX)
}
