//! A proxy that knows no node of Redis, from the start.

use super::*;

const NO_HOST: &str = "-no upstream host\r\n";

/// A bench whose first call, on stream 1, got that answer.
fn started() -> StreamBench {
    let mut bench = StreamBench::new();
    bench.call(1, "a").unwrap();
    bench.tick();
    bench.reply(1, NO_HOST);
    assert_eq!(bench.ended(), [(1, Err(CallError::TooEarly))]);
    bench
}

/// Sends calls and has each answered so; what the last one got.
fn answer(bench: &mut StreamBench, count: u64, reply: &str) -> Result<Value, CallError> {
    for request in 0..count {
        bench.call(request, "a").unwrap();
        bench.reply(1, reply);
    }
    let last = bench.completed.pop().unwrap();
    bench.completed.clear();
    last.reply
}

#[test]
fn for_five_seconds_calls_may_be_sent_again_and_then_the_breaker_opens() {
    let mut bench = started();
    for _ in 0..49 {
        bench.after(100);
        assert_eq!(answer(&mut bench, 10, NO_HOST), Err(CallError::TooEarly));
        assert_eq!(bench.streams.breakers_open(), 0);
    }
    bench.after(100);
    let error = Value::Error(b"no upstream host".to_vec());
    assert_eq!(answer(&mut bench, 5, NO_HOST), Ok(error));
    assert_eq!(bench.streams.breakers_open(), 1);
    assert_eq!(bench.call(1, "a"), Err(CallError::BreakerOpen));
}

#[test]
fn once_redis_is_there_a_probe_closes_the_breaker_within_a_fifth_of_a_second() {
    let mut bench = started();
    bench.after(5_000);
    assert!(answer(&mut bench, 5, NO_HOST).is_ok());
    for _ in 0..100 {
        bench.after(200);
        bench.reply(1, NO_HOST);
        assert_eq!(bench.streams.breakers_open(), 1);
    }
    bench.after(200);
    bench.reply(1, "-NOSCRIPT No matching script\r\n");
    assert_eq!(bench.streams.breakers_open(), 0);
    assert_eq!(answer(&mut bench, 1, ":1\r\n"), Ok(Value::Int(1)));
}

#[test]
fn a_redis_that_was_there_and_is_gone_gets_no_patience() {
    let mut bench = started();
    assert_eq!(answer(&mut bench, 1, ":1\r\n"), Ok(Value::Int(1)));
    assert!(answer(&mut bench, 5, NO_HOST).is_ok());
    assert_eq!(bench.streams.breakers_open(), 1);
}
