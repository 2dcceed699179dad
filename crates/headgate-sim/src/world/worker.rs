//! The shell around one engine: its ticks, and the number of its requests.

use super::shared::SharedMemory;
use crate::network::transport::CheckedStreams;
use crate::time::{Clock, Micros, MS};
use headgate_core::engine::{CallId, Engine};
use headgate_core::identify::Hasher;
use headgate_core::model::Policy;
use std::rc::Rc;
use std::time::Instant;

/// An engine with one configuration.
pub struct EngineInstance {
    /// The engine.
    pub engine: Engine<CheckedStreams<CallId>, SharedMemory>,
    /// Its configuration.
    pub policy: Rc<Policy>,
    /// The index of the worker thread.
    pub thread: usize,
    /// Requests that have not ended.
    pub users: usize,
    /// Another engine gets the new requests.
    pub retired: bool,
    /// The next tick. Each plan starts a new round, and only the newest round counts.
    tick: Option<Micros>,
    round: u64,
    /// The number of ticks so far.
    pub ticks: u64,
}

impl EngineInstance {
    /// A new engine of this worker thread, without requests.
    pub fn new(
        engine: Engine<CheckedStreams<CallId>, SharedMemory>,
        policy: Rc<Policy>,
        thread: usize,
    ) -> EngineInstance {
        EngineInstance {
            engine,
            policy,
            thread,
            users: 0,
            retired: false,
            tick: None,
            round: 0,
            ticks: 0,
        }
    }

    /// Plans a tick for a call at `at`. Returns its time and round; `None`: an earlier tick is already planned.
    /// The host ticks in whole milliseconds.
    pub fn wants_tick(&mut self, clock: &Clock, now: Micros, at: Instant) -> Option<(Micros, u64)> {
        let wait = clock.micros(at).saturating_sub(now).div_ceil(MS).max(1) * MS;
        let at = now + wait;
        if self.tick.is_some_and(|tick| tick <= at) {
            return None;
        }
        self.tick = Some(at);
        self.round += 1;
        Some((at, self.round))
    }

    /// Handles a tick. Returns whether its round is the newest.
    pub fn ticks_in(&mut self, round: u64) -> bool {
        let is = round == self.round && self.tick.is_some();
        if is {
            self.tick = None;
            self.ticks += 1;
        }
        is
    }
}

/// The hasher of a world, without a key.
pub fn hasher() -> Hasher {
    Hasher::new(None).remembering()
}
