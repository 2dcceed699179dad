//! How faults begin and end in a world.

use super::{Happens, Observer, Thread, World};
use crate::fault::{Fault, Which};

impl<O: Observer> World<O> {
    pub(super) fn begin(&mut self, fault: usize) {
        let fault = self.scenario.faults[fault].fault.clone();
        match fault {
            Fault::Stall { .. } => {
                self.each_thread(&fault, |world, thread| world.threads[thread].stalls += 1)
            }
            Fault::Reconfigure { loses, .. } => self.each_thread(&fault, |world, thread| {
                let happens = Happens::Reconfigured { thread, loses };
                world.queue.plan(world.now, happens);
            }),
            _ => self.network.borrow_mut().begin(&fault),
        }
    }

    pub(super) fn end(&mut self, fault: usize) {
        let fault = self.scenario.faults[fault].fault.clone();
        match fault {
            Fault::Stall { .. } => self.each_thread(&fault, World::go_on),
            _ => self.network.borrow_mut().end_fault(&fault),
        }
    }

    pub(super) fn each_thread(&mut self, fault: &Fault, act: impl Fn(&mut World<O>, usize)) {
        let (of_envoy, of_worker) = match fault {
            Fault::Stall { envoy, worker } => (*envoy, *worker),
            Fault::Reconfigure { envoy, .. } => (*envoy, Which::All),
            _ => return,
        };
        for thread in 0..self.threads.len() {
            let Thread { envoy, worker, .. } = self.threads[thread];
            if of_envoy.has(envoy) && of_worker.has(worker) {
                act(self, thread);
            }
        }
    }

    /// A stall is over: what was held up happens in its order, and ticks at any time among it.
    pub(super) fn go_on(&mut self, thread: usize) {
        self.threads[thread].stalls -= 1;
        if self.threads[thread].stalls > 0 {
            return;
        }
        let held = std::mem::take(&mut self.threads[thread].held);
        let is_tick = |happens: &Happens| matches!(happens, Happens::Ticks { .. });
        let (ticks, mut held): (Vec<_>, Vec<_>) = held.into_iter().partition(is_tick);
        for tick in ticks {
            let place = self.rng.usize(..=held.len());
            held.insert(place, tick);
        }
        for happens in held {
            self.happen(happens);
        }
    }
}
