//! One stream: calls go out and replies come back in the same order.
//!
//! A caller that has gone away keeps its place in that order; its reply finds nobody. Where a node does not know
//! the script, one call on the stream carries the body and the others are sent again behind it.

use super::backoff::Backoff;
use super::{Link, StreamId};
use crate::redis::resp::{Decoder, Value};
use crate::redis::{CallError, CallToken, Completed, ScriptCall};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A call that meets so many nodes in a row without the script is given up.
const MAX_SENDS: u8 = 4;

#[derive(Default)]
pub(super) struct Stream {
    id: Option<StreamId>,
    backoff: Backoff,
    /// Not sent yet, because the stream is not open.
    queue: VecDeque<Pending>,
    /// Sent, in the order in which replies come. Outlives the stream until the next tick, which gives them up.
    sent: VecDeque<Pending>,
    /// How many of `sent` carry the body.
    bodies: usize,
    decoder: Decoder,
}

struct Pending {
    /// When it was queued or sent.
    since: Instant,
    deadline: Instant,
    token: CallToken,
    call: ScriptCall,
    with_body: bool,
    sends: u8,
}

impl Stream {
    pub fn id(&self) -> Option<StreamId> {
        self.id
    }

    pub fn call(
        &mut self,
        now: Instant,
        deadline: Instant,
        token: CallToken,
        call: ScriptCall,
        link: &mut Link,
    ) -> Result<(), CallError> {
        if self.id.is_none() && self.backoff.retry_at().is_some_and(|at| at >= deadline) {
            return Err(CallError::Unavailable);
        }
        self.send_or_queue(
            Pending {
                since: now,
                deadline,
                token,
                call,
                with_body: false,
                sends: 0,
            },
            link,
        );
        Ok(())
    }

    /// When this stream wants a tick: to be opened, to give up what waits for that, or to be found stuck.
    pub fn wakeup(&self, stuck_after: Duration) -> Option<Instant> {
        let queue = self.queue.front().map(|first| match self.backoff.retry_at() {
            Some(at) => at.min(first.deadline),
            None => first.since,
        });
        let sent = self.sent.front().map(|first| match self.id {
            Some(_) => first.since + stuck_after,
            None => first.since,
        });
        [queue, sent].into_iter().flatten().min()
    }

    pub fn on_message(
        &mut self,
        now: Instant,
        message: &[u8],
        link: &mut Link,
        completed: &mut Vec<Completed>,
    ) {
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
            self.backoff.succeeded();
            self.bodies -= usize::from(pending.with_body && self.bodies > 0);
            if is_noscript(&reply) && pending.deadline > now && pending.sends < MAX_SENDS {
                pending.with_body = self.bodies == 0;
                pending.since = now;
                self.send_or_queue(pending, link);
            } else {
                completed.push(pending.ended(Ok(reply)));
            }
        }
        // What came is no answer to what was asked: nothing on this stream can be trusted any more.
        self.abandon(now, CallError::Unintelligible, link, completed);
    }

    pub fn on_close(&mut self, now: Instant, completed: &mut Vec<Completed>) {
        self.id = None;
        self.backoff.failed(now);
        self.give_up(CallError::Lost, completed);
    }

    pub fn on_tick(
        &mut self,
        now: Instant,
        stuck_after: Duration,
        link: &mut Link,
        completed: &mut Vec<Completed>,
    ) {
        if self.id.is_none() {
            self.give_up(CallError::Lost, completed);
        } else if self
            .sent
            .front()
            .is_some_and(|first| first.since + stuck_after <= now)
        {
            self.abandon(now, CallError::Lost, link, completed);
        }
        if self.id.is_none() && !self.queue.is_empty() && self.backoff.retry_at().is_none_or(|at| at <= now) {
            self.id = link.host.open();
            if self.id.is_none() {
                self.backoff.failed(now);
            }
        }
        for pending in std::mem::take(&mut self.queue) {
            if pending.deadline <= now {
                completed.push(pending.ended(Err(CallError::Unavailable)));
            } else {
                self.send_or_queue(pending, link);
            }
        }
    }

    fn send_or_queue(&mut self, mut pending: Pending, link: &mut Link) {
        if let Some(id) = self.id {
            if link.send(id, &pending.call, pending.with_body) {
                pending.sends += 1;
                self.bodies += usize::from(pending.with_body);
                self.sent.push_back(pending);
                return;
            }
            self.id = None;
        }
        self.queue.push_back(pending);
    }

    fn abandon(&mut self, now: Instant, reason: CallError, link: &mut Link, completed: &mut Vec<Completed>) {
        if let Some(id) = self.id.take() {
            link.host.cancel(id);
        }
        self.backoff.failed(now);
        self.give_up(reason, completed);
    }

    fn give_up(&mut self, reason: CallError, completed: &mut Vec<Completed>) {
        self.decoder = Decoder::default();
        self.bodies = 0;
        completed.extend(self.sent.drain(..).map(|pending| pending.ended(Err(reason))));
    }
}

impl Pending {
    fn ended(self, reply: Result<Value, CallError>) -> Completed {
        Completed {
            token: self.token,
            call: self.call,
            reply,
        }
    }
}

fn is_noscript(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text.starts_with(b"NOSCRIPT"))
}
