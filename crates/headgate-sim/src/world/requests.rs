//! How the shell around an engine handles requests, as the filter does.

use super::{Caller, CallerState, Decision, Observer, Occurrence, World};
use crate::network::Delivery;
use crate::request::UpstreamResponse;
use headgate_core::engine::{self, Answer, Now, RequestStatus};
use std::rc::Rc;

/// How many decisions are carried out in one call of the VM, as in the filter.
const AT_ONCE: usize = 64;

impl<O: Observer> World<O> {
    pub(super) fn arrive(&mut self, caller: usize) {
        let scenario = Rc::clone(&self.scenario);
        let arrival = &scenario.arrivals[caller];
        let thread = arrival.envoy * scenario.network.workers + arrival.worker;
        let engine = self.threads[thread].engine;
        let mut request = (*arrival.request).clone();
        self.observer.arrived(self.now, caller, engine, &request);
        if let Some(after) = arrival.leaves_after {
            self.queue
                .plan(self.now + after, Occurrence::CallerLeaves(caller));
        }
        let now = self.moment();
        let Some(instance) = &mut self.engines[engine] else {
            return;
        };
        instance.users += 1;
        let number = caller as u64;
        let step = match &arrival.identity {
            Some(identity) => instance.engine.on_identified(now, number, identity, &mut request),
            None => instance.engine.on_request(now, number, &mut request),
        };
        self.callers[caller] = Some(Caller {
            engine,
            request,
            state: CallerState::Over,
        });
        match step {
            RequestStatus::Pending(id, fallback) => {
                if let Some(known) = &mut self.callers[caller] {
                    known.state = CallerState::Waiting(id, fallback);
                }
                self.observer.pending(self.now, caller, engine, id);
                self.take_call_events(engine, None);
            }
            RequestStatus::Decided(answer) => {
                self.take_call_events(engine, None);
                self.carry_out(caller, answer);
            }
        }
        self.after(engine);
    }

    /// Carries out the answer of the engine.
    pub(super) fn carry_out(&mut self, caller: usize, answer: Answer) {
        let Some(known) = &mut self.callers[caller] else {
            return;
        };
        let engine = known.engine;
        let (state, reply) = match answer {
            Answer::Pass(admitted) => (CallerState::Admitted(admitted), None),
            Answer::Reply(reply) => (CallerState::Over, Some(reply)),
        };
        let passes = reply.is_none();
        known.state = state;
        let decision = Decision {
            request: &known.request,
            reply: reply.as_ref(),
            by_fallback: false,
        };
        self.observer.decided(self.now, caller, &decision);
        if !passes {
            self.callers[caller] = None;
            return self.request_over(engine);
        }
        if let Some(after) = self.scenario.arrivals[caller].answered_after {
            self.queue
                .plan(self.now + after, Occurrence::UpstreamAnswers(caller));
        }
    }

    pub(super) fn leave(&mut self, caller: usize) {
        let Some(known) = &mut self.callers[caller] else {
            return;
        };
        let engine = known.engine;
        let state = std::mem::replace(&mut known.state, CallerState::Over);
        let now = self.moment();
        let Some(instance) = self.engines[engine].as_mut() else {
            return;
        };
        match state {
            CallerState::Over => return,
            CallerState::Waiting(id, _) => {
                instance.engine.on_left(id);
                self.observer.left(self.now, caller, false);
            }
            CallerState::Admitted(admitted) => {
                let owed = instance.engine.on_gone(admitted);
                self.observer.left(self.now, caller, true);
                if let Some(owed) = owed {
                    instance.engine.charge(now, owed);
                }
            }
        }
        self.take_call_events(engine, Some(caller));
        self.callers[caller] = None;
        self.request_over(engine);
        self.after(engine);
    }

    pub(super) fn answered(&mut self, caller: usize) {
        let Some(known) = &mut self.callers[caller] else {
            return;
        };
        let engine = known.engine;
        let CallerState::Admitted(admitted) = std::mem::replace(&mut known.state, CallerState::Over) else {
            return;
        };
        let response = UpstreamResponse {
            headers: &self.scenario.arrivals[caller].response,
            request: &known.request,
        };
        let now = Now {
            monotonic: self.clock.instant(self.now),
            unix: std::time::Duration::from_micros(self.clock.unix_us(self.now)),
        };
        let Some(instance) = self.engines[engine].as_mut() else {
            return;
        };
        let (edits, owed) = instance.engine.on_response(admitted, &response);
        self.observer.answered(self.now, caller, &edits);
        if let Some(owed) = owed {
            instance.engine.charge(now, owed);
        }
        self.take_call_events(engine, Some(caller));
        self.callers[caller] = None;
        self.request_over(engine);
        self.after(engine);
    }

