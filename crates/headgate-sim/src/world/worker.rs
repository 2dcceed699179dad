//! The shell around one engine: when the host ticks, and how many requests still need it.

use super::shared::SharedMemory;
use crate::network::transport::CheckedStreams;
use crate::time::{Clock, Micros, MS};
use headgate_core::engine::{CallId, Engine};
use headgate_core::identify::Hasher;
use headgate_core::model::Policy;
use std::rc::Rc;
use std::time::Instant;

/// An engine under one configuration.
pub struct EngineInstance {
    pub engine: Engine<CheckedStreams<CallId>, SharedMemory>,
    pub policy: Rc<Policy>,
    /// Of the world's worker threads.
    pub thread: usize,
    /// Requests that have not ended.
    pub users: usize,
    /// Another one takes new requests.
    pub retired: bool,
    /// When the host ticks; each plan of it is a round, of which the last one is in force.
    tick: Option<Micros>,
    round: u64,
    /// How often it ticked.
    pub ticks: u64,
}

impl EngineInstance {
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

    /// The engine wants a call at `at`: when the host is to tick, and in which round; `None`: it ticks by then anyway.
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

    /// The host ticks; whether that round is in force.
    pub fn ticks_in(&mut self, round: u64) -> bool {
        let is = round == self.round && self.tick.is_some();
        if is {
            self.tick = None;
            self.ticks += 1;
        }
        is
    }
}

/// How secrets are hidden in a world: as on Envoys without a key.
pub fn hasher() -> Hasher {
    Hasher::new(None).remembering()
}
