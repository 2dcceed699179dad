//! Asks Redis for the slot map with `CLUSTER SLOTS`, on its own stream: if the node that answers is stuck, no call is
//! delayed.
//!
//! It asks at the first call, then every 10 to 15 s while there are calls, and sooner after a hint of a change.

use super::slot_map::{SlotMap, SlotMapError};
use super::{StreamHost, StreamId};
use crate::backoff::{self, Backoff};
use crate::resp::{self, Decoder};
use fastrand::Rng;
use std::time::{Duration, Instant};

/// The pause between two requests for the slot map if no hint of a change comes. A random part of up to a half is
/// added.
const SLOW: Duration = Duration::from_secs(10);

/// The shortest pause between two requests for the slot map.
const SOON: Duration = Duration::from_millis(500);

/// How long to wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Discovery {
    stream: Option<StreamId>,
    decoder: Decoder,
    /// When the request was sent that has not been answered yet.
    asked: Option<Instant>,
    latest: Option<Instant>,
    /// When to ask next; `None`: no call has been made yet.
    next: Option<Instant>,
    /// A call or a hint requires a new slot map.
    wanted: bool,
    backoff: Backoff,
}

impl Discovery {
    pub fn new(rng: Rng) -> Discovery {
        Discovery {
            stream: None,
            decoder: Decoder::default(),
            asked: None,
            latest: None,
            next: None,
            wanted: false,
            backoff: Backoff::up_to(backoff::LONGEST, rng),
        }
    }

    pub fn stream(&self) -> Option<StreamId> {
        self.stream
    }

    /// A call is made: the slot map is in use.
    pub fn in_use(&mut self, now: Instant) {
        self.wanted |= *self.next.get_or_insert(now) <= now;
    }

    /// Slots or masters may have changed.
    pub fn hint(&mut self, now: Instant) {
        self.wanted = true;
        let soonest = self.latest.map_or(now, |latest| latest + SOON);
        self.next = self.next.map(|next| next.min(soonest));
    }

    /// When the next tick is needed.
    pub fn wakeup(&self) -> Option<Instant> {
        match (self.asked, self.wanted) {
            (Some(asked), _) => Some(asked + ANSWER_TIMEOUT),
            (None, true) => self.next,
            (None, false) => None,
        }
    }

    pub fn on_tick(&mut self, now: Instant, host: &dyn StreamHost) {
        if self.asked.is_some_and(|asked| asked + ANSWER_TIMEOUT <= now) {
            self.give_up(now, host);
        }
        if self.asked.is_some() || !self.wanted || self.next.is_some_and(|next| next > now) {
            return;
        }
        let mut question = Vec::new();
        resp::command(&mut question, &[b"CLUSTER", b"SLOTS"]);
        self.stream = self.stream.or_else(|| host.open());
        match self.stream {
            Some(stream) if host.send(stream, &question) => {
                self.wanted = false;
                self.asked = Some(now);
                self.latest = Some(now);
            }
            _ => self.give_up(now, host),
        }
    }

    /// Handles a message on the stream. Returns the answer when it is complete.
    pub fn on_message(
        &mut self,
        now: Instant,
        message: &[u8],
        host: &dyn StreamHost,
    ) -> Option<Result<SlotMap, SlotMapError>> {
        self.decoder.push(message);
        match self.decoder.next() {
            Ok(Some(reply)) if self.asked.is_some() => {
                self.asked = None;
                let answer = SlotMap::read(&reply);
                if answer == Err(SlotMapError::NotNow) {
                    self.retry_later(now);
                } else {
                    self.backoff.succeeded();
                    // A hint that came after the request may be about a change that this answer does not contain yet.
                    let pause = match self.wanted {
                        true => SOON,
                        false => self.backoff.spread(SLOW, SLOW / 2),
                    };
                    self.next = Some(now + pause);
                }
                Some(answer)
            }
            Ok(None) => None,
            // The answer is too large, or is not an answer to the request.
            _ => {
                self.give_up(now, host);
                Some(Err(SlotMapError::Unsupported))
            }
        }
    }

    pub fn on_close(&mut self, now: Instant) {
        self.stream = None;
        self.retry_later(now);
    }

    fn give_up(&mut self, now: Instant, host: &dyn StreamHost) {
        if let Some(stream) = self.stream.take() {
            host.cancel(stream);
        }
        self.retry_later(now);
    }

    /// The request failed: it is sent again after a pause that grows with each failure.
    fn retry_later(&mut self, now: Instant) {
        if self.stream.is_none() {
            self.decoder = Decoder::default();
        }
        self.asked = None;
        self.wanted = true;
        self.backoff.failed(now);
        self.next = self.backoff.retry_at();
    }
}
