//! The streams against a host that is a plain struct: what is sent, in which order, and who gets which reply.

use super::*;
use crate::redis::pending::UNKNOWN_SHA1;
use crate::redis::resp::{self, Value};
use crate::redis::HashSlot;
use std::cell::RefCell;
use std::rc::Rc;

const SCRIPT: Script = Script {
    body: "return {1}",
    sha1_hex: "0123456789012345678901234567890123456789",
};
const TIMEOUT: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Proxy {
    opened: u32,
    refuses: bool,
    gone: bool,
    sent: Vec<(StreamId, String)>,
    cancelled: Vec<StreamId>,
}

type Host = Rc<RefCell<Proxy>>;

impl StreamHost for Host {
    fn open(&self) -> Option<StreamId> {
        let mut proxy = self.borrow_mut();
        if proxy.refuses {
            return None;
        }
        proxy.opened += 1;
        Some(StreamId(proxy.opened))
    }
    fn send(&self, stream: StreamId, message: &[u8]) -> bool {
        let mut proxy = self.borrow_mut();
        if proxy.gone {
            return false;
        }
        proxy
            .sent
            .push((stream, String::from_utf8_lossy(message).into_owned()));
        true
    }
    fn cancel(&self, stream: StreamId) {
        self.borrow_mut().cancelled.push(stream);
    }
}

struct Bench {
    host: Host,
    streams: Streams<Host>,
    now: Instant,
    completed: Vec<Completed>,
}

impl Bench {
    fn new() -> Bench {
        let host = Host::default();
        let streams = Streams::new(host.clone(), SCRIPT, "p", 8, TIMEOUT);
        Bench {
            host,
            streams,
            now: Instant::now(),
            completed: Vec::new(),
        }
    }

    /// A bench that knows that there is one Redis, whose stream 3 is open and knows the script.
    fn warm() -> Bench {
        let mut bench = Bench::with("-ERR This instance has cluster support disabled\r\n");
        bench.call(0, "warm").unwrap();
        bench.tick();
        bench.reply(3, ":0\r\n");
        bench.forget();
        bench
    }

    /// A bench whose question for the borders was answered so.
    fn with(answer: &str) -> Bench {
        let mut bench = Bench::new();
        bench.call(0, "warm").unwrap();
        bench.tick();
        bench.reply(1, ":0\r\n");
        bench.reply(2, answer);
        bench.tick();
        bench.forget();
        bench
    }

    /// Forgets what has happened so far.
    fn forget(&mut self) {
        self.completed.clear();
        let mut proxy = self.host.borrow_mut();
        proxy.sent.clear();
        proxy.cancelled.clear();
    }

    fn after(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.tick();
    }

    fn call(&mut self, request: u64, key: &str) -> Result<(), CallError> {
        self.call_slot(request, key, HashSlot::of(b"{}"))
    }

    fn call_slot(&mut self, request: u64, key: &str, slot: HashSlot) -> Result<(), CallError> {
        let mut tail = Vec::new();
        resp::bulk(&mut tail, key.as_bytes());
        let call = ScriptCall { slot, parts: 1, tail };
        let token = CallToken { request, part: 0 };
        self.streams.call(self.now, self.now + TIMEOUT, token, call)
    }

    fn tick(&mut self) {
        self.streams.on_tick(self.now, &mut self.completed);
    }

    fn reply(&mut self, stream: u32, text: &str) {
        self.streams
            .on_message(self.now, StreamId(stream), text.as_bytes(), &mut self.completed);
    }

    fn sent(&self) -> Vec<(&'static str, String)> {
        let proxy = self.host.borrow();
        let read = |text: &String| {
            let lines: Vec<&str> = text.split("\r\n").collect();
            let name = if lines[2] == "EVAL" { "EVAL" } else { "EVALSHA" };
            (name, lines[6].to_owned())
        };
        let calls = proxy
            .sent
            .iter()
            .filter(|(_, text)| !text.contains("CLUSTER") && !text.contains(UNKNOWN_SHA1));
        calls.map(|(_, text)| read(text)).collect()
    }

    /// How many messages with this text were sent, and on which stream the last of them.
    fn sent_with(&self, part: &str) -> (usize, Option<StreamId>) {
        let proxy = self.host.borrow();
        let with: Vec<_> = proxy
            .sent
            .iter()
            .filter(|(_, text)| text.contains(part))
            .collect();
        (with.len(), with.last().map(|(stream, _)| *stream))
    }

