//! Should the VM ever die of a panic: those who wait in it are answered by the failure policy first. Envoy fails the
//! request that brought the panic about and starts a new VM, but would leave the others paused for ever.

use super::worker::Worker;
use std::cell::RefCell;
use std::panic;
use std::rc::{Rc, Weak};

thread_local! {
    static WORKERS: RefCell<Vec<Weak<Worker>>> = const { RefCell::new(Vec::new()) };
}

/// Adds to what a panic already does, which is to be logged.
pub fn install() {
    let log = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        log(info);
        WORKERS.with(|workers| {
            let Ok(workers) = workers.try_borrow() else {
                return;
            };
            for worker in workers.iter().filter_map(Weak::upgrade) {
                worker.give_up_all();
            }
        });
    }));
}

/// The requests of this worker are to be answered.
pub fn remember(worker: &Rc<Worker>) {
    WORKERS.with(|workers| {
        if let Ok(mut workers) = workers.try_borrow_mut() {
            workers.retain(|worker| worker.strong_count() > 0);
            workers.push(Rc::downgrade(worker));
        }
    });
}
