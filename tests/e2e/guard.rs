//! The guard in front of Redis: only Headgate's own calls pass it. The tests drive it directly, with a client that
//! speaks gRPC frames to the listener `redis_call` on a TCP port.

use crate::harness::*;
use headgate_core::fixtures;
use headgate_core::limit::{Algorithm, Align};
use headgate_core::redis::resp::{self, Decoder, Value};
use headgate_core::redis::Script;
use headgate_core::script::{self, Mode, ACCEPTED};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const DAY_MS: u64 = 86_400_000;

#[derive(Debug, PartialEq)]
enum Reply {
    Number(i64),
    Error(String),
    Other(Value),
}

/// A connection to the Redis call listener.
struct Caller {
    stream: TcpStream,
    replies: Decoder,
    prefix: String,
}

impl Caller {
    fn to(envoy: &Envoy, redis: &Node) -> Caller {
        let stream = TcpStream::connect(("127.0.0.1", envoy.redis_call_port)).expect("a connection");
        stream.set_nodelay(true).expect("a TCP stream");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a TCP stream");
        redis.call::<String>(&["SCRIPT", "LOAD", script::body()]);
        Caller {
            stream,
            replies: Decoder::new(),
            prefix: envoy.key_prefix.clone(),
        }
    }

    /// A call of Headgate's; the N in its reply is the number, which identifies the call.
    fn call(&self, number: i64) -> Vec<u8> {
        self.call_as("EVALSHA", script::sha1_hex(), number)
    }

    /// The same by another script, or by its body.
    fn call_as(&self, name: &str, script: &str, number: i64) -> Vec<u8> {
        let limit = u64::try_from(number).expect("a number from 0 on") + 1;
        let fixed = Algorithm::FixedWindow { align: Align::Epoch };
        let key = format!("{}:main:{{api_key:{number}}}", self.prefix);
        let group = fixtures::group(
            key,
            vec![fixtures::charge(0, fixed, fixtures::rate(limit, DAY_MS))],
        );
        let mut tail = Vec::new();
        let parts = script::arguments(&group, Mode::Count, &mut tail);
        let mut out = Vec::new();
        resp::array(&mut out, parts + 2);
        resp::bulk(&mut out, name.as_bytes());
        resp::bulk(&mut out, script.as_bytes());
        out.extend(tail);
        out
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream
            .write_all(bytes)
            .expect("a connection that takes bytes");
    }

    fn send(&mut self, message: &[u8]) {
        self.write(&frame(message));
    }

    /// The next reply; `None` when the connection has been closed.
    fn reply(&mut self) -> Option<Reply> {
        loop {
            if let Some(value) = self.replies.next().expect("replies in RESP") {
                return Some(match value {
                    // Whether it was charged, the state of its one charge, and that one's N in 7 bytes.
                    Value::Bulk(Some(bytes)) if bytes.len() == 37 => {
                        let n = bytes[2..9]
                            .iter()
                            .rev()
                            .fold(0, |n, byte| n << 8 | i64::from(*byte));
                        Reply::Number(n - 1)
                    }
                    Value::Error(text) => Reply::Error(String::from_utf8_lossy(&text).into_owned()),
                    other => Reply::Other(other),
                });
            }
            let mut header = [0; 5];
            if !self.fill(&mut header) {
                return None;
            }
            assert_eq!(header[0], 0, "the flag of a frame");
            let mut message =
                vec![0; u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize];
            assert!(self.fill(&mut message), "a whole frame");
            self.replies.push(&message);
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> bool {
        match self.stream.read_exact(bytes) {
            Ok(()) => true,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                false
            }
            Err(error) => panic!("no reply and no end: {error}"),
        }
    }
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&[0], (message.len() as u32).to_be_bytes().as_slice(), message].concat()
}

fn command(args: &[&str]) -> Vec<u8> {
    let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
    let mut out = Vec::new();
    resp::command(&mut out, &args);
    out
}

fn refusal(name: &str) -> Option<Reply> {
    let text = format!(
        "ERR unknown command 'headgate-refused-{name}', with args beginning with: only Headgate's own calls pass here"
    );
    Some(Reply::Error(text))
}

const REFUSED: &str = "wasmcustom.headgate_redis_call_refused_total";
const CLOSED: &str = "wasmcustom.headgate_redis_call_closed_total";

