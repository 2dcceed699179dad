//! One stream: calls go out and replies come back in the same order.
//!
//! A caller that has gone away keeps its place in that order; its reply finds nobody. Where a node does not know
//! the script, one call on the stream carries the body and the others are sent again behind it. Where the guard at
//! the other end does not take the script, or the stream is old, it ends after its last reply and calls go on the next.

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
    /// How long a stream is used, and by chance up to a quarter more.
    life: Duration,
    /// When another is to take its place.
    replace_at: Option<Instant>,
    backoff: Backoff,
    /// The host did not open it when it was asked last.
    refused: bool,
    /// Not sent yet, because the stream is not open.
    queue: VecDeque<Pending<Id>>,
    /// Sent, in the order in which replies come. Outlives the stream until the next tick, which gives them up.
    sent: VecDeque<Pending<Id>>,
    /// How many of `sent` carry the body.
    bodies: usize,
    /// It is to end after its last reply, and what is not sent yet waits for the next one.
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

    /// Nothing is under way, nor waits to be sent.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.sent.is_empty()
    }

    /// Ends an idle stream; no reply can be lost with it.
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

    /// When this stream wants a tick: to be opened, to give up what waits for that, or to be found stuck.
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
                // However many calls the guard refuses, it is one stream that has failed.
                if !std::mem::replace(&mut self.leaving, true) {
                    self.backoff.failed(now);
                }
                self.queue.push_back(pending.anew(now));
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
        // What came is no answer to what was asked: nothing on this stream can be trusted any more.
        self.abandon(now, CallError::Unintelligible, link, finished);
    }

    /// The host says that it ended, with this gRPC status.
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