    fn ended(&mut self) -> Vec<(u64, Result<Value, CallError>)> {
        self.completed
            .drain(..)
            .map(|done| (done.token.request, done.reply))
            .collect()
    }
}

fn names(sent: &[(&'static str, String)]) -> Vec<&'static str> {
    sent.iter().map(|(name, _)| *name).collect()
}

#[test]
fn the_first_call_waits_for_its_stream_and_is_sent_with_the_next_tick() {
    let mut bench = Bench::new();
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
fn replies_go_to_their_callers_in_the_order_of_sending_however_they_are_cut() {
    let mut bench = Bench::warm();
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
fn a_flushed_script_is_sent_once_and_the_others_wait_behind_it() {
    let mut bench = Bench::warm();
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
    // The next loss starts anew with one body.
    bench.call(5, "5").unwrap();
    bench.host.borrow_mut().sent.clear();
    bench.reply(3, "-NOSCRIPT\r\n");
    assert_eq!(names(&bench.sent()), ["EVAL"]);
}

#[test]
fn a_node_that_never_learns_the_script_ends_in_its_error() {
    let mut bench = Bench::warm();
    bench.call(1, "a").unwrap();
    for _ in 0..4 {
        bench.reply(3, "-NOSCRIPT\r\n");
    }
    assert_eq!(bench.ended(), [(1, Ok(Value::Error(b"NOSCRIPT".to_vec())))]);
}

#[test]
fn a_call_whose_caller_has_given_up_is_not_sent_again() {
    let mut bench = Bench::warm();
    bench.call(1, "a").unwrap();
    bench.now += TIMEOUT;
    bench.host.borrow_mut().sent.clear();
    bench.reply(3, "-NOSCRIPT\r\n");
    assert!(bench.sent().is_empty());
    assert_eq!(bench.ended().len(), 1);
}

#[test]
fn more_calls_than_allowed_are_refused_and_room_returns_with_the_replies() {
    let mut bench = Bench::warm();
    for request in 0..8 {
        bench.call(request, "k").unwrap();
    }
    assert_eq!(bench.call(9, "k"), Err(CallError::TooManyInFlight));
    bench.reply(3, ":1\r\n");
    bench.call(10, "k").unwrap();
}

#[test]
fn what_was_under_way_on_a_closed_stream_is_lost_and_the_next_call_opens_another() {
    let mut bench = Bench::warm();
    bench.call(1, "a").unwrap();
    bench
        .streams
        .on_close(bench.now, StreamId(3), &mut bench.completed);
    assert_eq!(bench.ended(), [(1, Err(CallError::Lost))]);
    bench.call(2, "b").unwrap();
    bench.now += Duration::from_millis(20);
    bench.tick();
    bench.reply(4, ":1\r\n");
    assert_eq!(bench.ended(), [(2, Ok(Value::Int(1)))]);
}

#[test]
fn a_stream_found_gone_while_sending_takes_what_was_under_way_with_it() {
    let mut bench = Bench::warm();
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
fn streams_that_do_not_open_are_left_alone_for_longer_and_longer_and_calls_fail_at_once() {
    let mut bench = Bench::new();
    bench.host.borrow_mut().refuses = true;
    let end = bench.now + Duration::from_secs(60);
    let mut refused = 0;
    while bench.now < end {
        refused += usize::from(bench.call(1, "a") == Err(CallError::Unavailable));
        bench.now += Duration::from_millis(10);
        bench.tick();
        bench.completed.clear();
    }
    assert!(refused > 5_000, "{refused} of 6,000 calls were refused at once");
    bench.host.borrow_mut().refuses = false;
    bench.now += Duration::from_secs(5);
    bench.call(2, "b").unwrap();
    bench.tick();
    bench.completed.clear(); // a call that the last round accepted
    bench.reply(1, ":1\r\n");
    assert_eq!(bench.ended(), [(2, Ok(Value::Int(1)))]);
}

#[test]
fn a_call_that_no_stream_could_take_in_time_is_given_up() {
    let mut bench = Bench::new();
    bench.host.borrow_mut().refuses = true;
    bench.call(1, "a").unwrap();
    bench.now += TIMEOUT;
    bench.tick();
    assert_eq!(bench.ended(), [(1, Err(CallError::Unavailable))]);
    assert_eq!(bench.streams.in_flight(), 0);
}

#[test]
fn a_stuck_stream_is_cancelled_after_the_timeout_and_two_seconds() {
    let mut bench = Bench::warm();
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
fn a_stream_that_answers_what_nobody_asked_is_abandoned() {
    for nonsense in [":1\r\n:2\r\n", "?\r\n"] {
        let mut bench = Bench::warm();
        bench.call(1, "a").unwrap();
        bench.reply(3, nonsense);
        assert_eq!(bench.host.borrow().cancelled, [StreamId(3)], "{nonsense:?}");
        assert_eq!(bench.streams.open(), 0);
    }
}

/// RESP of a `CLUSTER SLOTS` reply: `(first, last, master's port)`.
fn slots(rows: &[(u16, u16, u16)]) -> String {
    let mut text = format!("*{}\r\n", rows.len());
    for (first, last, port) in rows {
        let node = format!("*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$4\r\n{port}\r\n");
        text.push_str(&format!("*3\r\n:{first}\r\n:{last}\r\n{node}"));
    }
    text
}

/// Three masters; the second has one slot, in the middle of the first one's.
const THREE: [(u16, u16, u16); 4] = [
    (0, 5000, 7001),
    (5001, 5001, 7002),
    (5002, 11000, 7001),
    (11001, 16383, 7003),
];

fn slot(number: u16) -> HashSlot {
    (0..)
        .map(|n: u32| HashSlot::of(&n.to_le_bytes()))
        .find(|slot| slot.get() == number)
        .unwrap()
}

#[test]
fn a_master_has_one_stream_however_its_slots_lie() {
    let mut bench = Bench::with(&slots(&THREE));
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
fn where_nobody_tells_the_borders_the_ranges_are_narrow() {
    let bench = Bench::with("-ERR unknown command 'CLUSTER', with args beginning with: SLOTS\r\n");
    assert_eq!(bench.streams.shards(), usize::from(NARROW));
}

#[test]
fn the_borders_are_asked_for_slowly_while_there_are_calls_and_never_without() {
    let mut bench = Bench::with(&slots(&THREE));
    for _ in 0..600 {
        bench.after(100);
    }
    assert_eq!(bench.sent_with("CLUSTER").0, 0, "nobody calls");
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
fn a_question_without_an_answer_is_asked_again_on_another_stream_and_counting_goes_on() {
    let mut bench = Bench::new();
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
fn calls_under_way_end_on_their_old_stream_and_it_ends_after_its_last_reply() {
    let mut bench = Bench::with(&slots(&THREE));
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

/// Freezes the shard of stream 3: a call is sent, and its caller gives up.
fn freeze(bench: &mut Bench) {
    bench.call_slot(50, "k", slot(0)).unwrap();
    bench.tick();
    let since = bench.now;
    bench.after(100);
    bench.streams.timed_out(bench.now, since, slot(0));
}

#[test]
fn a_silent_shard_is_left_alone_and_the_others_are_not() {
    let mut bench = Bench::with(&slots(&THREE));
    freeze(&mut bench);
    assert_eq!(bench.call_slot(1, "k", slot(5002)), Err(CallError::BreakerOpen));
    assert_eq!(bench.streams.breakers_open(), 1);
    bench.call_slot(2, "k", slot(16383)).unwrap();
    bench.after(500);
    assert_eq!(bench.sent_with("CLUSTER").0, 1, "its master may have changed");
}

#[test]
fn a_probe_on_a_key_of_the_shard_brings_it_back_and_changes_nothing_in_redis() {
    let mut bench = Bench::with(&slots(&THREE));
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
    assert_eq!(bench.streams.borders.shard(HashSlot::of(lines[8].as_bytes())), 0);
    // The call that was given up is answered first, then the probe.
    bench.reply(3, ":1\r\n");
    assert_eq!(bench.streams.breakers_open(), 1, "late is no success");
    bench.reply(3, "-NOSCRIPT No matching script\r\n");
    assert_eq!(bench.streams.breakers_open(), 0);
    bench.call_slot(1, "k", slot(0)).unwrap();
}

#[test]
fn probes_that_fail_come_more_and_more_slowly_and_calls_stay_away_meanwhile() {
    let mut bench = Bench::with(&slots(&THREE));
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
        let mut bench = Bench::with(&slots(&THREE));
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
    let mut bench = Bench::with(&slots(&THREE));
    for request in 0..8 {
        bench.call_slot(request, "k", slot(0)).unwrap();
    }
    bench.tick();
    bench
        .streams
        .on_close(bench.now, StreamId(3), &mut bench.completed);
    assert_eq!(bench.ended().len(), 8);
    assert_eq!(bench.streams.breakers_open(), 0);
}
