//! A guard that refuses the script, as during an upgrade that replaces Envoy's listeners one after another.

use super::*;

const NOSCRIPT: &str = "-NOSCRIPT No matching script.\r\n";
const REFUSED: &str =
    "-ERR unknown command 'headgate-refused-EVAL', with args beginning with: only Headgate's own\r\n";

/// The stream on which the last call with this key went.
fn stream_of(bench: &StreamBench, key: &str) -> Option<u32> {
    bench
        .sent_with(&format!("\r\n{key}\r\n"))
        .1
        .map(|stream| stream.0)
}

#[test]
fn calls_that_an_old_guard_refuses_use_the_next_stream() {
    let mut bench = StreamBench::warm();
    bench.call(1, "a").unwrap();
    bench.call(2, "b").unwrap();
    bench.reply(3, NOSCRIPT);
    bench.call(3, "c").unwrap();
    bench.reply(3, NOSCRIPT);
    bench.reply(3, REFUSED.split_at(20).0);
    // The node knows the script already: calls that were sent before keep their replies.
    bench.reply(3, &format!("{}:3\r\n", REFUSED.split_at(20).1));
    assert_eq!(bench.ended(), [(3, Ok(Value::Int(3)))]);
    bench.call(4, "d").unwrap();
    assert_eq!(stream_of(&bench, "d"), None, "waits for the next stream");
    bench.after(1);
    assert!(bench.host.borrow().cancelled.is_empty(), "one reply is missing");
    bench.reply(3, ":2\r\n");
    assert_eq!(bench.ended(), [(2, Ok(Value::Int(2)))]);
    assert_eq!(bench.host.borrow().cancelled, [StreamId(3)]);
    let wait = bench.streams.wakeup().unwrap() - bench.now;
    assert!((9..=20).contains(&wait.as_millis()), "{wait:?}");
    bench.after(20);
    assert_eq!(["a", "d"].map(|key| stream_of(&bench, key)), [Some(4), Some(4)]);
    bench.reply(4, &format!("{NOSCRIPT}{NOSCRIPT}:1\r\n:4\r\n"));
    assert_eq!(bench.ended(), [(1, Ok(Value::Int(1))), (4, Ok(Value::Int(4)))]);
    assert_eq!((bench.streams.in_flight(), bench.streams.open()), (0, 1));
}

#[test]
fn a_guard_that_always_refuses_ends_the_call_by_its_deadline() {
    let mut bench = StreamBench::warm();
    bench.call(1, "a").unwrap();
    let deadline = bench.now + TIMEOUT;
    let mut stream = 3;
    let mut tries = 0;
    while bench.completed.is_empty() {
        assert!(bench.now < deadline);
        bench.reply(stream, NOSCRIPT);
        bench.reply(stream, REFUSED);
        bench.after(20);
        (stream, tries) = (stream + 1, tries + 1);
    }
    let [(1, Ok(Value::Error(text)))] = &bench.ended()[..] else {
        panic!("an error")
    };
    assert!(text.starts_with(b"ERR unknown command 'headgate-refused-EVAL'"));
    assert_eq!(tries, 5);
}

#[test]
fn a_guard_that_refuses_evalsha_is_retried_on_the_next_stream() {
    let mut bench = StreamBench::warm();
    bench.call(1, "a").unwrap();
    bench.reply(3, &REFUSED.replace("EVAL'", "EVALSHA'"));
    assert_eq!(bench.ended(), []);
    assert_eq!(bench.host.borrow().cancelled, [StreamId(3)]);
    bench.after(20);
    assert_eq!(stream_of(&bench, "a"), Some(4));
    bench.reply(4, ":1\r\n");
    assert_eq!(bench.ended(), [(1, Ok(Value::Int(1)))]);
}

#[test]
fn an_ending_stream_that_breaks_loses_only_its_own_calls() {
    let mut bench = StreamBench::warm();
    bench.call(1, "a").unwrap();
    bench.reply(3, NOSCRIPT);
    bench.call(2, "b").unwrap();
    bench.reply(3, REFUSED);
    bench
        .streams
        .on_close(bench.now, StreamId(3), 14, &mut bench.completed);
    assert_eq!(bench.ended(), [(2, Err(CallError::Closed(14)))]);
    bench.after(40);
    bench.reply(4, ":1\r\n");
    assert_eq!(bench.ended(), [(1, Ok(Value::Int(1)))]);
}

#[test]
fn a_stream_whose_guard_refuses_has_failed_once() {
    let mut bench = StreamBench::warm();
    for request in 1..=8 {
        bench.call(request, "a").unwrap();
    }
    for _ in 1..=8 {
        bench.reply(3, &REFUSED.replace("EVAL'", "EVALSHA'"));
    }
    let wait = bench.streams.wakeup().unwrap() - bench.now;
    assert!((9..=20).contains(&wait.as_millis()), "{wait:?}");
    bench.after(20);
    bench.reply(4, ":1\r\n:2\r\n:3\r\n:4\r\n:5\r\n:6\r\n:7\r\n:8\r\n");
    assert_eq!(bench.ended().len(), 8);
}
