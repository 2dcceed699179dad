//! One stream: order of replies, timeouts, broken streams.

use super::*;

#[test]
fn the_first_call_is_sent_with_the_tick_that_opens_its_stream() {
    let mut bench = StreamBench::new();
    bench.call(1, "a").unwrap();
    assert!(bench.sent().is_empty());
    assert!(bench.streams.wakeup().unwrap() <= bench.now);
    bench.tick();
    assert_eq!(bench.sent(), [("EVALSHA", "a".to_owned())]);
    bench.reply(1, ":7\r\n");
    assert_eq!(bench.ended(), [(1, Ok(Value::Int(7)))]);
    assert_eq!((bench.streams.in_flight(), bench.streams.open()), (0, 1));
}

#[test]
fn replies_go_to_callers_in_the_order_of_sending() {
    let mut bench = StreamBench::warm();
    for request in 1..=3 {
        bench.call(request, "k").unwrap();
    }
    bench.reply(3, ":1\r\n:");
    bench.reply(3, "2\r\n-ERR x\r");
    bench.reply(3, "\n");
    let expected = [
        (1, Ok(Value::Int(1))),
        (2, Ok(Value::Int(2))),
        (3, Ok(Value::Error(b"ERR x".to_vec()))),
    ];
    assert_eq!(bench.ended(), expected);
}

#[test]
fn a_flushed_script_is_sent_with_one_of_the_repeated_calls() {
    let mut bench = StreamBench::warm();
    for request in 1..=4 {
        bench.call(request, &request.to_string()).unwrap();
    }
    bench.host.borrow_mut().sent.clear();
    bench.reply(3, &"-NOSCRIPT No matching script.\r\n".repeat(4));
    assert_eq!(names(&bench.sent()), ["EVAL", "EVALSHA", "EVALSHA", "EVALSHA"]);
    assert!(bench.ended().is_empty());
    bench.reply(3, ":1\r\n:2\r\n:3\r\n:4\r\n");
    let requests: Vec<u64> = bench.ended().into_iter().map(|(request, _)| request).collect();
    assert_eq!(requests, [1, 2, 3, 4]);
    // After the next loss, one call carries the body again.
    bench.call(5, "5").unwrap();
    bench.host.borrow_mut().sent.clear();
    bench.reply(3, "-NOSCRIPT\r\n");
    assert_eq!(names(&bench.sent()), ["EVAL"]);
}

#[test]
fn a_call_to_a_node_that_never_loads_the_script_ends_with_error() {
    let mut bench = StreamBench::warm();
    bench.call(1, "a").unwrap();
    for _ in 0..4 {
        bench.reply(3, "-NOSCRIPT\r\n");
    }
    assert_eq!(bench.ended(), [(1, Ok(Value::Error(b"NOSCRIPT".to_vec())))]);
}

#[test]
fn a_call_whose_deadline_has_passed_is_not_repeated() {
    let mut bench = StreamBench::warm();
    bench.call(1, "a").unwrap();
    bench.now += TIMEOUT;
    bench.host.borrow_mut().sent.clear();
    bench.reply(3, "-NOSCRIPT\r\n");
    assert!(bench.sent().is_empty());
    assert_eq!(bench.ended().len(), 1);
}

#[test]
fn calls_above_max_in_flight_are_refused_until_a_reply_comes() {
    let mut bench = StreamBench::warm();
    for request in 0..8 {
        bench.call(request, "k").unwrap();
    }
    assert_eq!(bench.call(9, "k"), Err(CallError::TooManyInFlight));
    bench.reply(3, ":1\r\n");
    bench.call(10, "k").unwrap();
}

#[test]
fn a_closed_stream_loses_its_calls_and_is_replaced() {
    let mut bench = StreamBench::warm();
    bench.call(1, "a").unwrap();
    bench
        .streams
        .on_close(bench.now, StreamId(3), 14, &mut bench.completed);
    assert_eq!(bench.ended(), [(1, Err(CallError::Closed(14)))]);
    bench.call(2, "b").unwrap();
    bench.now += Duration::from_millis(20);
    bench.tick();
    bench.reply(4, ":1\r\n");
    assert_eq!(bench.ended(), [(2, Ok(Value::Int(1)))]);
}

