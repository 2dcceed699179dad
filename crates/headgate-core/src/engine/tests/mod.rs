//! The engine with a transport that records its calls: each test chooses the replies of Redis, and their times.

mod answers;
mod calls;
mod failures;
mod filter_state;
mod responses;

use super::*;
use crate::fixtures;
use crate::fixtures::{FakeExchange, FakeTransport, Sent};
use crate::local::Memory;
use crate::redis::resp::Value;
use crate::redis::{CallError, Notice};
use crate::script::packed;

/// What was done with a request.
#[derive(Debug, PartialEq)]
enum Done {
    Pass,
    Status(u16),
    Waits,
}

/// An engine, its clock, and its requests.
struct World {
    engine: Engine<FakeTransport, Rc<Memory>>,
    now: Now,
    requests: Vec<FakeExchange>,
    /// For each request: its id while it is pending, and how it was admitted.
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

    /// Time passes, and the engine is not called: its worker is stalled.
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
            RequestStatus::Decided(answer) => self.done(caller as usize, answer),
            RequestStatus::Pending(id, _) => {
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

    /// Applies the decisions on pending requests, in their order: the request's number, and its result.
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

/// One counter of 10 calls for each element, with this many left; none is denied.
fn allowed(remaining: &[u64]) -> Result<Value, CallError> {
    let charges: Vec<_> = remaining.iter().map(|left| [1, 10, *left, 5_000, 0, 7]).collect();
    Ok(packed(true, &charges))
}

/// One counter is spent for `wait_ms`.
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
