//! A proxy that does not know the Redis nodes when it starts.

use super::*;

const NO_HOST: &str = "-no upstream host\r\n";

/// A bench whose first call, on stream 1, got the error `no upstream host`.
fn started() -> StreamBench {
    let mut bench = StreamBench::new();
    bench.call(1, "a").unwrap();
    bench.tick();
    bench.reply(1, NO_HOST);
    assert_eq!(bench.ended(), [(1, Err(CallError::TooEarly))]);
    bench
}

/// Sends `count` calls, answers each with `reply`, and returns the result of the last one.
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
fn calls_are_too_early_for_5_s_then_the_breaker_opens() {
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
fn a_probe_closes_the_breaker_200_ms_after_redis_starts() {
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
fn a_redis_that_goes_away_has_no_grace_period() {
    let mut bench = started();
    assert_eq!(answer(&mut bench, 1, ":1\r\n"), Ok(Value::Int(1)));
    assert!(answer(&mut bench, 5, NO_HOST).is_ok());
    assert_eq!(bench.streams.breakers_open(), 1);
}
