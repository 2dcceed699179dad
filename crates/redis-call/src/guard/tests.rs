//! The guard: only Headgate's own calls come out, in order, whatever goes in and however it is split.

use super::*;
use crate::resp::{self, Decoder, Value};
use crate::{Script, UNKNOWN_SHA1};
use proptest::prelude::*;

const SHA: &str = "9F86d081884c7d659a2feaa0c55ad015a3bf4f1b";
const BODY: &str = "return redis.call('TIME')\r\n";
const OLD_SHA: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
const OLD_BODY: &str = "return 1";
const FOREIGN_SHA: &str = "510402e5672f625ef75c23779a2ea46b193b94d1";

const SCRIPTS: &[Script] = &[
    Script {
        body: BODY,
        sha1_hex: SHA,
    },
    Script {
        body: OLD_BODY,
        sha1_hex: OLD_SHA,
    },
];

fn rules() -> Rc<Rules> {
    Rc::new(Rules::new("ratelimit:", SCRIPTS))
}

fn guard() -> Guard {
    Guard::new(rules())
}

fn command(args: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
    resp::command(&mut out, &args);
    out
}

/// The output, and the commands that were replaced.
fn pass(wire: &[u8]) -> Result<(Vec<u8>, Refused), Violation> {
    let mut out = Vec::new();
    let refused = guard().pass(wire, &mut out)?;
    Ok((out, refused))
}

fn replacement(name: &str) -> Vec<u8> {
    command(&[
        &format!("headgate-refused-{name}"),
        "only Headgate's own calls pass here",
    ])
}

#[test]
fn headgates_own_calls_pass_unchanged() {
    for args in [
        &["EVALSHA", SHA, "1", "ratelimit:main:{api_key:a}"][..],
        &["evalsha", SHA, "1", "ratelimit:a", "FLUSHALL", "other:key"],
        &["EvalSha", SHA, "2", "ratelimit:{a}", "ratelimit:{a}:log", "", "1"],
        &["EVALSHA", &SHA.to_lowercase(), "1", "ratelimit:a"],
        &["EVALSHA", &SHA.to_uppercase(), "1", "ratelimit:a"],
        &["EVALSHA", OLD_SHA, "1", "ratelimit:a"],
        &["EVALSHA", UNKNOWN_SHA1, "1", "ratelimit:probe:0"],
        &["EVAL", BODY, "1", "ratelimit:a", "x"],
        &["eval", OLD_BODY, "1", "ratelimit:"],
        &["CLUSTER", "SLOTS"],
        &["cluster", "slots"],
    ] {
        let wire = command(args);
        assert_eq!(pass(&wire), Ok((wire, Refused::default())), "{args:?}");
    }
}

#[test]
fn an_allowed_plain_command_passes_on_keys_with_the_prefix() {
    let pass = |args: &[&str]| {
        let rules = Rules::new("visits:", &[]).allowing(&["INCR", "pexpire"]);
        let mut out = Vec::new();
        let refused = Guard::new(Rc::new(rules)).pass(&command(args), &mut out);
        refused.unwrap().count == 0
    };
    assert!(pass(&["incr", "visits:a"]) && pass(&["PEXPIRE", "visits:a", "1000", "NX"]));
    assert!(pass(&["CLUSTER", "SLOTS"]) && pass(&["EVALSHA", UNKNOWN_SHA1, "1", "visits:probe:0"]));
    for args in [
        &["INCR"][..],
        &["INCR", "visits"],
        &["INCR", "other:a", "visits:a"],
        &["INCRBY", "visits:a", "1"],
        &["DEL", "visits:a"],
        &["EVALSHA", SHA, "1", "visits:a"],
    ] {
        assert!(!pass(args), "{args:?}");
    }
}

#[test]
fn a_call_with_as_many_keys_as_a_policy_may_need_passes() {
    let keys: Vec<String> = (0..500).map(|key| format!("ratelimit:{{a}}:{key}")).collect();
    let mut args = vec!["EVALSHA", SHA, "500"];
    args.extend(keys.iter().map(String::as_str));
    let wire = command(&args);
    assert_eq!(pass(&wire), Ok((wire, Refused::default())));
    *args.last_mut().unwrap() = "ratelimi:{a}";
    assert_eq!(pass(&command(&args)).unwrap().1.count, 1);
}