    pub(super) fn deliver(&mut self, delivery: Delivery) {
        if !self.network.borrow_mut().accept(&delivery) {
            return;
        }
        let engine = delivery.owner;
        let now = self.moment();
        let Some(instance) = self.engines[engine].as_mut() else {
            return;
        };
        instance.engine.on_transport(now, |transport, now, completed| {
            transport.deliver(now, delivery.stream, delivery.what, completed);
        });
        self.after(engine);
    }

    /// After each event of an engine: carries out its decisions, takes its events, and plans its next tick.
    pub(super) fn after(&mut self, engine: usize) {
        self.take_call_events(engine, None);
        for _ in 0..AT_ONCE {
            let Some(ready) = self.engines[engine]
                .as_mut()
                .and_then(|known| known.engine.poll_ready())
            else {
                break;
            };
            self.release(engine, ready);
        }
        self.take_events(engine);
        let now = self.moment();
        let Some(instance) = self.engines[engine].as_mut() else {
            return;
        };
        let held = instance.engine.pending_requests();
        if held > instance.users {
            let what = format!(
                "engine {engine} holds {held} requests, and has {}",
                instance.users
            );
            self.network.borrow_mut().journal.broken("memory", what);
        }
        let Some(at) = instance.engine.poll_timeout(now) else {
            return;
        };
        if let Some((at, round)) = instance.wants_tick(&self.clock, self.now, at) {
            // Timers of the host are some µs late.
            let late = self.rng.u64(..300);
            self.queue.plan(at + late, Occurrence::Tick { engine, round });
        }
    }

    pub(super) fn release(&mut self, engine: usize, ready: engine::Ready) {
        let caller = ready.caller as usize;
        let now = self.moment();
        let known = self.callers.get_mut(caller).and_then(Option::as_mut);
        let waits = |known: &Caller| {
            known.engine == engine && matches!(known.state, CallerState::Waiting(id, _) if id == ready.id)
        };
        let Some(known) = known.filter(|known| waits(known)) else {
            let what = format!("{ready:?} is ready in engine {engine}, and does not wait");
            return self.network.borrow_mut().journal.broken("decided-once", what);
        };
        let instance = self.engines[engine].as_mut();
        let answer =
            instance.and_then(|instance| instance.engine.carry_out(now, ready.id, &mut known.request));
        match answer {
            Some(answer) => self.carry_out(caller, answer),
            None => {
                let what = format!("{ready:?} is ready in engine {engine}, and has no decision");
                self.network.borrow_mut().journal.broken("decided-once", what);
            }
        }
    }

    pub(super) fn take_events(&mut self, engine: usize) {
        let Some(instance) = self.engines[engine].as_mut() else {
            return;
        };
        while let Some(event) = instance.engine.poll_event() {
            if let (engine::Event::Line(engine::LogLine { text, .. }), true) =
                (&event, self.observer.wants_lines())
            {
                self.observer
                    .line(self.now, format!("engine {engine} logs: {text}"));
            }
            self.observer.event(self.now, engine, &event);
        }
    }

    pub(super) fn take_call_events(&mut self, engine: usize, charges: Option<usize>) {
        let Some(instance) = self.engines[engine].as_mut() else {
            return;
        };
        let mut call_events = std::mem::take(&mut instance.engine.transport_mut().call_events);
        for note in call_events.drain(..) {
            self.observer.call_event(self.now, engine, &note, charges);
        }
        instance.engine.transport_mut().call_events = call_events;
    }

    pub(super) fn tick(&mut self, engine: usize, round: u64) {
        let now = self.moment();
        let Some(instance) = self.engines[engine].as_mut() else {
            return;
        };
        if instance.ticks_in(round) {
            instance.engine.on_timeout(now);
            self.after(engine);
        }
    }
}
