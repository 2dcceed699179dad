//! The circuit breaker of a shard.

use super::*;

/// Opens the breaker of the shard on stream 3: a call is sent and times out.
fn freeze(bench: &mut StreamBench) {
    bench.call_slot(50, "k", slot(0)).unwrap();
    bench.tick();
    let since = bench.now;
    bench.after(100);
    bench.streams.timed_out(bench.now, since, slot(0));
}

#[test]
fn a_silent_shard_gets_no_calls_and_the_others_do() {
    let mut bench = StreamBench::with(&slots(&THREE));
    freeze(&mut bench);
    assert_eq!(bench.call_slot(1, "k", slot(5002)), Err(CallError::BreakerOpen));
    assert_eq!(bench.streams.breakers_open(), 1);
    bench.call_slot(2, "k", slot(16383)).unwrap();
    bench.after(500);
    assert_eq!(bench.sent_with("CLUSTER").0, 1, "its master may have changed");
}

#[test]
fn a_probe_on_a_key_of_the_shard_closes_the_breaker() {
    let mut bench = StreamBench::with(&slots(&THREE));
    freeze(&mut bench);
    bench.tick();
    assert_eq!(bench.sent_with(UNKNOWN_SHA1), (1, Some(StreamId(3))));
    let probe = bench
        .host
        .borrow()
        .sent
        .iter()
        .find(|(_, text)| text.contains(UNKNOWN_SHA1))
        .unwrap()
        .1
        .clone();
    let lines: Vec<&str> = probe.split("\r\n").collect();
    assert_eq!((lines[2], lines[6]), ("EVALSHA", "1"));
    assert!(lines[8].starts_with("p:probe:"));
    assert_eq!(bench.streams.slot_map.shard(HashSlot::of(lines[8].as_bytes())), 0);
    // The call that timed out is answered first, then the probe.
    bench.reply(3, ":1\r\n");
    assert_eq!(bench.streams.breakers_open(), 1, "a late reply is not a success");
    bench.reply(3, "-NOSCRIPT No matching script\r\n");
    assert_eq!(bench.streams.breakers_open(), 0);
    bench.call_slot(1, "k", slot(0)).unwrap();
}

#[test]
fn pauses_between_failed_probes_grow_and_calls_are_refused() {
    let mut bench = StreamBench::with(&slots(&THREE));
    freeze(&mut bench);
    for _ in 0..1_000 {
        bench.after(10);
        assert_eq!(bench.call_slot(1, "k", slot(0)), Err(CallError::BreakerOpen));
    }
    let (probes, _) = bench.sent_with(UNKNOWN_SHA1);
    assert!((30..60).contains(&probes), "{probes} probes in ten seconds");
}

#[test]
fn five_node_failures_open_the_breaker_refused_writes_do_not() {
    for (reply, open) in [
        ("-upstream failure\r\n", 1),
        ("-LOADING Redis is loading\r\n", 1),
        ("-CLUSTERDOWN The cluster is down\r\n", 1),
        ("-OOM command not allowed\r\n", 0),
        ("-READONLY You can't write\r\n", 0),
        ("-WRONGTYPE Operation\r\n", 0),
    ] {
        let mut bench = StreamBench::with(&slots(&THREE));
        for request in 0..5 {
            bench.call_slot(request, "k", slot(0)).unwrap();
        }
        bench.tick();
        bench.reply(3, &reply.repeat(5));
        assert_eq!(bench.streams.breakers_open(), open, "{reply}");
    }
}

#[test]
fn a_broken_stream_with_many_calls_is_one_failure() {
    let mut bench = StreamBench::with(&slots(&THREE));
    for request in 0..8 {
        bench.call_slot(request, "k", slot(0)).unwrap();
    }
    bench.tick();
    bench
        .streams
        .on_close(bench.now, StreamId(3), 14, &mut bench.completed);
    assert_eq!(bench.ended().len(), 8);
    assert_eq!(bench.streams.breakers_open(), 0);
}

#[test]
fn a_late_reply_to_a_probe_does_not_fail_the_next_one() {
    let mut bench = StreamBench::with(&slots(&THREE));
    freeze(&mut bench);
    bench.tick();
    bench.after(100);
    while bench.sent_with(UNKNOWN_SHA1).0 < 2 {
        bench.after(5);
    }
    // The shard is back: it answers the call that was given up, the first probe and the second.
    let noscript = "-NOSCRIPT No matching script\r\n";
    bench.reply(3, &format!(":1\r\n{noscript}"));
    assert_eq!(bench.streams.breakers_open(), 1, "late is no success");
    bench.reply(3, noscript);
    assert_eq!(bench.streams.breakers_open(), 0);
}

#[test]
fn a_refusal_by_the_guard_does_not_close_a_breaker() {
    let mut bench = StreamBench::with(&slots(&THREE));
    bench.call_slot(1, "k", slot(0)).unwrap();
    bench.call_slot(2, "k", slot(0)).unwrap();
    bench.tick();
    let since = bench.now;
    bench.after(90);
    // Another one is made before the first two are given up.
    bench.call_slot(3, "k", slot(0)).unwrap();
    bench.after(10);
    bench.streams.timed_out(bench.now, since, slot(0));
    assert_eq!(bench.streams.breakers_open(), 1);
    bench.after(75);
    bench.reply(3, "-upstream failure\r\n-upstream failure\r\n");
    bench.reply(
        3,
        "-ERR unknown command 'headgate-refused-EVALSHA', with args beginning with: x\r\n",
    );
    assert_eq!(
        bench.ended().len(),
        3,
        "the last one too: it has no time to be sent elsewhere"
    );
    assert_eq!(bench.streams.breakers_open(), 1);
}