#[test]
fn other_commands_are_replaced_by_one_with_their_name() {
    let other_body = format!("{BODY} ");
    for (args, name) in [
        (&["FLUSHALL"][..], "FLUSHALL"),
        (&["config", "SET", "maxmemory", "1"], "CONFIG"),
        (&["KEYS", "*"], "KEYS"),
        (&["SCRIPT", "FLUSH"], "SCRIPT"),
        (&["GET", "ratelimit:a"], "GET"),
        (&["QUIT"], "QUIT"),
        (&["AUTH", "x"], "AUTH"),
        (&["MULTI"], "MULTI"),
        (&["EVAL_RO", BODY, "1", "ratelimit:a"], "EVAL_RO"),
        (&["EVAL", "return 2", "1", "ratelimit:a"], "EVAL"),
        (&["EVAL", &other_body, "1", "ratelimit:a"], "EVAL"),
        (&["EVAL", "", "1", "ratelimit:a"], "EVAL"),
        (&["EVAL", BODY, "1", "other:a"], "EVAL"),
        (&["EVAL"], "EVAL"),
        (&["EVAL", BODY], "EVAL"),
        (&["EVALSHA"], "EVALSHA"),
        (&["EVALSHA", SHA], "EVALSHA"),
        (&["EVALSHA", &SHA[1..], "1", "ratelimit:a"], "EVALSHA"),
        (&["EVALSHA", FOREIGN_SHA, "1", "ratelimit:a"], "EVALSHA"),
        (&["EVALSHA", BODY, "1", "ratelimit:a"], "EVALSHA"),
        (&["EVAL", SHA, "1", "ratelimit:a"], "EVAL"),
        (
            &[
                "EVALSHA",
                "zf86d081884c7d659a2feaa0c55ad015a3bf4f1b",
                "1",
                "ratelimit:a",
            ],
            "EVALSHA",
        ),
        (&["EVALSHA", SHA, "1"], "EVALSHA"),
        (&["EVALSHA", SHA, "0"], "EVALSHA"),
        (&["EVALSHA", SHA, "0", "ratelimit:a"], "EVALSHA"),
        (&["EVALSHA", SHA, "2", "ratelimit:a"], "EVALSHA"),
        (&["EVALSHA", SHA, "01", "ratelimit:a"], "EVALSHA"),
        (&["EVALSHA", SHA, "+1", "ratelimit:a"], "EVALSHA"),
        (&["EVALSHA", SHA, "-1", "ratelimit:a"], "EVALSHA"),
        (&["EVALSHA", SHA, " 1", "ratelimit:a"], "EVALSHA"),
        (&["EVALSHA", SHA, "1.0", "ratelimit:a"], "EVALSHA"),
        (&["EVALSHA", SHA, "", "ratelimit:a"], "EVALSHA"),
        (
            &["EVALSHA", SHA, "18446744073709551617", "ratelimit:a"],
            "EVALSHA",
        ),
        (&["EVALSHA", SHA, "1", "ratelimit"], "EVALSHA"),
        (&["EVALSHA", SHA, "1", "ratelimit2:a"], "EVALSHA"),
        (&["EVALSHA", SHA, "1", "Ratelimit:a"], "EVALSHA"),
        (&["EVALSHA", SHA, "1", ""], "EVALSHA"),
        (&["EVALSHA", SHA, "2", "ratelimit:a", "other:a"], "EVALSHA"),
        (&["EVALSHA", SHA, "2", "other:a", "ratelimit:a"], "EVALSHA"),
        (&["CLUSTER"], "CLUSTER"),
        (&["CLUSTER", "RESET"], "CLUSTER"),
        (&["CLUSTER", "SLOTS", "x"], "CLUSTER"),
        (&[""], ""),
    ] {
        let (out, refused) = pass(&command(args)).unwrap();
        assert_eq!(out, replacement(name), "{args:?}");
        assert_eq!(refused.count, 1);
        assert_eq!(refused.last.unwrap().as_str(), name);
    }
}

#[test]
fn a_hostile_name_can_break_neither_resp_nor_a_log_line() {
    for (name, shown) in [
        ("x\r\n*1\r\n$8\r\nFLUSHALL", "X___1___8__FLUSHALL"),
        ("\u{1b}[31mé'", "__31M___"),
        (
            "a-very-long-name-of-more-than-32-bytes",
            "A-VERY-LONG-NAME-OF-MORE-THAN-32",
        ),
    ] {
        let (out, refused) = pass(&command(&[name])).unwrap();
        assert_eq!(out, replacement(shown));
        assert_eq!(format!("{:?}", refused.last), format!("Some({shown})"));
    }
}

