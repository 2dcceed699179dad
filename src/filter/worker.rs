//! One worker under one configuration: its engine, its host calls, and the waiting requests.

use super::exchange::HostRequest;
use super::host;
use super::transport::transport;
use super::HostTransport;
use crate::earliest::earliest;
use crate::engine::{
    Admitted, Answer, CallId, Engine, Fallback, LogLine, Now, Ready, RequestStatus, ResponseCharges,
    SHORTEST_TIMEOUT,
};
use crate::fault_injection;
use crate::identify::Hasher;
use crate::model::Policy;
use crate::redis::{Completed, Level, Script, Settings};
use crate::telemetry::Telemetry;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The largest number of requests that are resumed or answered in one call of the VM. The others follow in the next
/// call, within about a millisecond.
///
/// The host carries out the actions after the call has returned. A local reply runs the filter's own callbacks, and at
/// their end the host starts the next action on the same stack. In Envoy 1.40, 306 local replies in one call (273 if
/// the route itself answers the request) overflowed the stack, and the VM failed. This limit uses a fifth of the stack.
const AT_ONCE: usize = 64;

type HostEngine = Engine<HostTransport, host::SharedValues>;

/// An event for the engine that came while the engine was in use.
type Queued = Box<dyn FnOnce(&mut HostEngine, Now)>;

/// The shared state of one worker under one configuration.
pub struct Worker {
    pub policy: Rc<Policy>,
    engine: RefCell<HostEngine>,
    telemetry: RefCell<Telemetry<host::Metrics>>,
    queued: RefCell<VecDeque<Queued>>,
    /// By context number.
    waiting: RefCell<HashMap<u64, Rc<Waiting>>>,
    /// The time of the next tick that was requested from the host.
    tick: Cell<Option<Instant>>,
}

/// A waiting request. It is kept outside of the engine, so that it can be answered if the VM panics in the engine.
pub struct Waiting {
    fallback: Fallback,
    /// What is left to do after it was admitted.
    pub admitted: Cell<Option<Admitted>>,
}

/// Both clocks. Each is a host call.
pub fn now() -> Now {
    Now {
        monotonic: Instant::now(),
        unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
    }
}

impl Worker {
    pub fn new(policy: Policy, hasher: Hasher, version: u64) -> Worker {
        let policy = Rc::new(policy);
        let mut random = fastrand::Rng::new();
        let telemetry = Telemetry::new(
            policy.clone(),
            &hasher,
            host::Metrics,
            version,
            fault_injection::TOP_EVERY,
        );
        let mut settings = Settings::new(&policy.redis.key_prefix);
        settings.script = fault_injection::ACCEPTED.first().copied().unwrap_or(Script::NONE);
        settings.max_in_flight = policy.redis.max_in_flight;
        settings.timeout = policy.redis.timeout;
        #[cfg(not(feature = "higress"))]
        if let Some(life) = fault_injection::STREAM_LIFE {
            settings.stream_life = life;
        }
        let transport = transport(&policy, Instant::now(), random.fork(), settings);
        let engine = Engine::new(policy.clone(), hasher, transport, host::SharedValues, random);
        Worker {
            policy,
            engine: RefCell::new(engine),
            telemetry: RefCell::new(telemetry),
            queued: RefCell::default(),
            waiting: RefCell::default(),
            tick: Cell::new(None),
        }
    }

    /// Handles the headers of the request of this context.
    pub fn on_request(&self, context: u32, request: &mut HostRequest) -> Outcome {
        // The engine is not borrowed here, because no host call of the engine calls back into the module. If it were
        // borrowed, the request would pass without being limited.
        let Ok(mut engine) = self.engine.try_borrow_mut() else {
            return Outcome::Pass(Admitted::default());
        };
        let now = now();
        let step = engine.on_request(now, context.into(), request);
        drop(engine);
        let outcome = match step {
            RequestStatus::Decided(Answer::Pass(admitted)) => Outcome::Pass(admitted),
            RequestStatus::Decided(Answer::Reply(reply)) => {
                host::reply(&reply);
                Outcome::Replied
            }
            RequestStatus::Pending(id, fallback) => {
                let waiting = Rc::new(Waiting {
                    fallback,
                    admitted: Cell::new(None),
                });
                self.waiting.borrow_mut().insert(context.into(), waiting.clone());
                Outcome::Waits(id, waiting)
            }
        };
        self.after(now, false);
        outcome
    }

    /// The waiting request of this context has ended.
    pub fn on_left(&self, context: u32, id: crate::engine::RequestId) {
        if self.waiting.borrow_mut().remove(&context.into()).is_some() {
            self.enter(move |engine, _| engine.on_left(id));
        }
    }

    /// Reads the engine. `None`: the engine is in use, which cannot happen at the start of a call from the host.
    pub fn with_engine<R>(&self, read: impl FnOnce(&HostEngine) -> R) -> Option<R> {
        self.engine.try_borrow().ok().map(|engine| read(&engine))
    }

    /// Changes the transport, for its configuration.
    #[cfg(feature = "higress")]
    pub fn with_transport<R>(&self, change: impl FnOnce(&mut HostTransport) -> R) -> Option<R> {
        let mut engine = self.engine.try_borrow_mut().ok()?;
        Some(change(engine.transport_mut()))
    }

