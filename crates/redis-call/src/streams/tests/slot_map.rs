//! The slot map, and the streams of shards that change.

use super::*;

#[test]
fn a_master_with_scattered_slots_has_one_stream() {
    let mut bench = StreamBench::with(&slots(&THREE));
    assert_eq!(bench.streams.shards(), 3);
    for (request, number) in [(1, 0), (2, 5001), (3, 5002), (4, 11000), (5, 16383)] {
        bench.call_slot(request, "k", slot(number)).unwrap();
    }
    bench.tick();
    let streams: Vec<u32> = bench
        .host
        .borrow()
        .sent
        .iter()
        .map(|(stream, _)| stream.0)
        .collect();
    assert_eq!(streams, [3, 3, 3, 4, 5], "in the order of the shards");
}

#[test]
fn without_cluster_slots_there_are_128_ranges() {
    let bench = StreamBench::with("-ERR unknown command 'CLUSTER', with args beginning with: SLOTS\r\n");
    assert_eq!(bench.streams.shards(), usize::from(RANGES_WITHOUT_MAP));
}

#[test]
fn cluster_slots_is_requested_slowly_and_only_with_calls() {
    let mut bench = StreamBench::with(&slots(&THREE));
    for _ in 0..600 {
        bench.after(100);
    }
    assert_eq!(bench.sent_with("CLUSTER").0, 0, "there are no calls");
    let mut asked = 0;
    for request in 0..600 {
        bench.call_slot(request, "k", slot(0)).unwrap();
        bench.after(1);
        bench.reply(3, ":1\r\n");
        bench.after(99);
        if bench.sent_with("CLUSTER").0 > asked {
            asked += 1;
            bench.reply(2, &slots(&THREE));
        }
    }
    assert!((4..=7).contains(&asked), "{asked} questions in a minute");
}

#[test]
fn an_unanswered_question_is_repeated_on_another_stream() {
    let mut bench = StreamBench::new();
    bench.call(1, "a").unwrap();
    bench.tick();
    bench.reply(1, ":1\r\n");
    bench.after(1_000);
    assert_eq!(bench.host.borrow().cancelled, [StreamId(2)]);
    bench.after(1_000);
    assert_eq!(bench.sent_with("CLUSTER"), (2, Some(StreamId(3))));
    bench.call(2, "b").unwrap();
    bench.reply(1, ":2\r\n");
    assert_eq!(bench.ended().len(), 2);
}

#[test]
fn a_retired_shards_stream_ends_after_its_last_reply() {
    let mut bench = StreamBench::with(&slots(&THREE));
    bench.after(20_000);
    for request in 1..=2 {
        bench.call_slot(request, "k", slot(0)).unwrap();
    }
    // another master for the first shard
    bench.call_slot(3, "k", slot(16383)).unwrap();
    bench.tick();
    let (asked, _) = bench.sent_with("CLUSTER");
    assert_eq!(asked, 1);
    let moved = [(0, 5000, 7004), THREE[1], (5002, 11000, 7004), THREE[3]];
    bench.reply(2, &slots(&moved));
    bench.call_slot(4, "k", slot(0)).unwrap();
    bench.tick();
    assert_eq!(
        bench.streams.open(),
        3,
        "the old one, the new one and the third shard's"
    );
    bench.reply(3, ":1\r\n");
    bench.tick();
    assert!(bench.host.borrow().cancelled.is_empty(), "one reply is missing");
    bench.reply(3, ":2\r\n");
    assert!(bench.streams.wakeup().unwrap() <= bench.now);
    bench.tick();
    assert_eq!(bench.host.borrow().cancelled, [StreamId(3)]);
    bench.reply(4, ":3\r\n");
    bench.reply(5, ":4\r\n");
    let ended: Vec<u64> = bench.ended().into_iter().map(|(request, _)| request).collect();
    assert_eq!(ended, [1, 2, 3, 4]);
    assert_eq!(bench.streams.in_flight(), 0);
}
