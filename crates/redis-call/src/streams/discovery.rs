//! Asks for the shards' slot_map, on a stream of its own: a question that a stuck node holds up delays no count.
//!
//! Asked for at the first call, then slowly while there are calls, and soon where something hints at a change.

use super::slot_map::{SlotMap, SlotMapError};
use super::{StreamHost, StreamId};
use crate::backoff::{self, Backoff};
use crate::resp::{self, Decoder};
use fastrand::Rng;
use std::time::{Duration, Instant};

/// Between two questions while nothing hints at a change: 10 s, and up to half as much again.
const SLOW: Duration = Duration::from_secs(10);

/// Between two questions whatever hints there are.
const SOON: Duration = Duration::from_millis(500);

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Discovery {
    stream: Option<StreamId>,
    decoder: Decoder,
    /// When the question under way was sent.
    asked: Option<Instant>,
    latest: Option<Instant>,
    /// When to ask next; `None`: no call was made yet.
    next: Option<Instant>,
    /// Whether a call or a hint asks for it.
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

    /// A call is made: the slot_map are in use.
    pub fn in_use(&mut self, now: Instant) {
        self.wanted |= *self.next.get_or_insert(now) <= now;
    }

    /// Something may have moved.
    pub fn hint(&mut self, now: Instant) {
        self.wanted = true;
        let soonest = self.latest.map_or(now, |latest| latest + SOON);
        self.next = self.next.map(|next| next.min(soonest));
    }

    /// When a tick is wanted.
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

    /// A message on the stream; the answer, once it is whole.
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
                    // A hint that came meanwhile may be about what this answer does not know yet.
                    let pause = match self.wanted {
                        true => SOON,
                        false => self.backoff.spread(SLOW, SLOW / 2),
                    };
                    self.next = Some(now + pause);
                }
                Some(answer)
            }
            Ok(None) => None,
            // Larger than anything that is worth keeping, or no answer at all.
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

    /// The question failed: again, after longer and longer.
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
