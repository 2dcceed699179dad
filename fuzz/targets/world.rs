//! A history of the simulated world: whatever the bytes choose (policies, Envoys, callers, faults and their times), its
//! rules hold.

use headgate_sim::history;

pub fn run(data: &[u8]) {
    let outcome = history::of_bytes(data);
    assert!(outcome.broken.is_empty(), "{}", history::outline(&outcome));
}