    /// Handles an event of the transport.
    pub fn on_transport(
        &self,
        event: impl FnOnce(&mut HostTransport, Instant, &mut Vec<Completed<CallId>>) + 'static,
    ) {
        self.enter(move |engine, now| engine.on_transport(now, event));
    }

    pub fn charge(&self, owed: ResponseCharges) {
        self.enter(move |engine, now| engine.charge(now, owed));
    }

    pub fn on_tick(&self) {
        self.tick.set(None);
        self.enter_at(now(), true, |engine, now| engine.on_timeout(now));
        if self.tick.get().is_none() {
            host::set_tick_period(0);
        }
    }

    /// Passes an event to the engine, and carries out the resulting actions.
    pub fn enter(&self, event: impl FnOnce(&mut HostEngine, Now) + 'static) {
        self.enter_at(now(), false, event);
    }

    fn enter_at(&self, now: Now, is_tick: bool, event: impl FnOnce(&mut HostEngine, Now) + 'static) {
        let Ok(mut engine) = self.engine.try_borrow_mut() else {
            self.queued.borrow_mut().push_back(Box::new(event));
            return;
        };
        event(&mut engine, now);
        drop(engine);
        self.after(now, is_tick);
    }

    /// Carries out the engine's actions after an event.
    fn after(&self, now: Now, is_tick: bool) {
        while let Some(event) = self.next_queued() {
            event(&mut self.engine.borrow_mut(), now);
        }
        self.release(now);
        let mut engine = self.engine.borrow_mut();
        let Ok(mut telemetry) = self.telemetry.try_borrow_mut() else {
            return;
        };
        while let Some(event) = engine.poll_event() {
            if let Some(line) = telemetry.note(now.monotonic, event) {
                write(&line);
            }
        }
        if is_tick {
            if let Some(line) = telemetry.on_timeout(now, engine.gauges()) {
                log::info!("{line}");
            }
        }
        let next = earliest(&[engine.poll_timeout(now), telemetry.due()]);
        self.set_tick(now.monotonic, next);
    }

    fn next_queued(&self) -> Option<Queued> {
        self.queued.borrow_mut().pop_front()
    }

    /// Requests a tick at this time, unless an earlier one is requested already.
    fn set_tick(&self, now: Instant, at: Option<Instant>) {
        let Some(at) = at else { return };
        if self.tick.get().is_some_and(|tick| tick <= at) {
            return;
        }
        let wait = at.saturating_duration_since(now).max(SHORTEST_TIMEOUT);
        self.tick.set(Some(now + wait));
        // Rounded up to a whole millisecond: a tick before the deadline would find nothing to do.
        host::set_tick_period(wait.as_micros().div_ceil(1_000) as u32);
    }

    /// Carries out decisions, at most [`AT_ONCE`] in one call of the VM.
    fn release(&self, now: Now) {
        let mut actions = 0;
        while actions < AT_ONCE {
            let next = self.engine.borrow_mut().poll_ready();
            let Some(ready) = next else { return };
            actions += usize::from(self.carry_out(now, ready));
        }
    }

    /// Resumes or answers one request; `false`: it has ended.
    fn carry_out(&self, now: Now, Ready { id, caller }: Ready) -> bool {
        let waiting = self.waiting.borrow_mut().remove(&caller);
        let context = caller as u32;
        if !host::set_effective_context(context) {
            self.engine.borrow_mut().on_left(id);
            return false;
        }
        let answer = self
            .engine
            .borrow_mut()
            .carry_out(now, id, &mut HostRequest::new());
        match answer {
            Some(Answer::Pass(admitted)) => {
                if let Some(waiting) = waiting {
                    waiting.admitted.set(Some(admitted));
                }
                host::resume_request();
            }
            Some(Answer::Reply(reply)) => {
                host::reply(&reply);
            }
            None => return false,
        }
        true
    }

    /// Answers all waiting requests as `on_error` says, after a panic. The VM gets no more calls, so [`AT_ONCE`] does
    /// not apply. The engine is not used, because it may be in an inconsistent state.
    pub fn give_up_all(&self) {
        let Ok(mut waiting) = self.waiting.try_borrow_mut() else {
            return;
        };
        let now = now();
        for (context, waiting) in waiting.drain() {
            if !host::set_effective_context(context as u32) {
                continue;
            }
            let (outcome, reply) = waiting.fallback.decide(&self.policy, now);
            host::set_filter_state("ratelimit_decision", outcome.as_str().as_bytes());
            match reply {
                Some(reply) => {
                    host::set_filter_state("ratelimit_error", b"true");
                    host::reply(&reply);
                }
                None => host::resume_request(),
            }
        }
    }
}

/// Writes a line into Envoy's log.
fn write(line: &LogLine) {
    let level = match line.level {
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
    };
    match line.once {
        true => host::log_once(level, &line.text),
        false => log::log!(level, "{}", line.text),
    }
}

/// The result for a request after its headers.
pub enum Outcome {
    Pass(Admitted),
    Replied,
    Waits(crate::engine::RequestId, Rc<Waiting>),
}
