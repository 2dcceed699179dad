//! A shard's breaker on its stream.

use super::*;

/// Freezes the shard of stream 3: a call is sent, and its caller gives up.
fn freeze(bench: &mut StreamBench) {
    bench.call_slot(50, "k", slot(0)).unwrap();
    bench.tick();
    let since = bench.now;
    bench.after(100);
    bench.streams.timed_out(bench.now, since, slot(0));
}

#[test]
fn a_silent_shard_is_left_alone_and_the_others_are_not() {
    let mut bench = StreamBench::with(&slots(&THREE));
    freeze(&mut bench);
    assert_eq!(bench.call_slot(1, "k", slot(5002)), Err(CallError::BreakerOpen));
    assert_eq!(bench.streams.breakers_open(), 1);
    bench.call_slot(2, "k", slot(16383)).unwrap();
    bench.after(500);
    assert_eq!(bench.sent_with("CLUSTER").0, 1, "its master may have changed");
}

#[test]
fn a_probe_on_a_key_of_the_shard_brings_it_back_and_changes_nothing_in_redis() {
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
    // The call that was given up is answered first, then the probe.
    bench.reply(3, ":1\r\n");
    assert_eq!(bench.streams.breakers_open(), 1, "late is no success");
    bench.reply(3, "-NOSCRIPT No matching script\r\n");
    assert_eq!(bench.streams.breakers_open(), 0);
    bench.call_slot(1, "k", slot(0)).unwrap();
}

#[test]
fn probes_that_fail_come_more_and_more_slowly_and_calls_stay_away_meanwhile() {
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
fn five_failures_of_a_node_open_the_breaker_and_refusals_to_write_do_not() {
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
fn a_stream_that_breaks_with_many_calls_has_failed_once() {
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
