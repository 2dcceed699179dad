//! Records the events of the world.

use super::*;

impl Observer for Ledger {
    fn started(&mut self, _: Micros, _: usize, envoy: usize, worker: usize, policy: &Rc<Policy>) {
        self.event_counts.push(EventCounts::default());
        self.engines.push(EngineRecord {
            policy: Rc::clone(policy),
            planner: policies::planner(policy),
            envoy,
            worker,
            dropped: None,
        });
    }

    fn dropped(&mut self, at: Micros, engine: usize) {
        self.engines[engine].dropped = Some(at);
    }

    fn arrived(&mut self, at: Micros, caller: usize, engine: usize, request: &Request) {
        self.now = at;
        let known = &self.engines[engine];
        let identity = known.planner.identify(request);
        let planned = plan(&known.policy, &known.planner, request, &identity);
        let (groups, without) = match planned.next {
            Ok(groups) => (groups, None),
            Err(decision) => (Vec::new(), Some(decision)),
        };
        self.arriving.insert(engine, caller);
        self.requests[caller] = Some(RequestRecord {
            at,
            engine,
            groups,
            without,
            id: None,
            tags: Vec::new(),
            failed: false,
            decided: None,
            left: None,
            charges: Vec::new(),
            charges_refused: 0,
            shown: None,
            ended: None,
        });
    }

    fn pending(&mut self, at: Micros, caller: usize, engine: usize, id: RequestId) {
        self.now = at;
        if self.by_id.insert((engine, id), caller).is_some() {
            self.broke("own-call", format!("engine {engine} issued {id:?} twice"));
        }
        if let Some(record) = &mut self.requests[caller] {
            record.id = Some(id);
        }
        self.check_asks_redis(caller);
    }

    fn decided(&mut self, at: Micros, caller: usize, decision: &Decision<'_>) {
        self.now = at;
        self.read();
        self.check_decision(caller, decision);
        if !decision.by_fallback {
            self.check_breaker_opens(caller);
            self.note_time_out(caller);
        }
    }

    fn left(&mut self, at: Micros, caller: usize, admitted: bool) {
        self.now = at;
        let Some(record) = &mut self.requests[caller] else {
            return;
        };
        record.left = Some(at);
        if admitted {
            record.ended = Some((at, RequestEnd::CallerLeft));
            self.charge_local_counters(caller, RequestEnd::CallerLeft);
        }
    }

    fn answered(&mut self, at: Micros, caller: usize, edits: &engine::Edits) {
        self.now = at;
        self.check_response(caller, edits);
        if let Some(record) = &mut self.requests[caller] {
            record.ended = Some((at, RequestEnd::Response));
        }
        self.charge_local_counters(caller, RequestEnd::Response);
    }

    fn call_event(&mut self, at: Micros, engine: usize, note: &CallEvent<CallId>, charges: Option<usize>) {
        self.now = at;
        match *note {
            CallEvent::Made { tag, id } => self.note_made(engine, tag, id, charges),
            CallEvent::Refused { id, error } => {
                if let (CallId::Request { part, .. }, CallError::BreakerOpen) = (id, error) {
                    self.check_breaker_reopens(engine, part);
                }
                let caller = match id {
                    CallId::Request { id, .. } => self.caller_of(engine, id),
                    _ => None,
                };
                if let Some(record) = caller.and_then(|caller| self.requests[caller].as_mut()) {
                    record.failed = true;
                }
                if let (CallId::Unawaited, Some(caller)) = (id, charges) {
                    if let Some(record) = &mut self.requests[caller] {
                        record.charges_refused += 1;
                    }
                }
            }
            CallEvent::Ended {
                tag,
                id,
                counted,
                again,
            } => {
                self.read();
                self.note_ended(engine, tag, id, counted);
                if let (CallId::Request { id, part }, true) = (id, again) {
                    self.again.insert((engine, id, part), at);
                }
            }
        }
    }

    fn event(&mut self, at: Micros, engine: usize, event: &engine::Event) {
        self.now = at;
        self.event_counts[engine].note(event);
        if let engine::Event::Line(engine::LogLine { text, .. }) = event {
            if text.contains("circuit breaker opened") && !self.may_open_breaker(engine) {
                self.broke("breaker-without-cause", format!("engine {engine}: {text}"));
            }
        }
    }

    fn wants_lines(&self) -> bool {
        self.lines.is_some()
    }

    fn line(&mut self, at: Micros, line: String) {
        if let Some(lines) = &mut self.lines {
            lines.push((at, line));
        }
    }
}
