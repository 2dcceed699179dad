//! The native transport against a simulated gateway: credentials, what is sent, and which caller gets which reply.

mod credentials;

use super::*;
use crate::pending::UNKNOWN_SHA1;
use crate::Script;
use std::cell::RefCell;
use std::rc::Rc;

const SCRIPT: Script = Script {
    body: "return {1}",
    sha1_hex: "0123456789012345678901234567890123456789",
};
const TIMEOUT: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Gateway {
    inits: u32,
    /// What `init` and `call` return.
    init_status: u32,
    call_status: u32,
    tokens: u32,
    sent: Vec<(u32, String)>,
    credentials: bool,
}

type FakeGateway = Rc<RefCell<Gateway>>;

impl NativeHost for FakeGateway {
    fn init(&self) -> Result<(), Refusal> {
        let mut gateway = self.borrow_mut();
        gateway.inits += 1;
        Refusal::check(gateway.init_status)
    }
    fn call(&self, command: &[u8]) -> Result<u32, Refusal> {
        let mut gateway = self.borrow_mut();
        Refusal::check(gateway.call_status)?;
        gateway.tokens += 4;
        let token = gateway.tokens;
        gateway
            .sent
            .push((token, String::from_utf8_lossy(command).into_owned()));
        Ok(token)
    }
    fn has_credentials(&self) -> bool {
        self.borrow().credentials
    }
}

struct NativeBench {
    host: FakeGateway,
    transport: Native<FakeGateway, u64>,
    now: Instant,
    completed: Vec<Completed<u64>>,
}

impl NativeBench {
    /// A gateway that knows the service and has the credentials.
    fn new() -> NativeBench {
        let mut bench = NativeBench::unconfigured();
        bench.transport.configure(bench.now).unwrap();
        bench
    }

    fn unconfigured() -> NativeBench {
        let host = FakeGateway::default();
        host.borrow_mut().credentials = true;
        let mut settings = Settings::new("p");
        settings.script = SCRIPT;
        settings.max_in_flight = 8;
        settings.timeout = TIMEOUT;
        let transport = Native::new(Rng::with_seed(1), host.clone(), settings);
        let now = Instant::now();
        NativeBench {
            host,
            transport,
            now,
            completed: Vec::new(),
        }
    }

    fn call(&mut self, request: u64) -> Result<(), CallError> {
        let mut tail = Vec::new();
        resp::bulk(&mut tail, b"1");
        resp::bulk(&mut tail, b"p:key");
        let slot = HashSlot::of(b"p:key");
        let call = Call::script(slot, 2, tail);
        self.transport.call(self.now, self.now + TIMEOUT, request, call)
    }

    fn after(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.transport.on_tick(self.now, &mut self.completed);
    }

    /// The gateway's reply to the nth command sent, from 1 on.
    fn reply(&mut self, nth: u32, text: &str) {
        self.transport
            .on_reply(self.now, nth * 4, Some(text.as_bytes()), &mut self.completed);
    }

    fn fail(&mut self, nth: u32) {
        self.transport
            .on_reply(self.now, nth * 4, None, &mut self.completed);
    }

    fn sent(&self) -> usize {
        self.host.borrow().sent.len()
    }

    fn last(&self) -> String {
        self.host.borrow().sent.last().unwrap().1.clone()
    }

    /// The calls that have ended, and their replies.
    fn ended(&mut self) -> Vec<(u64, Result<Value, CallError>)> {
        let all = self.completed.drain(..);
        all.map(|done| (done.id, done.reply)).collect()
    }

    /// The notices since the last call of this function.
    fn notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.transport.poll_notice()).collect()
    }
}

fn error(text: &str) -> Result<Value, CallError> {
    Ok(Value::Error(text.as_bytes().to_vec()))
}

#[test]
fn replies_reach_their_callers_in_any_order() {
    let mut bench = NativeBench::new();
    bench.call(1).unwrap();
    bench.call(2).unwrap();
    let command = "*4\r\n$7\r\nEVALSHA\r\n$40\r\n0123456789012345678901234567890123456789\r\n$1\r\n1\r\n$5\r\np:key\r\n";
    assert_eq!(bench.last(), command);
    bench.reply(2, ":2\r\n");
    bench.reply(1, ":1\r\n");
    assert_eq!(bench.ended(), [(2, Ok(Value::Int(2))), (1, Ok(Value::Int(1)))]);
    assert_eq!(bench.host.borrow().inits, 1, "once a configuration");
}

#[test]
fn what_is_not_one_command_is_not_sent() {
    let mut bench = NativeBench::new();
    for tail in [
        &b"$1\r\n1\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n"[..],
        b"$1\r\n1\r\n",
        b"$1\r\n1\r\n$9\r\nk\r\n",
    ] {
        let call = Call::script(HashSlot::of(b"k"), 2, tail.to_vec());
        let sent = bench.transport.call(bench.now, bench.now + TIMEOUT, 1, call);
        assert_eq!(sent, Err(CallError::Unavailable));
    }
    assert_eq!((bench.sent(), bench.transport.in_flight()), (0, 0));
    assert_eq!(bench.notices(), [Notice::NotOneCommand]);
}

#[test]
fn an_unknown_service_is_tried_again_at_the_first_call() {
    let mut bench = NativeBench::unconfigured();
    bench.host.borrow_mut().init_status = 2;
    bench.transport.configure(bench.now).unwrap();
    assert_eq!(bench.notices(), [], "this is not unusual");
    bench.now += Duration::from_millis(50);
    bench.host.borrow_mut().init_status = 0;
    bench.call(1).unwrap();
    assert_eq!(bench.sent(), 0, "not before the credentials");
    assert!(bench.transport.wakeup().unwrap() <= bench.now);
    bench.after(1);
    assert_eq!((bench.sent(), bench.host.borrow().inits), (1, 2));
}

