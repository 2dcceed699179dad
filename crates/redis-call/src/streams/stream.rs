//! One stream: replies come in the order in which the calls were sent.
//!
//! A call whose caller no longer waits keeps its place in that order, and its reply is ignored. If a node does not know
//! the script, one call on the stream carries the body, and the others are sent again after it. If the guard does not
//! accept the script, or the stream is old, the stream ends after its last reply and calls use the next one.

use super::{Link, StreamId};
use crate::backoff::{self, Backoff};
use crate::pending::{Finished, Pending, Purpose};
use crate::resp::Decoder;
use crate::{Call, CallError};
use fastrand::Rng;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub(super) struct Stream<Id> {
    id: Option<StreamId>,
    /// How long a stream is used; a random part of up to a quarter is added.
    life: Duration,
    /// When the next stream replaces it.
    replace_at: Option<Instant>,
    backoff: Backoff,
    /// The host refused the last attempt to open it.
    refused: bool,
    /// Not sent yet, because the stream is not open.
    queue: VecDeque<Pending<Id>>,
    /// Sent, in the order of the expected replies. If the stream breaks, the next tick ends them.
    sent: VecDeque<Pending<Id>>,
    /// How many of `sent` contain the script's body.
    bodies: usize,
    /// It ends after its last reply, and calls in `queue` wait for the next stream.
    leaving: bool,
    decoder: Decoder,
}

impl<Id> Stream<Id> {
    pub fn new(rng: Rng, life: Duration) -> Self {
        Stream {
            id: None,
            life,
            replace_at: None,
            backoff: Backoff::up_to(backoff::LONGEST, rng),
            refused: false,
            queue: VecDeque::new(),
            sent: VecDeque::new(),
            bodies: 0,
            leaving: false,
            decoder: Decoder::default(),
        }
    }

    pub fn id(&self) -> Option<StreamId> {
        self.id
    }

    /// No call is queued or in flight.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.sent.is_empty()
    }

    /// Ends an idle stream. No reply is lost.
    pub fn end(&mut self, link: &mut Link) {
        if let Some(id) = self.id.take() {
            link.host.cancel(id);
        }
    }

    pub fn call(
        &mut self,
        now: Instant,
        deadline: Instant,
        purpose: Purpose<Id>,
        call: Call,
        link: &mut Link,
    ) -> Result<(), CallError> {
        if self.id.is_none() && self.backoff.retry_at().is_some_and(|at| at >= deadline) {
            return Err(self.unavailable());
        }
        self.send_or_queue(Pending::new(now, deadline, purpose, call), link);
        Ok(())
    }

    /// When the next tick is needed: to open the stream, to end calls that wait for it, or to find it stuck.
    pub fn wakeup(&self, stuck_after: Duration) -> Option<Instant> {
        let queue = self.queue.front().map(|first| match self.backoff.retry_at() {
            _ if self.leaving => first.deadline,
            Some(at) => at.min(first.deadline),
            None => first.since,
        });
        let sent = self.sent.front().map(|first| match self.id {
            Some(_) => first.since + stuck_after,
            None => first.since,
        });
        [queue, sent].into_iter().flatten().min()
    }

    pub fn on_message(&mut self, now: Instant, message: &[u8], link: &mut Link, finished: &mut Finished<Id>) {
        self.decoder.push(message);
        loop {
            let reply = match self.decoder.next() {
                Ok(Some(reply)) => reply,
                Ok(None) => return,
                Err(_) => break,
            };
            let Some(mut pending) = self.sent.pop_front() else {
                break;
            };
            if !self.leaving {
                self.backoff.succeeded();
                self.leaving = self.replace_at.is_some_and(|at| at <= now);
            }
            self.bodies -= usize::from(pending.with_body && self.bodies > 0);
            if pending.is_to_be_sent_elsewhere(now, &reply) {
                // All calls that the guard refuses on one stream count as one failure of the stream.
                if !std::mem::replace(&mut self.leaving, true) {
                    self.backoff.failed(now);
                }
                self.queue.push_back(pending.unsent(now));
            } else if pending.is_to_be_repeated(now, &reply) {
                pending.with_body = self.bodies == 0 && !self.leaving;
                pending.since = now;
                self.send_or_queue(pending, link);
            } else {
                finished.push((pending, Ok(reply)));
            }
            if self.leaving && self.sent.is_empty() {
                self.end(link);
                return self.give_up(CallError::Lost, finished);
            }
        }
        // The bytes are not a reply to one of these calls, so later replies on this stream cannot be assigned to calls
        // either.
        self.abandon(now, CallError::Unintelligible, link, finished);
    }

    /// The stream has ended; `status` is the gRPC status that the host reports.
    pub fn on_close(&mut self, now: Instant, status: u32, finished: &mut Finished<Id>) {
        self.id = None;
        self.backoff.failed(now);
        self.give_up(CallError::Closed(status), finished);
    }

    pub fn on_tick(
        &mut self,
        now: Instant,
        stuck_after: Duration,
        link: &mut Link,
        finished: &mut Finished<Id>,
    ) {
        if self.id.is_none() {
            self.give_up(CallError::Lost, finished);
        } else if self
            .sent
            .front()
            .is_some_and(|first| first.since + stuck_after <= now)
        {
            self.abandon(now, CallError::Lost, link, finished);
        }
        if self.id.is_none() && !self.queue.is_empty() && self.backoff.retry_at().is_none_or(|at| at <= now) {
            self.id = link.host.open();
            self.replace_at = Some(now + self.backoff.spread(self.life, self.life / 4));
            self.refused = self.id.is_none();
            if self.refused {
                self.backoff.failed(now);
            }
        }
        let unavailable = self.unavailable();
        for pending in std::mem::take(&mut self.queue) {
            if pending.deadline <= now {
                finished.push((pending, Err(unavailable)));
            } else {
                self.send_or_queue(pending, link);
            }
        }
    }

    fn unavailable(&self) -> CallError {
        match self.refused {
            true => CallError::NoCluster,
            false => CallError::Unavailable,
        }
    }

    fn send_or_queue(&mut self, mut pending: Pending<Id>, link: &mut Link) {
        if let (Some(id), false) = (self.id, self.leaving) {
            if link.send(id, &pending) {
                pending.sends += 1;
                self.bodies += usize::from(pending.with_body);
                self.sent.push_back(pending);
                return;
            }
            self.id = None;
        }
        self.queue.push_back(pending);
    }

    fn abandon(&mut self, now: Instant, reason: CallError, link: &mut Link, finished: &mut Finished<Id>) {
        if let Some(id) = self.id.take() {
            link.host.cancel(id);
        }
        self.backoff.failed(now);
        self.give_up(reason, finished);
    }

    fn give_up(&mut self, reason: CallError, finished: &mut Finished<Id>) {
        self.decoder = Decoder::default();
        self.bodies = 0;
        self.leaving = false;
        finished.extend(self.sent.drain(..).map(|pending| (pending, Err(reason))));
    }
}
