//! The guard: only allowed commands come out, in their order, however the stream is split. The
//! output is read by a second parser, which shares no code with the guard's.

use super::{line, pieces};
use redis_call::guard::{frame_header, Inbound, Rules};
use redis_call::{Script, UNKNOWN_SHA1};
use std::rc::Rc;

const SCRIPTS: &[Script] = &[
    Script {
        body: "return 1",
        sha1_hex: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
    },
    Script {
        body: "return redis.call('TIME')\r\n",
        sha1_hex: "0123456789abcdef0123456789abcdef01234567",
    },
];

/// The first byte draws the cut; where it is odd, the rest is put into frames first.
pub fn run(data: &[u8]) {
    let Some((&seed, rest)) = data.split_first() else {
        return;
    };
    let wire = match seed % 2 {
        0 => rest.to_vec(),
        _ => rest.chunks(200).flat_map(framed).collect(),
    };
    let (whole, closed) = pass(vec![&wire]);
    let (cut, cut_closed) = pass(pieces(seed, &wire));
    assert_eq!(closed, cut_closed, "however it is cut");
    if !closed {
        assert_eq!(whole, cut, "cut into pieces");
    }
    let came = unframed(&wire);
    let (mut came, mut left) = (&came[..], &cut[..]);
    while !left.is_empty() {
        let (args, after) = command(left).expect("only whole commands come out");
        let (original, rest) = command(came).expect("no command comes out that did not come in");
        if is_refusal(&args) {
            assert!(!is_allowed(&original), "refused without need: {original:?}");
        } else {
            assert!(is_allowed(&args), "let through: {args:?}");
            assert_eq!(args, original, "as it came");
        }
        (came, left) = (rest, after);
    }
    assert!(closed || command(came).is_none(), "a whole command stays behind");
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&frame_header(message.len() as u32), message].concat()
}

/// What went on, and whether the connection was closed.
fn pass(pieces: Vec<&[u8]>) -> (Vec<u8>, bool) {
    let rules = Rc::new(Rules::new("ratelimit:", SCRIPTS));
    let mut inbound = Inbound::new(rules);
    let mut out = Vec::new();
    for piece in pieces {
        let mut now = Vec::new();
        if inbound.receive(piece, &mut now).is_err() {
            return (out, true);
        }
        out.extend(now);
    }
    (out, false)
}

/// The messages of complete and incomplete frames, up to the first invalid one.
fn unframed(mut wire: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((&[0, a, b, c, d], rest)) = wire.split_first_chunk::<5>() {
        let len = rest.len().min(u32::from_be_bytes([a, b, c, d]) as usize);
        out.extend_from_slice(&rest[..len]);
        wire = &rest[len..];
    }
    out
}

/// The first command as its arguments, and what follows; `None`: there is no whole one.
fn command(bytes: &[u8]) -> Option<(Vec<&[u8]>, &[u8])> {
    let (count, mut rest) = header(bytes, b'*')?;
    let mut args = Vec::new();
    for _ in 0..count {
        let (len, after) = header(rest, b'$')?;
        let end = len.checked_add(2)?;
        args.push(after.get(..len)?);
        if after.get(len..end)? != b"\r\n" {
            return None;
        }
        rest = &after[end..];
    }
    (count > 0).then_some((args, rest))
}

fn header(bytes: &[u8], kind: u8) -> Option<(usize, &[u8])> {
    let (text, rest) = line(bytes)?;
    let digits = text.strip_prefix(&[kind])?;
    let number: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    // Its one spelling: no sign, no leading zero.
    (number.to_string().as_bytes() == digits).then_some((number, rest))
}

fn is_refusal(args: &[&[u8]]) -> bool {
    let fit = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_".contains(byte);
    matches!(args, [name, reason]
        if name.strip_prefix(b"headgate-refused-").is_some_and(|name| name.len() <= 32 && name.iter().all(fit))
            && *reason == b"only Headgate's own calls pass here")
}

fn is_allowed(args: &[&[u8]]) -> bool {
    let is = |arg: &[u8], word: &str| arg.eq_ignore_ascii_case(word.as_bytes());
    match args {
        [name, sub] if is(name, "CLUSTER") => is(sub, "SLOTS"),
        [name, sha, count, rest @ ..] if is(name, "EVALSHA") => {
            let known = SCRIPTS.iter().map(|script| script.sha1_hex);
            known.chain([UNKNOWN_SHA1]).any(|known| is(sha, known)) && has_keys(count, rest)
        }
        [name, body, count, rest @ ..] if is(name, "EVAL") => {
            SCRIPTS.iter().any(|known| known.body.as_bytes() == *body) && has_keys(count, rest)
        }
        _ => false,
    }
}

fn has_keys(count: &[u8], rest: &[&[u8]]) -> bool {
    let count = std::str::from_utf8(count)
        .ok()
        .filter(|text| !text.starts_with(['0', '+']));
    let count = count.and_then(|text| text.parse::<usize>().ok());
    let keys = count
        .filter(|count| *count > 0)
        .and_then(|count| rest.get(..count));
    keys.is_some_and(|keys| keys.iter().all(|key| key.starts_with(b"ratelimit:")))
}
