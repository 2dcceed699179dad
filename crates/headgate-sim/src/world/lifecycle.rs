//! Start and end of engines: the first configuration, a new configuration, a lost engine.

use super::worker::EngineInstance;
use super::{hasher, CallerState, Decision, Observer, World};
use crate::network::transport::{CheckedStreams, Host};
use headgate_core::engine::Engine;
use std::rc::Rc;

impl<O: Observer> World<O> {
    /// Starts the engine of a worker thread that gets all new requests from now on.
    pub(super) fn start_engine(&mut self, thread: usize) {
        let owner = self.engines.len();
        let policies = &self.scenario.policies;
        let policy = Rc::clone(&policies[self.threads[thread].policy % policies.len()]);
        let host = Host {
            network: Rc::clone(&self.network),
            worker: thread,
            owner,
        };
        let now = self.clock.instant(self.now);
        let transport = CheckedStreams::new(now, self.rng.fork(), host, &policy.redis);
        let super::WorkerThread { envoy, worker, .. } = self.threads[thread];
        let shared = self.memories[envoy].clone();
        let engine = Engine::new(Rc::clone(&policy), hasher(), transport, shared, self.rng.fork());
        self.observer.started(self.now, owner, envoy, worker, &policy);
        self.engines
            .push(Some(EngineInstance::new(engine, policy, thread)));
        self.threads[thread].engine = owner;
    }

    /// The worker thread gets a new configuration: a new engine gets the new requests. The old engine finishes its
    /// requests, or is lost at once.
    pub(super) fn reconfigure(&mut self, thread: usize, loses: bool) {
        let old = self.threads[thread].engine;
        self.threads[thread].policy += 1;
        self.start_engine(thread);
        if let Some(instance) = self.engines[old].as_mut() {
            instance.retired = true;
        }
        if loses {
            self.lose(old);
        }
        self.drop_unused(old);
    }

    /// Notes that a request of the engine has ended.
    pub(super) fn request_over(&mut self, engine: usize) {
        if let Some(instance) = self.engines[engine].as_mut() {
            instance.users -= 1;
        }
        self.drop_unused(engine);
    }

    /// Drops a retired engine after its last request.
    fn drop_unused(&mut self, engine: usize) {
        let unused = |instance: &EngineInstance| instance.retired && instance.users == 0;
        if self.engines[engine].as_ref().is_some_and(unused) {
            self.take_call_events(engine, None);
            self.take_events(engine);
            self.engines[engine] = None;
            self.network.borrow_mut().close_all(engine);
            self.observer.dropped(self.now, engine);
        }
    }

    /// The engine is lost, as after a panic. The shell decides its pending requests by the failure policy.
    fn lose(&mut self, engine: usize) {
        let now = self.moment();
        let Some(policy) = self.engines[engine].as_ref().map(|lost| Rc::clone(&lost.policy)) else {
            return;
        };
        for caller in 0..self.callers.len() {
            let Some(known) = self.callers[caller]
                .as_mut()
                .filter(|known| known.engine == engine)
            else {
                continue;
            };
            match std::mem::replace(&mut known.state, CallerState::Over) {
                CallerState::Over => continue,
                CallerState::Waiting(_, fallback) => {
                    let (_, reply) = fallback.decide(&policy, now);
                    let decision = Decision {
                        request: &known.request,
                        reply: reply.as_ref(),
                        by_fallback: true,
                    };
                    self.observer.decided(self.now, caller, &decision);
                }
                // Its response is not changed.
                CallerState::Admitted(_) => {}
            }
            if let Some(instance) = self.engines[engine].as_mut() {
                instance.users -= 1;
            }
        }
    }

    /// The number of requests in progress.
    pub fn waiting(&self) -> usize {
        let waits = |known: &super::Caller| !matches!(known.state, CallerState::Over);
        self.callers.iter().flatten().filter(|known| waits(known)).count()
    }

    /// Whether no event is planned.
    pub fn is_quiet(&self) -> bool {
        self.queue.next_at().is_none()
    }
}