#[test]
fn the_guard_refuses_foreign_commands_in_order_on_every_envoy() {
    let redis = SingleRedis::start();
    redis.call::<()>(&["SET", "canary", "alive"]);
    for version in envoy_versions() {
        let envoy = Envoy::with(&redis).version(version).expose_redis_call().start();
        let mut caller = Caller::to(&envoy, &redis);
        let (sha, own) = (script::sha1_hex(), format!("{}:a", envoy.key_prefix));
        let other: String = redis.call(&["SCRIPT", "LOAD", "return redis.call('DEL', 'canary')"]);
        redis.reset_stats();
        let foreign: [&[&str]; 15] = [
            &["FLUSHALL"],
            &["FLUSHALL", "ASYNC"],
            &["CONFIG", "GET", "*"],
            &["CONFIG", "SET", "maxmemory", "1"],
            &["KEYS", "*"],
            &["SCRIPT", "FLUSH"],
            &["GET", "canary"],
            &["DEL", "canary"],
            &["EVAL", "return redis.call('FLUSHALL')", "1", &own],
            &["EVALSHA", &other, "1", &own],
            &["EVALSHA", sha, "1", "canary"],
            &["EVALSHA", sha, "2", &own, "canary"],
            &["EVALSHA", sha, "1", "x", &own],
            &["CLUSTER", "RESET"],
            &["SHUTDOWN"],
        ];
        for (number, args) in (0..).zip(foreign) {
            let message = [caller.call(number), command(args), caller.call(number + 100)].concat();
            caller.send(&message);
            assert_eq!(caller.reply(), Some(Reply::Number(number)));
            assert_eq!(caller.reply(), refusal(args[0]), "{args:?} on {version}");
            assert_eq!(caller.reply(), Some(Reply::Number(number + 100)));
        }
        assert_eq!(envoy.stat(REFUSED), foreign.len() as u64, "Envoy {version}");
        envoy.wait_for_log("redis call: refused FLUSHALL");
        assert_eq!(redis.calls("evalsha"), 2 * foreign.len() as u64);
        for name in [
            "flushall",
            "config|set",
            "keys",
            "script|flush",
            "get",
            "del",
            "eval",
        ] {
            assert_eq!(redis.calls(name), 0, "{name} on {version}");
        }
    }
    assert_eq!(redis.call::<String>(&["GET", "canary"]), "alive");
}

#[test]
fn the_last_releases_script_passes_by_name_and_by_body() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis).expose_redis_call().start();
    let mut caller = Caller::to(&envoy, &redis);
    for (number, Script { body, sha1_hex }) in (0..).zip(ACCEPTED) {
        redis.call::<()>(&["SCRIPT", "FLUSH"]);
        let by_name = caller.call_as("EVALSHA", sha1_hex, number);
        let by_body = caller.call_as("EVAL", body, number);
        caller.send(&[by_name.as_slice(), &by_body, &by_name].concat());
        match caller.reply() {
            Some(Reply::Error(text)) => assert!(text.starts_with("NOSCRIPT"), "{text}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(caller.reply(), Some(Reply::Number(number)));
        assert_eq!(caller.reply(), Some(Reply::Number(number)));
    }
    assert_eq!((ACCEPTED.len(), envoy.stat(REFUSED)), (2, 0));
}

#[test]
fn thousands_of_calls_between_refused_ones_get_their_replies() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis).expose_redis_call().start();
    let mut caller = Caller::to(&envoy, &redis);
    let mut stream = Vec::new();
    let count = 6_000;
    for number in 0..count {
        stream.extend(match number % 3 {
            2 => command(&["KEYS", "*"]),
            _ => caller.call(number),
        });
    }
    // Frames that fall together with commands nowhere.
    let wire: Vec<u8> = stream.chunks(997).flat_map(frame).collect();
    let mut sender = caller.stream.try_clone().expect("a stream to send on");
    let sending = std::thread::spawn(move || wire.chunks(3_001).try_for_each(|part| sender.write_all(part)));
    for number in 0..count {
        let expected = match number % 3 {
            2 => refusal("KEYS"),
            _ => Some(Reply::Number(number)),
        };
        assert_eq!(caller.reply(), expected, "reply {number}");
    }
    sending.join().expect("a sender").expect("bytes sent");
    assert_eq!(envoy.stat(REFUSED), count as u64 / 3);
}

