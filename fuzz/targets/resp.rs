//! Replies of Redis: any cut of a stream reads as the whole does, and what is read is what was written.

use super::pieces;
use headgate_core::fixtures::{charge, group, rate};
use headgate_core::limit::Algorithm;
use headgate_core::redis::resp::{Decoder, RespError, Value};
use headgate_core::script::ScriptReply;

/// In bytes; small, so that the bound is met.
const MAX_REPLY: usize = 512;

pub fn run(data: &[u8]) {
    let Some((&seed, wire)) = data.split_first() else {
        return;
    };
    let (values, error) = read([wire]);
    let (cut, cut_error) = read(pieces(seed, wire));
    assert_eq!(values, cut, "cut into pieces");
    // A line too long may be called so before its end shows what else is wrong with it.
    assert_eq!(error.is_some(), cut_error.is_some(), "{error:?} {cut_error:?}");
    let mut again = Vec::new();
    values.iter().for_each(|value| write(&mut again, value));
    assert_eq!(
        read([&again[..]]),
        (values.clone(), None),
        "written and read again"
    );
    let charge = charge(0, Algorithm::SlidingWindowCounter, rate(1, 1_000));
    for charges in 0..3 {
        let group = group("a", vec![charge.clone(); charges]);
        for value in &values {
            if let Ok(reply) = ScriptReply::decode(&group, value) {
                assert_eq!(reply.verdicts.len(), charges);
            }
        }
    }
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Value>, Option<RespError>) {
    let mut decoder = Decoder::with_max_reply(MAX_REPLY);
    let mut values = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(value)) => values.push(value),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next(), Err(error), "an error stays");
                    return (values, Some(error));
                }
            }
        }
    }
    (values, None)
}

fn write(out: &mut Vec<u8>, value: &Value) {
    let mut line = |kind: u8, text: &[u8]| {
        out.push(kind);
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    };
    match value {
        Value::Int(number) => line(b':', number.to_string().as_bytes()),
        Value::Simple(text) => line(b'+', text),
        Value::Error(text) => line(b'-', text),
        Value::Bulk(None) => line(b'$', b"-1"),
        Value::Bulk(Some(text)) => {
            line(b'$', text.len().to_string().as_bytes());
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        }
        Value::Array(None) => line(b'*', b"-1"),
        Value::Array(Some(items)) => {
            line(b'*', items.len().to_string().as_bytes());
            items.iter().for_each(|item| write(out, item));
        }
    }
}
