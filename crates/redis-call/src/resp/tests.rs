//! What the decoder must hold for any bytes and any cut of them.

use super::*;
use proptest::prelude::*;

/// Bytes allocated by values in a vector of that capacity.
pub(super) fn allocated(values: &[Value], capacity: usize) -> usize {
    let of_value = |value: &Value| match value {
        Value::Int(_) | Value::Bulk(None) | Value::Array(None) => 0,
        Value::Simple(text) | Value::Error(text) | Value::Bulk(Some(text)) => text.capacity(),
        Value::Array(Some(items)) => allocated(items, items.capacity()),
    };
    capacity * size_of::<Value>() + values.iter().map(of_value).sum::<usize>()
}

fn decode(bytes: &[u8]) -> Result<Vec<Value>, RespError> {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    drain(&mut decoder)
}

fn drain(decoder: &mut Decoder) -> Result<Vec<Value>, RespError> {
    std::iter::from_fn(|| decoder.next().transpose()).collect()
}

fn bulk_value(text: &[u8]) -> Value {
    Value::Bulk(Some(text.to_vec()))
}

fn ints(numbers: impl IntoIterator<Item = i64>) -> Value {
    Value::Array(Some(numbers.into_iter().map(Value::Int).collect()))
}

#[test]
fn every_type_of_resp2_is_read() {
    let wire = b"+OK\r\n-NOSCRIPT No matching script.\r\n:-9223372036854775808\r\n:+7\r\n$3\r\na\r\n\r\n\
        $0\r\n\r\n$-1\r\n*-1\r\n*0\r\n*2\r\n*1\r\n:1\r\n$-1\r\n";
    let values = [
        Value::Simple(b"OK".to_vec()),
        Value::Error(b"NOSCRIPT No matching script.".to_vec()),
        Value::Int(i64::MIN),
        Value::Int(7),
        bulk_value(b"a\r\n"),
        bulk_value(b""),
        Value::Bulk(None),
        Value::Array(None),
        ints([]),
        Value::Array(Some(vec![ints([1]), Value::Bulk(None)])),
    ];
    assert_eq!(decode(wire).unwrap(), values);
}

#[test]
fn bytes_that_are_not_resp2_are_an_error_with_the_reason() {
    for (wire, error) in [
        ("%1\r\n", RespError::UnknownType(b'%')),
        ("\r\n", RespError::UnknownType(b'\r')),
        (":\r\n", RespError::BadNumber),
        (":-\r\n", RespError::BadNumber),
        (":1a\r\n", RespError::BadNumber),
        (":9223372036854775808\r\n", RespError::BadNumber),
        ("$-2\r\n", RespError::BadNumber),
        ("*-2\r\n", RespError::BadNumber),
        ("+OK\rX", RespError::BadLineEnd),
        ("$1\r\nab\n", RespError::BadLineEnd),
        ("$1048575\r\n", RespError::TooLarge),
        ("$9223372036854775807\r\n", RespError::TooLarge),
        ("*9223372036854775807\r\n", RespError::TooLarge),
        ("*400000\r\n", RespError::TooLarge),
        (
            "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
            RespError::TooDeep,
        ),
    ] {
        assert_eq!(decode(wire.as_bytes()), Err(error), "{wire:?}");
    }
}

#[test]
fn arrays_may_be_nested_to_the_bound() {
    let wire = [b"*1\r\n".repeat(MAX_DEPTH), b":1\r\n".to_vec()].concat();
    let value = (0..MAX_DEPTH).fold(Value::Int(1), |value, _| Value::Array(Some(vec![value])));
    assert_eq!(decode(&wire).unwrap(), [value]);
}

#[test]
fn an_error_stays_and_takes_no_more_bytes() {
    let mut decoder = Decoder::new();
    decoder.push(b"?");
    assert_eq!(decoder.next(), Ok(None));
    decoder.push(b"\r\n:1\r\n");
    assert_eq!(decoder.next(), Err(RespError::UnknownType(b'?')));
    decoder.push(b":1\r\n");
    assert_eq!(decoder.next(), Err(RespError::UnknownType(b'?')));
    assert_eq!(decoder.allocated(), 0);
}

#[test]
fn a_reply_of_the_largest_size_is_accepted_one_byte_more_not() {
    for (wire, size) in [
        (&b"$3\r\nabc\r\n"[..], 9),
        (b"+abcdef\r\n", 9),
        (b"*2\r\n:1\r\n:2\r\n", 12),
    ] {
        let mut decoder = Decoder::with_max_reply(size);
        for _ in 0..3 {
            decoder.push(wire);
            assert_eq!(drain(&mut decoder).map(|values| values.len()), Ok(1));
        }
        let mut decoder = Decoder::with_max_reply(size - 1);
        decoder.push(wire);
        assert_eq!(drain(&mut decoder), Err(RespError::TooLarge));
    }
}