#[test]
fn replacements_keep_the_position_of_refused_commands() {
    let ours = command(&["EVALSHA", SHA, "1", "ratelimit:a"]);
    let slots = command(&["CLUSTER", "SLOTS"]);
    let wire = [
        &ours,
        &ours,
        &command(&["FLUSHALL"]),
        &command(&["KEYS", "*"]),
        &slots,
        &command(&["GET", "a"]),
    ];
    let out = [
        &ours,
        &ours,
        &replacement("FLUSHALL"),
        &replacement("KEYS"),
        &slots,
        &replacement("GET"),
    ];
    let (passed, refused) = pass(&wire.map(Vec::as_slice).concat()).unwrap();
    assert_eq!(passed, out.map(Vec::as_slice).concat());
    assert_eq!((refused.count, refused.last), (3, Some(CommandName::of(b"GET"))));
}

#[test]
fn anything_but_an_array_of_bulk_strings_is_a_violation() {
    for (wire, violation) in [
        ("FLUSHALL\r\n", Violation::NotAnArray(b'F')),
        ("\r\n", Violation::NotAnArray(b'\r')),
        ("$8\r\nFLUSHALL\r\n", Violation::NotAnArray(b'$')),
        ("*0\r\n", Violation::BadLength),
        ("*-1\r\n", Violation::BadLength),
        ("*01\r\n", Violation::BadLength),
        ("*+1\r\n", Violation::BadLength),
        ("*\r\n", Violation::BadLength),
        ("*1\n", Violation::BadLength),
        ("*1\rx", Violation::BadLength),
        ("*1x\r\n", Violation::BadLength),
        ("*174763\r\n", Violation::CommandTooLarge),
        ("*99999999", Violation::CommandTooLarge),
        ("*1\r\n*1\r\n", Violation::NotABulkString(b'*')),
        ("*1\r\n:1\r\n", Violation::NotABulkString(b':')),
        ("*1\r\n+FLUSHALL\r\n", Violation::NotABulkString(b'+')),
        ("*1\r\n$-1\r\n", Violation::BadLength),
        ("*1\r\n$08\r\nFLUSHALL\r\n", Violation::BadLength),
        ("*1\r\n$1048576\r\n", Violation::CommandTooLarge),
        ("*1\r\n$7\r\nFLUSHALL\r\n", Violation::BadLineEnd),
        ("*1\r\n$8\r\nFLUSHALL\n\r", Violation::BadLineEnd),
    ] {
        let wire = [command(&["CLUSTER", "SLOTS"]), wire.as_bytes().to_vec()].concat();
        assert_eq!(pass(&wire), Err(violation), "{}", wire.escape_ascii());
    }
}

#[test]
fn the_largest_command_passes_and_one_byte_more_does_not() {
    let with_padding = |len: usize| command(&["EVALSHA", SHA, "1", "ratelimit:a", &"x".repeat(len)]);
    let most = MAX_COMMAND - with_padding(1_000_000).len() + 1_000_000;
    let wire = with_padding(most);
    assert_eq!(wire.len(), MAX_COMMAND);
    assert_eq!(pass(&wire).unwrap().0, wire);
    assert_eq!(pass(&with_padding(most + 1)), Err(Violation::CommandTooLarge));
}

/// A guard that read the kept bytes again with each push would take 10¹² steps here.
#[test]
fn a_large_command_byte_by_byte_is_read_in_linear_time() {
    let many = [&["EVALSHA", SHA, "1", "ratelimit:a"][..], &["x"; 60_000]].concat();
    for wire in [command(&many), command(&["SET", "a", &"x".repeat(500_000)])] {
        let (mut guard, mut out) = (guard(), Vec::new());
        for byte in wire.chunks(1) {
            guard.pass(byte, &mut out).unwrap();
        }
        assert_eq!(out, pass(&wire).unwrap().0);
    }
}

