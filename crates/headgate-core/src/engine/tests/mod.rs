//! The engine with a transport that keeps what it is given: each test says what Redis answers, and when.

mod answers;
mod calls;
mod failures;
mod responses;

use super::*;
use crate::fixtures;
use crate::headers::Header;
use crate::identify::{Attributes, FakeRequest, Headers, TlsField};
use crate::local::Memory;
use crate::redis::resp::Value;
use crate::redis::{Call, CallError, HashSlot, Notice};
use crate::script::packed;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A call that was sent.
struct Sent {
    deadline: Instant,
    id: CallId,
    call: Call,
}

/// A transport that sends nothing.
#[derive(Default)]
struct FakeTransport {
    sent: VecDeque<Sent>,
    /// Calls are refused with this error.
    refuses: Option<CallError>,
    /// Shards that were blamed, and whether in a stall.
    blamed: Vec<(HashSlot, bool)>,
    notices: VecDeque<Notice>,
}

impl RedisCall<CallId> for FakeTransport {
    fn call(&mut self, _: Instant, deadline: Instant, id: CallId, call: Call) -> Result<(), CallError> {
        if let Some(error) = self.refuses {
            return Err(error);
        }
        self.sent.push_back(Sent { deadline, id, call });
        Ok(())
    }

    fn timed_out(&mut self, _: Instant, _: Instant, slot: HashSlot) {
        self.blamed.push((slot, false));
    }

    fn timed_out_in_stall(&mut self, _: Instant, _: Instant, slot: HashSlot) {
        self.blamed.push((slot, true));
    }

    fn wakeup(&self) -> Option<Instant> {
        None
    }

    fn on_tick(&mut self, _: Instant, _: &mut Vec<Completed<CallId>>) {}

    fn in_flight(&self) -> usize {
        self.sent.len()
    }

    fn levels(&self) -> Levels {
        Levels::default()
    }

    fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }
}

/// A request or a response, its filter state, and what was edited.
#[derive(Default)]
struct FakeExchange {
    request: FakeRequest,
    state: BTreeMap<String, String>,
    set: Vec<Header>,
    removed: Vec<String>,
}

impl Headers for FakeExchange {
    fn each_value<'a>(&'a self, name: &str, take: &mut dyn FnMut(&'a [u8])) {
        self.request.each_value(name, take);
    }

    fn each_header<'a>(&'a self, take: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        self.request.each_header(take);
    }
}

impl Attributes for FakeExchange {
    fn address(&self) -> Option<IpAddr> {
        self.request.address
    }

    fn metadata(&self, path: &[String]) -> Option<Vec<u8>> {
        self.request.metadata(path)
    }

    fn tls(&self, field: TlsField) -> Option<Vec<u8>> {
        self.request.tls(field)
    }

    fn route(&self) -> Option<Vec<u8>> {
        self.request.route()
    }
}

impl Exchange for FakeExchange {
    fn filter_state(&self, name: &str) -> Option<Vec<u8>> {
        Response::filter_state(self, name)
    }

    fn set_filter_state(&mut self, name: &str, value: &[u8]) {
        let value = String::from_utf8_lossy(value).into_owned();
        self.state.insert(name.to_owned(), value);
    }

    fn set_header(&mut self, header: &Header) {
        self.set.push(header.clone());
    }

    fn add_header(&mut self, header: &Header) {
        self.set.push(header.clone());
    }

    fn remove_header(&mut self, name: &str) {
        self.removed.push(name.to_owned());
    }
}

impl Response for FakeExchange {
    fn filter_state(&self, name: &str) -> Option<Vec<u8>> {
        self.state.get(name).map(|value| value.clone().into_bytes())
    }
}

impl FakeExchange {
    fn new(headers: &[(&str, &str)]) -> FakeExchange {
        FakeExchange {
            request: FakeRequest::new("192.0.2.1", headers),
            ..FakeExchange::default()
        }
    }

    fn state(&self, name: &str) -> &str {
        self.state.get(name).map_or("", String::as_str)
    }
}

/// What was done with a request.
#[derive(Debug, PartialEq)]
enum Done {
    Pass,
    Status(u16),
    Waits,
}

/// An engine, its clock, and the requests that it has been given.
struct World {
    engine: Engine<FakeTransport, Rc<Memory>>,
    now: Now,
    requests: Vec<FakeExchange>,
    /// By request: what it waits as, and what it was let through with.
    waits: Vec<Option<RequestId>>,
    admitted: Vec<Option<Admitted>>,
}