#[test]
fn a_line_without_an_end_is_refused_at_the_bound() {
    let mut decoder = Decoder::with_max_reply(100);
    decoder.push(&[b'+'; 100]);
    assert_eq!(decoder.next(), Ok(None));
    decoder.push(b"+");
    assert_eq!(decoder.next(), Err(RespError::TooLarge));
}

/// A decoder that started again with each byte would take 10¹² steps here.
#[test]
fn a_large_reply_byte_by_byte_is_read_in_linear_time() {
    let line = [b"+".as_slice(), &[b'x'; 300_000], b"\r\n"].concat();
    let bulk = [b"$300000\r\n".as_slice(), &[b'x'; 300_000], b"\r\n"].concat();
    let array = [b"*100000\r\n".as_slice(), &b":7\r\n".repeat(100_000)].concat();
    for wire in [line, bulk, array] {
        let mut decoder = Decoder::new();
        let mut replies = 0;
        for byte in wire.chunks(1) {
            decoder.push(byte);
            replies += drain(&mut decoder).unwrap().len();
        }
        assert_eq!(replies, 1);
    }
}

#[test]
fn a_large_buffer_is_freed() {
    let mut decoder = Decoder::new();
    let wire = [b"$500000\r\n".as_slice(), &[b'x'; 500_000], b"\r\n"].concat();
    decoder.push(&wire);
    drain(&mut decoder).unwrap();
    decoder.push(b":1");
    assert!(decoder.allocated() < 20_000, "{}", decoder.allocated());
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Int(number) => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
        Value::Simple(text) => out.extend_from_slice(&[b"+", text.as_slice(), b"\r\n"].concat()),
        Value::Error(text) => out.extend_from_slice(&[b"-", text.as_slice(), b"\r\n"].concat()),
        Value::Bulk(Some(text)) => bulk(out, text),
        Value::Bulk(None) => out.extend_from_slice(b"$-1\r\n"),
        Value::Array(None) => out.extend_from_slice(b"*-1\r\n"),
        Value::Array(Some(items)) => {
            array(out, items.len());
            items.iter().for_each(|item| write(out, item));
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = || prop::collection::vec(any::<u8>(), 0..40);
    let line = || {
        text().prop_map(|mut text| {
            text.retain(|&byte| byte != b'\r');
            text
        })
    };
    let scalar = prop_oneof![
        4 => any::<i64>().prop_map(Value::Int),
        1 => line().prop_map(Value::Simple),
        1 => line().prop_map(Value::Error),
        2 => prop::option::of(text()).prop_map(Value::Bulk),
        1 => Just(Value::Array(None)),
    ];
    scalar.prop_recursive(4, 40, 8, |item| {
        prop::collection::vec(item, 0..8).prop_map(|items| Value::Array(Some(items)))
    })
}

/// Bytes that often look like RESP.
fn resp_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(b"*$:+-\r\n0123456789".as_slice()).prop_map(|byte| vec![byte]),
        4 => prop::sample::select(vec!["\r\n", "*64\r\n", "*9\r\n", "*0\r\n", "*-1\r\n", ":1\r\n", "$2\r\nab\r\n", "+\r\n"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..200).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_cut_of_a_stream_gives_the_same_replies(
        values in prop::collection::vec(any_value(), 0..12),
        cuts in prop::collection::vec(1_usize..30, 1..40),
    ) {
        let mut wire = Vec::new();
        values.iter().for_each(|value| write(&mut wire, value));
        let mut decoder = Decoder::new();
        let mut read = Vec::new();
        let mut rest = wire.as_slice();
        for cut in cuts.into_iter().cycle() {
            let (chunk, later) = rest.split_at(cut.min(rest.len()));
            decoder.push(chunk);
            // Not always to the end: the rest must wait for the next push.
            if cut % 3 == 0 {
                read.extend(decoder.next().unwrap());
            } else {
                read.extend(drain(&mut decoder).unwrap());
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        read.extend(drain(&mut decoder).unwrap());
        prop_assert_eq!(read, values);
    }

    #[test]
    fn any_bytes_are_replies_or_an_error_in_bounded_memory(
        wire in resp_like(),
        chunk in 1_usize..80,
    ) {
        const MAX: usize = 300;
        let mut decoder = Decoder::with_max_reply(MAX);
        for bytes in wire.chunks(chunk) {
            decoder.push(bytes);
            while let Ok(Some(value)) = decoder.next() {
                let items = std::slice::from_ref(&value);
                prop_assert!(allocated(items, 1) <= 32 * MAX);
            }
            let bound = 32 * MAX + MAX_DEPTH * 64 * size_of::<Value>();
            prop_assert!(decoder.allocated() <= bound, "{} bytes", decoder.allocated());
        }
    }
}