#[test]
fn the_slot_map_can_be_requested_where_envoy_supports_it() {
    if !envoy_has(Capability::ClusterSlots) {
        return;
    }
    let cluster = RedisCluster::shared();
    let envoy = Envoy::with(cluster).expose_redis_call().start();
    let mut caller = Caller::to(&envoy, &cluster.masters()[0]);
    caller.send(&command(&["CLUSTER", "SLOTS"]));
    match caller.reply() {
        Some(Reply::Other(Value::Array(Some(ranges)))) => assert_eq!(ranges.len(), 3),
        other => panic!("{other:?}"),
    }
    assert_eq!(envoy.stat(REFUSED), 0);
}

#[test]
fn a_call_that_comes_byte_by_byte_passes() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis).expose_redis_call().start();
    let mut caller = Caller::to(&envoy, &redis);
    let wire = [
        frame(&caller.call(7)),
        frame(&command(&["GET", "a"])),
        frame(&caller.call(8)),
    ]
    .concat();
    for byte in wire.chunks(1) {
        caller.write(byte);
        std::thread::sleep(Duration::from_micros(200));
    }
    assert_eq!(caller.reply(), Some(Reply::Number(7)));
    assert_eq!(caller.reply(), refusal("GET"));
    assert_eq!(caller.reply(), Some(Reply::Number(8)));
}

#[test]
fn invalid_input_closes_its_own_connection_and_no_other() {
    let redis = SingleRedis::start();
    for version in envoy_versions() {
        let envoy = Envoy::with(&redis).version(version).expose_redis_call().start();
        let mut neighbour = Caller::to(&envoy, &redis);
        redis.reset_stats();
        let violations: [(&str, Vec<u8>); 9] = [
            ("an inline command", frame(b"FLUSHALL\r\n")),
            ("RESP without a frame", command(&["FLUSHALL"])),
            ("a compressed frame", b"\x01\0\0\0\0".to_vec()),
            ("a frame too large", b"\0\x7f\xff\xff\xff".to_vec()),
            (
                "a command too large",
                frame(b"*2\r\n$4\r\nECHO\r\n$999999999\r\n"),
            ),
            ("an array too long", frame(b"*1000000000\r\n")),
            ("a nested array", frame(b"*1\r\n*1\r\n$8\r\nFLUSHALL\r\n")),
            ("the null bulk string", frame(b"*1\r\n$-1\r\n")),
            ("a wrong length", frame(b"*1\r\n$3\r\nFLUSHALL\r\n")),
        ];
        for (what, wire) in &violations {
            let mut caller = Caller::to(&envoy, &redis);
            caller.send(&caller.call(1));
            assert_eq!(caller.reply(), Some(Reply::Number(1)), "{what}");
            // What follows in the same packet is not read any more.
            caller.write(&[wire.as_slice(), &frame(&command(&["FLUSHALL"]))].concat());
            assert_eq!(caller.reply(), None, "{what} on {version}");
        }
        assert_eq!(envoy.stat(CLOSED), violations.len() as u64);
        assert_eq!(redis.calls("flushall"), 0);
        envoy.wait_for_log("redis call: connection closed: command begins with byte 0x46, must be an array");
        neighbour.send(&neighbour.call(2));
        assert_eq!(neighbour.reply(), Some(Reply::Number(2)));
    }
}

#[test]
fn hostile_input_neither_floods_the_log_nor_appears_in_it() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis).concurrency(1).expose_redis_call().start();
    let mut caller = Caller::to(&envoy, &redis);
    let started = std::time::Instant::now();
    let rounds = 2_000;
    for _ in 0..rounds {
        caller.send(&command(&["evil\r\n-ERR \u{1b}[31m"]));
        assert_eq!(caller.reply(), refusal("EVIL__-ERR___31M"));
    }
    assert_eq!(envoy.stat(REFUSED), rounds);
    let lines = envoy.log().matches("redis call: refused").count() as u64;
    assert!(
        (1..=started.elapsed().as_secs() + 1).contains(&lines),
        "{lines} lines"
    );
    assert!(!envoy.log().contains('\u{1b}'));
}