const MS: Duration = Duration::from_millis(1);

impl World {
    fn new(policy: &str) -> World {
        let policy = Rc::new(fixtures::policy(policy));
        let random = fastrand::Rng::with_seed(7);
        let transport = FakeTransport::default();
        World {
            engine: Engine::new(policy, Hasher::new(None), transport, Rc::default(), random),
            now: Now {
                monotonic: Instant::now(),
                unix: Duration::from_secs(1_800_000_000),
            },
            requests: Vec::new(),
            waits: Vec::new(),
            admitted: Vec::new(),
        }
    }

    /// Time passes, with the timeouts that the engine asks for.
    fn pass(&mut self, time: Duration) {
        let end = self.now.monotonic + time;
        while let Some(at) = self.engine.poll_timeout(self.now).filter(|at| *at <= end) {
            self.wait(at.saturating_duration_since(self.now.monotonic));
            self.engine.on_timeout(self.now);
        }
        self.wait(end - self.now.monotonic);
    }

    /// Time passes, and the engine is not called: its worker stands still.
    fn wait(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.now.unix += time;
    }

    fn request(&mut self, headers: &[(&str, &str)]) -> Done {
        self.exchange(FakeExchange::new(headers))
    }

    fn exchange(&mut self, mut request: FakeExchange) -> Done {
        let caller = self.requests.len() as u64;
        let step = self.engine.on_request(self.now, caller, &mut request);
        self.requests.push(request);
        self.waits.push(None);
        self.admitted.push(None);
        match step {
            Step::Decided(answer) => self.done(caller as usize, answer),
            Step::Pending(id, _) => {
                self.waits[caller as usize] = Some(id);
                self.engine.poll_timeout(self.now);
                Done::Waits
            }
        }
    }

    fn done(&mut self, request: usize, answer: Answer) -> Done {
        match answer {
            Answer::Pass(admitted) => {
                self.admitted[request] = Some(admitted);
                Done::Pass
            }
            Answer::Reply(reply) => Done::Status(reply.status),
        }
    }

    /// The oldest call that was sent and not answered.
    fn sent(&mut self) -> Sent {
        self.engine.transport.sent.pop_front().expect("a call was sent")
    }

    /// Redis answers the oldest call.
    fn reply(&mut self, reply: Result<Value, CallError>) {
        let sent = self.sent();
        self.reply_to(sent, reply);
    }

    fn reply_to(&mut self, Sent { id, call, .. }: Sent, reply: Result<Value, CallError>) {
        self.engine.on_transport(self.now, |_, _, completed| {
            completed.push(Completed { id, call, reply });
        });
    }

    /// What became of those who waited, in the order of the decisions: the request's number, and what was done.
    fn ready(&mut self) -> Vec<(usize, Done)> {
        let mut all = Vec::new();
        while let Some(Ready { id, caller }) = self.engine.poll_ready() {
            let request = caller as usize;
            let answer = self.engine.carry_out(self.now, id, &mut self.requests[request]);
            let done = self.done(request, answer.expect("it is decided once"));
            all.push((request, done));
        }
        all
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.engine.poll_event()).collect()
    }
}

/// So many counters of 10 calls have this many left; none is denied.
fn allowed(remaining: &[u64]) -> Result<Value, CallError> {
    let charges: Vec<_> = remaining.iter().map(|left| [1, 10, *left, 5_000, 0, 7]).collect();
    Ok(packed(true, &charges))
}

/// One counter is spent, for so many ms.
fn denied(wait_ms: u64) -> Result<Value, CallError> {
    Ok(packed(false, &[[0, 10, 0, wait_ms + 5, wait_ms, 7]]))
}

fn error(text: &str) -> Result<Value, CallError> {
    Ok(Value::Error(text.into()))
}

/// One limit by address.
const ONE: &str = r#"{"limits": [{"name": "a", "rate": "10/minute", "algorithm": "fixed_window"}], "verdict_cache": {"max_age": "0s"}}"#;
/// One by address and one by header: two hash tags, and so two calls.
const TWO: &str = r#"{"limits": [
    {"name": "a", "rate": "10/minute", "algorithm": "fixed_window", "on_error": "allow"},
    {"name": "b", "rate": "10/minute", "algorithm": "fixed_window", "key": ["header:x-tenant"], "on_error": "deny"}]}"#;
