//! If the VM panics, this hook answers the waiting requests as `on_error` says. Without it Envoy would fail the request
//! that caused the panic and start a new VM, but leave all other requests paused forever.

use super::worker::Worker;
use std::cell::RefCell;
use std::panic;
use std::rc::{Rc, Weak};

thread_local! {
    static WORKERS: RefCell<Vec<Weak<Worker>>> = const { RefCell::new(Vec::new()) };
}

/// Extends the existing panic hook, which logs the panic.
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

/// Registers a worker, so that its waiting requests are answered after a panic.
pub fn remember(worker: &Rc<Worker>) {
    WORKERS.with(|workers| {
        if let Ok(mut workers) = workers.try_borrow_mut() {
            workers.retain(|worker| worker.strong_count() > 0);
            workers.push(Rc::downgrade(worker));
        }
    });
}
