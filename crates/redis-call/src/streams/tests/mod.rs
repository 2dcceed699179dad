//! The streams against a simulated host: what is sent, in which order, and which caller gets which reply.

use super::*;
use crate::pending::UNKNOWN_SHA1;
use crate::resp::{self, Value};
use crate::HashSlot;
use std::cell::RefCell;
use std::rc::Rc;

mod breaking;
mod order;
mod refused;
mod slot_map;
mod startup;

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

type FakeHost = Rc<RefCell<Proxy>>;

impl StreamHost for FakeHost {
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

struct StreamBench {
    host: FakeHost,
    streams: Streams<FakeHost, u64>,
    now: Instant,
    completed: Vec<Completed<u64>>,
}

impl StreamBench {
    fn new() -> StreamBench {
        let host = FakeHost::default();
        let now = Instant::now();
        let mut settings = Settings::new("p");
        settings.script = SCRIPT;
        settings.max_in_flight = 8;
        settings.timeout = TIMEOUT;
        let streams = Streams::new(now, Rng::with_seed(1), host.clone(), settings);
        StreamBench {
            host,
            streams,
            now,
            completed: Vec::new(),
        }
    }

    /// A bench with a single Redis, whose stream 3 is open and which has loaded the script.
    fn warm() -> StreamBench {
        let mut bench = StreamBench::with("-ERR This instance has cluster support disabled\r\n");
        bench.call(0, "warm").unwrap();
        bench.tick();
        bench.reply(3, ":0\r\n");
        bench.forget();
        bench
    }

    /// A bench with this answer to `CLUSTER SLOTS`.
    fn with(answer: &str) -> StreamBench {
        let mut bench = StreamBench::new();
        bench.call(0, "warm").unwrap();
        bench.tick();
        bench.reply(1, ":0\r\n");
        bench.reply(2, answer);
        bench.tick();
        bench.forget();
        bench
    }

    /// Clears the record of what was sent and what ended.
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
        let call = Call::script(slot, 1, tail);
        self.streams.call(self.now, self.now + TIMEOUT, request, call)
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

    /// The number of messages with this text, and the stream of the last one.
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
            .map(|done| (done.id, done.reply))
            .collect()
    }
}

fn names(sent: &[(&'static str, String)]) -> Vec<&'static str> {
    sent.iter().map(|(name, _)| *name).collect()
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

/// Three masters; the second has one slot, between those of the first.
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