#[test]
fn commands_may_be_split_across_frames() {
    let ours = command(&["EVALSHA", SHA, "1", "ratelimit:a"]);
    let stream = [ours.as_slice(), &command(&["FLUSHALL"]), &ours].concat();
    for len in [1, 7, ours.len(), stream.len()] {
        let wire: Vec<u8> = stream
            .chunks(len)
            .flat_map(|message| [&frame_header(message.len() as u32), message].concat())
            .collect();
        let mut out = Vec::new();
        let refused = Inbound::new(rules()).receive(&wire, &mut out).unwrap();
        assert_eq!(out, [ours.as_slice(), &replacement("FLUSHALL"), &ours].concat());
        assert_eq!(refused.count, 1);
    }
}

fn any_command() -> impl Strategy<Value = Vec<u8>> {
    let arg = prop::sample::select(vec![
        "EVALSHA",
        "EVAL",
        "CLUSTER",
        "SLOTS",
        "FLUSHALL",
        SHA,
        FOREIGN_SHA,
        BODY,
        OLD_BODY,
        "1",
        "2",
        "ratelimit:a",
        "other:a",
        "",
    ]);
    let ours = Just(command(&["EVALSHA", SHA, "1", "ratelimit:a"]));
    prop_oneof![
        1 => ours,
        3 => prop::collection::vec(arg, 1..7).prop_map(|args| command(&args)),
    ]
}

/// Bytes that often look like commands.
fn command_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => any_command(),
        2 => prop::sample::select(b"*$:+-\r\n0123456789".as_slice()).prop_map(|byte| vec![byte]),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// The arguments of an allowed command or of a replacement; panics if the command should not have passed.
fn our_args(value: &Value) -> Vec<&str> {
    let Value::Array(Some(items)) = value else {
        panic!("{value:?}");
    };
    let text = |item| match item {
        &Value::Bulk(Some(ref text)) => std::str::from_utf8(text).unwrap(),
        other => panic!("{other:?}"),
    };
    let args: Vec<&str> = items.iter().map(text).collect();
    match args.as_slice() {
        ["CLUSTER", "SLOTS"] => {}
        ["EVALSHA", SHA, "1", "ratelimit:a", ..] | ["EVAL", BODY | OLD_BODY, "1", "ratelimit:a", ..] => {}
        ["EVALSHA", SHA, "2", "ratelimit:a", "ratelimit:a", ..] => {}
        ["EVAL", BODY | OLD_BODY, "2", "ratelimit:a", "ratelimit:a", ..] => {}
        [name, "only Headgate's own calls pass here"] if name.starts_with("headgate-refused-") => {}
        other => panic!("{other:?}"),
    }
    args
}

proptest! {
    #[test]
    fn any_cut_of_a_stream_comes_out_the_same(
        commands in prop::collection::vec(any_command(), 0..8),
        cut in 1_usize..60,
    ) {
        let wire = commands.concat();
        let (mut guard, mut out, mut refused) = (guard(), Vec::new(), Refused::default());
        for chunk in wire.chunks(cut) {
            refused += guard.pass(chunk, &mut out).unwrap();
        }
        prop_assert_eq!(Ok((out, refused)), pass(&wire));
    }

    #[test]
    fn only_our_own_commands_come_out_one_for_one(commands in prop::collection::vec(any_command(), 0..8)) {
        let (out, refused) = pass(&commands.concat()).unwrap();
        let mut decoder = Decoder::new();
        decoder.push(&out);
        let mut replaced = 0;
        for command in &commands {
            let value = decoder.next().unwrap().unwrap();
            our_args(&value);
            let mut same = Decoder::new();
            same.push(command);
            replaced += u32::from(same.next().unwrap().unwrap() != value);
        }
        prop_assert_eq!(decoder.next(), Ok(None));
        prop_assert_eq!(replaced, refused.count);
    }

    #[test]
    fn any_bytes_give_whole_commands_of_our_own_or_a_violation(wire in command_like(), cut in 1_usize..60) {
        let mut guard = guard();
        for chunk in wire.chunks(cut) {
            let mut out = Vec::new();
            if guard.pass(chunk, &mut out).is_err() {
                break;
            }
            let mut decoder = Decoder::new();
            decoder.push(&out);
            let mut whole = Vec::new();
            while let Some(value) = decoder.next().unwrap() {
                whole.extend(command(&our_args(&value)));
            }
            prop_assert_eq!(whole, out);
        }
    }
}