#[test]
fn a_stream_that_fails_while_sending_loses_its_calls() {
    let mut bench = StreamBench::warm();
    bench.call(1, "a").unwrap();
    bench.host.borrow_mut().gone = true;
    bench.call(2, "b").unwrap();
    bench.host.borrow_mut().gone = false;
    assert!(bench.streams.wakeup().unwrap() <= bench.now);
    bench.tick();
    assert_eq!(bench.ended(), [(1, Err(CallError::Lost))]);
    bench.reply(4, ":2\r\n");
    assert_eq!(bench.ended(), [(2, Ok(Value::Int(2)))]);
}

#[test]
fn pauses_between_failed_openings_grow_and_calls_fail_at_once() {
    let mut bench = StreamBench::new();
    bench.host.borrow_mut().refuses = true;
    let end = bench.now + Duration::from_secs(60);
    let mut refused = 0;
    while bench.now < end {
        refused += usize::from(bench.call(1, "a") == Err(CallError::NoCluster));
        bench.now += Duration::from_millis(10);
        bench.tick();
        bench.completed.clear();
    }
    assert!(refused > 5_000, "{refused} of 6,000 calls were refused at once");
    bench.host.borrow_mut().refuses = false;
    bench.after(5_000);
    bench.completed.clear(); // calls that the last rounds accepted
    bench.call(2, "b").unwrap();
    bench.tick();
    let (_, stream) = bench.sent_with("\r\nb\r\n");
    bench.reply(stream.unwrap().0, ":1\r\n");
    assert_eq!(bench.ended(), [(2, Ok(Value::Int(1)))]);
}

#[test]
fn a_call_ends_if_no_stream_opens_before_its_deadline() {
    let mut bench = StreamBench::new();
    bench.host.borrow_mut().refuses = true;
    bench.call(1, "a").unwrap();
    bench.now += TIMEOUT;
    bench.tick();
    assert_eq!(bench.ended(), [(1, Err(CallError::NoCluster))]);
    assert_eq!(bench.streams.in_flight(), 0);
}

#[test]
fn an_old_stream_ends_after_its_last_reply_and_is_replaced() {
    let mut bench = StreamBench::warm();
    for _ in 0..239 {
        bench.call(1, "a").unwrap();
        bench.reply(3, ":1\r\n");
        bench.after(1_000);
    }
    bench.forget();
    bench.after(61_000);
    bench.call(1, "a").unwrap();
    bench.call(2, "b").unwrap();
    bench.reply(3, ":1\r\n");
    bench.call(3, "c").unwrap();
    assert!(
        !bench.host.borrow().cancelled.contains(&StreamId(3)),
        "one reply is missing"
    );
    bench.reply(3, ":2\r\n");
    assert!(bench.host.borrow().cancelled.contains(&StreamId(3)));
    assert!(bench.streams.wakeup().unwrap() <= bench.now);
    bench.tick();
    let (_, next) = bench.sent_with("\r\nc\r\n");
    bench.reply(next.unwrap().0, ":3\r\n");
    let requests: Vec<u64> = bench.ended().into_iter().map(|(request, _)| request).collect();
    assert_eq!(requests, [1, 2, 3]);
}

#[test]
fn a_stuck_stream_is_cancelled_2_s_after_the_timeout() {
    let mut bench = StreamBench::warm();
    bench.call(1, "a").unwrap();
    bench.now += TIMEOUT + STUCK - Duration::from_millis(1);
    bench.tick();
    assert!(bench.host.borrow().cancelled.is_empty());
    bench.now += Duration::from_millis(1);
    bench.tick();
    assert_eq!(bench.host.borrow().cancelled, [StreamId(3)]);
    assert_eq!(bench.ended(), [(1, Err(CallError::Lost))]);
}

#[test]
fn a_stream_with_an_unexpected_reply_is_abandoned() {
    for nonsense in [":1\r\n:2\r\n", "?\r\n"] {
        let mut bench = StreamBench::warm();
        bench.call(1, "a").unwrap();
        bench.reply(3, nonsense);
        assert_eq!(bench.host.borrow().cancelled, [StreamId(3)], "{nonsense:?}");
        assert_eq!(bench.streams.open(), 0);
    }
}
