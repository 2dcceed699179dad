//! One worker under one configuration: its engine, what its host calls bring in, and the requests that wait.

use super::exchange::HostRequest;
use super::host;
use super::transport::{transport, HostTransport};
use crate::drill;
use crate::earliest::earliest;
use crate::engine::{
    Admitted, Answer, CallId, Engine, Fallback, LogLine, Now, Owed, Ready, Step, SHORTEST_TIMEOUT,
};
use crate::identify::Hasher;
use crate::model::Policy;
use crate::redis::{Completed, Level, Script, Settings};
use crate::telemetry::Telemetry;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Requests that are resumed or answered in one call of the VM; the others in the next, within a millisecond.
///
/// The host acts after a call of the VM has returned. A reply then passes the filter's own callbacks, and at the end of
/// those the host already takes up the next action: each stands on the stack of the one before. 306 replies at once (273
/// of a route's own, which answers as soon as a request goes on) found no stack left in Envoy 1.40, and the VM had to go.
/// This is a fifth of the stack.
const AT_ONCE: usize = 64;

type HostEngine = Engine<HostTransport, host::SharedValues>;

/// Something for the engine that came while it was in use.
type Queued = Box<dyn FnOnce(&mut HostEngine, Now)>;

/// The shared state of one worker under one configuration.
pub struct Worker {
    pub policy: Rc<Policy>,
    engine: RefCell<HostEngine>,
    telemetry: RefCell<Telemetry<host::Metrics>>,
    queued: RefCell<VecDeque<Queued>>,
    /// By the numbers of their contexts.
    waiting: RefCell<HashMap<u64, Rc<Waiting>>>,
    /// When the host was asked to tick.
    tick: Cell<Option<Instant>>,
}

/// A request that waits: kept outside of the engine, so that it can be answered should that be lost.
pub struct Waiting {
    fallback: Fallback,
    /// What is left to do once it was let through.
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
        let telemetry = Telemetry::new(policy.clone(), &hasher, host::Metrics, version, drill::TOP_EVERY);
        let mut settings = Settings::new(&policy.redis.key_prefix);
        settings.script = drill::ACCEPTED.first().copied().unwrap_or(Script::NONE);
        settings.max_in_flight = policy.redis.max_in_flight;
        settings.timeout = policy.redis.timeout;
        #[cfg(not(feature = "higress"))]
        if let Some(life) = drill::STREAM_LIFE {
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

    /// The headers of the request of this context have come.
    pub fn on_request(&self, context: u32, request: &mut HostRequest) -> Outcome {
        // No host call below calls the module back, so that the engine is free; were it in use, the request would have
        // to pass, as it does without the filter.
        let Ok(mut engine) = self.engine.try_borrow_mut() else {
            return Outcome::Pass(Admitted::default());
        };
        let now = now();
        let step = engine.on_request(now, context.into(), request);
        drop(engine);
        let outcome = match step {
            Step::Decided(Answer::Pass(admitted)) => Outcome::Pass(admitted),
            Step::Decided(Answer::Reply(reply)) => {
                host::reply(&reply);
                Outcome::Replied
            }
            Step::Pending(id, fallback) => {
                let waiting = Rc::new(Waiting {
                    fallback,
                    admitted: Cell::new(None),
                });
                self.waiting.borrow_mut().insert(context.into(), waiting.clone());
                Outcome::Waits(id, waiting)
            }
        };
        self.after(now, None);
        outcome
    }

    /// The request of this context, which waited, has ended.
    pub fn on_left(&self, context: u32, id: crate::engine::RequestId) {
        if self.waiting.borrow_mut().remove(&context.into()).is_some() {
            self.enter(move |engine, _| engine.on_left(id));
        }
    }

    /// Reads the engine: it is not in use between two calls of the host.
    pub fn with_engine<R>(&self, read: impl FnOnce(&HostEngine) -> R) -> Option<R> {
        self.engine.try_borrow().ok().map(|engine| read(&engine))
    }

    /// For the transport's configuration.
    #[cfg(feature = "higress")]
    pub fn with_transport<R>(&self, change: impl FnOnce(&mut HostTransport) -> R) -> Option<R> {
        let mut engine = self.engine.try_borrow_mut().ok()?;
        Some(change(engine.transport_mut()))
    }

    /// Something came on the transport.
    pub fn on_transport(
        &self,
        event: impl FnOnce(&mut HostTransport, Instant, &mut Vec<Completed<CallId>>) + 'static,
    ) {
        self.enter(move |engine, now| engine.on_transport(now, event));
    }

    pub fn charge(&self, owed: Owed) {
        self.enter(move |engine, now| engine.charge(now, owed));
    }

    pub fn on_tick(&self) {
        self.tick.set(None);
        self.enter_at(now(), true, |engine, now| engine.on_timeout(now));
        if self.tick.get().is_none() {
            host::set_tick_period(0);
        }
    }

    /// Hands something to the engine, and carries out what that leads to.
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
        self.after(now, is_tick.then_some(now.monotonic));
    }

    /// Carries out what the engine says after an event; `tick`: the moment, where the host has ticked.
    fn after(&self, now: Now, tick: Option<Instant>) {
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
        if let Some(tick) = tick {
            if let Some(line) = telemetry.on_timeout(tick, engine.gauges()) {
                log::info!("{line}");
            }
        }
        let next = earliest(&[engine.poll_timeout(now), telemetry.due()]);
        self.set_tick(now.monotonic, next);
    }

    fn next_queued(&self) -> Option<Queued> {
        self.queued.borrow_mut().pop_front()
    }

    /// Asks the host for a tick at this moment, or sooner.
    fn set_tick(&self, now: Instant, at: Option<Instant>) {
        let Some(at) = at else { return };
        if self.tick.get().is_some_and(|tick| tick <= at) {
            return;
        }
        let wait = at.saturating_duration_since(now).max(SHORTEST_TIMEOUT);
        self.tick.set(Some(now + wait));
        // Up to the next whole millisecond: a tick before its deadline would find nothing to do.
        host::set_tick_period(wait.as_micros().div_ceil(1_000) as u32);
    }

    /// Carries out what was decided, as much of it as may be in one call of the VM.
    fn release(&self, now: Now) {
        let mut actions = 0;
        while actions < AT_ONCE {
            let next = self.engine.borrow_mut().poll_ready();
            let Some(ready) = next else { return };
            actions += usize::from(self.carry_out(now, ready));
        }
    }

    /// `false`: the caller has gone away.
    fn carry_out(&self, now: Now, Ready { id, caller }: Ready) -> bool {
        let waiting = self.waiting.borrow_mut().remove(&caller);
        let context = caller as u32;
        if !host::speak_for(context) {
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

    /// Ends the waiting of all requests, by their failure policy: for a VM that dies. It gets no calls any more, and so
    /// there is no bound to how many. The engine may be in the middle of something, and is left alone.
    pub fn give_up_all(&self) {
        let Ok(mut waiting) = self.waiting.try_borrow_mut() else {
            return;
        };
        let now = now();
        for (context, waiting) in waiting.drain() {
            if !host::speak_for(context as u32) {
                continue;
            }
            let (outcome, reply) = waiting.fallback.decide(&self.policy, now);
            host::set_filter_state("ratelimit_decision", outcome.word().as_bytes());
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
        true => host::say_once(level, &line.text),
        false => log::log!(level, "{}", line.text),
    }
}

/// What became of a request whose headers have come.
pub enum Outcome {
    Pass(Admitted),
    Replied,
    Waits(crate::engine::RequestId, Rc<Waiting>),
}
