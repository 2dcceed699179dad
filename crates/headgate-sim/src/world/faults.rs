//! Start and end of the faults of a world.

use super::{Observer, Occurrence, WorkerThread, World};
use crate::fault::{Fault, Target};

impl<O: Observer> World<O> {
    pub(super) fn begin(&mut self, fault: usize) {
        let fault = self.scenario.faults[fault].fault.clone();
        match fault {
            Fault::Stall { .. } => {
                self.each_thread(&fault, |world, thread| world.threads[thread].stalls += 1)
            }
            Fault::Reconfigure { loses, .. } => self.each_thread(&fault, |world, thread| {
                let occurrence = Occurrence::Reconfigured { thread, loses };
                world.queue.plan(world.now, occurrence);
            }),
            _ => self.network.borrow_mut().begin(&fault),
        }
    }

    pub(super) fn end(&mut self, fault: usize) {
        let fault = self.scenario.faults[fault].fault.clone();
        match fault {
            Fault::Stall { .. } => self.each_thread(&fault, World::end_stall),
            _ => self.network.borrow_mut().end_fault(&fault),
        }
    }

    pub(super) fn each_thread(&mut self, fault: &Fault, act: impl Fn(&mut World<O>, usize)) {
        let (of_envoy, of_worker) = match fault {
            Fault::Stall { envoy, worker } => (*envoy, *worker),
            Fault::Reconfigure { envoy, .. } => (*envoy, Target::All),
            _ => return,
        };
        for thread in 0..self.threads.len() {
            let WorkerThread { envoy, worker, .. } = self.threads[thread];
            if of_envoy.has(envoy) && of_worker.has(worker) {
                act(self, thread);
            }
        }
    }

    /// Ends a stall: the delayed events are handled in order, and the delayed ticks at random positions among them.
    pub(super) fn end_stall(&mut self, thread: usize) {
        self.threads[thread].stalls -= 1;
        if self.threads[thread].stalls > 0 {
            return;
        }
        let delayed = std::mem::take(&mut self.threads[thread].delayed);
        let is_tick = |occurrence: &Occurrence| matches!(occurrence, Occurrence::Tick { .. });
        let (ticks, mut delayed): (Vec<_>, Vec<_>) = delayed.into_iter().partition(is_tick);
        for tick in ticks {
            let place = self.rng.usize(..=delayed.len());
            delayed.insert(place, tick);
        }
        for occurrence in delayed {
            self.handle(occurrence);
        }
    }
}