#[test]
fn calls_to_an_unknown_service_end_by_their_deadline() {
    let mut bench = NativeBench::unconfigured();
    bench.host.borrow_mut().init_status = 2;
    bench.transport.configure(bench.now).unwrap();
    bench.call(1).unwrap();
    for _ in 0..110 {
        bench.after(1);
    }
    assert_eq!(bench.ended(), [(1, Err(CallError::Unavailable))]);
    assert_eq!(bench.notices(), [Notice::Refused(Refusal::UnknownCluster)]);
    let inits = bench.host.borrow().inits;
    assert!((2..8).contains(&inits), "{inits}: with growing pauses");
    assert!(!bench.transport.health.is_open(), "nothing was asked of Redis");
}

#[test]
fn only_a_proxy_without_redis_functions_is_refused() {
    for (status, refused) in [
        (0, false),
        (2, false),
        (6, false),
        (10, false),
        (12, true),
        (99, false),
    ] {
        let mut bench = NativeBench::unconfigured();
        bench.host.borrow_mut().init_status = status;
        assert_eq!(bench.transport.configure(bench.now).is_err(), refused, "{status}");
    }
}

#[test]
fn moved_is_reported_once_and_opens_no_breaker() {
    let mut bench = NativeBench::new();
    for nth in 1..=10 {
        bench.call(1).unwrap();
        bench.reply(nth, "-MOVED 1 127.0.0.1:7001\r\n");
    }
    assert_eq!(bench.notices(), [Notice::Redirected], "once");
    assert!(!bench.transport.health.is_open());
}

#[test]
fn after_noscript_only_one_call_in_flight_carries_the_body() {
    let mut bench = NativeBench::new();
    for request in 1..=3 {
        bench.call(request).unwrap();
    }
    for nth in 1..=3 {
        bench.reply(nth, "-NOSCRIPT No matching script.\r\n");
    }
    let bodies = |bench: &NativeBench| {
        let sent = &bench.host.borrow().sent;
        sent.iter().filter(|(_, text)| text.contains(SCRIPT.body)).count()
    };
    assert_eq!((bench.sent(), bodies(&bench)), (6, 1));
    bench.reply(4, ":1\r\n");
    bench.reply(5, ":1\r\n");
    bench.reply(6, ":1\r\n");
    assert_eq!(bench.ended().len(), 3);
    bench.call(4).unwrap();
    bench.reply(7, "-NOSCRIPT No matching script.\r\n");
    assert_eq!(bodies(&bench), 2, "the first body is no longer in flight");
}

#[test]
fn a_second_host_without_the_script_gets_the_body_too() {
    let mut bench = NativeBench::new();
    bench.call(1).unwrap();
    bench.call(2).unwrap();
    bench.reply(1, "-NOSCRIPT No matching script.\r\n");
    bench.reply(2, "-NOSCRIPT No matching script.\r\n");
    assert!(!bench.last().contains(SCRIPT.body));
    bench.reply(4, "-NOSCRIPT No matching script.\r\n");
    assert!(
        bench.last().contains(SCRIPT.body),
        "although the other host's body is still in flight"
    );
}

#[test]
fn a_timeout_opens_the_breaker_at_once_a_broken_call_does_not() {
    let mut bench = NativeBench::new();
    bench.call(1).unwrap();
    bench.fail(1);
    assert_eq!(bench.ended(), [(1, Err(CallError::Lost))]);
    let since = bench.now;
    bench.call(2).unwrap();
    bench.after(100);
    bench
        .transport
        .timed_out(bench.now, since, HashSlot::of(b"p:key"));
    assert_eq!(bench.call(3), Err(CallError::BreakerOpen));
    bench.after(1);
    assert!(bench.last().contains(UNKNOWN_SHA1), "a probe");
    bench.reply(3, "-NOSCRIPT No matching script.\r\n");
    bench.call(4).unwrap();
}

#[test]
fn a_late_reply_ends_its_call_unknown_tokens_are_dropped() {
    let mut bench = NativeBench::new();
    bench.call(1).unwrap();
    bench.after(150);
    bench.reply(1, ":1\r\n");
    assert_eq!(
        bench.ended(),
        [(1, Ok(Value::Int(1)))],
        "the reply is passed on although it is late"
    );
    bench.reply(1, ":1\r\n");
    bench.reply(77, ":1\r\n");
    assert_eq!(bench.ended(), []);
}

#[test]
fn calls_in_flight_are_bounded_and_end_without_replies() {
    let mut bench = NativeBench::new();
    for request in 1..=8 {
        bench.call(request).unwrap();
    }
    assert_eq!(bench.call(9), Err(CallError::TooManyInFlight));
    bench.after(7_000);
    assert_eq!(bench.transport.in_flight(), 8);
    bench.after(101);
    assert_eq!((bench.transport.in_flight(), bench.ended().len()), (0, 8));
}

#[test]
fn bytes_that_are_not_one_reply_are_invalid() {
    let mut bench = NativeBench::new();
    for (nth, bytes) in [
        (1, ""),
        (2, ":1\r\n:2\r\n"),
        (3, "HTTP/1.1 400 Bad Request\r\n\r\n"),
    ] {
        bench.call(1).unwrap();
        bench.reply(nth, bytes);
        assert_eq!(bench.ended(), [(1, Err(CallError::Unintelligible))]);
    }
}
