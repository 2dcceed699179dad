//! One shard: the stream on which its calls go, and the breaker that says whether they are worth sending.

use super::borders::{Borders, ShardName};
use super::breaker::{self, Breaker, Change};
use super::stream::{self, Ends, Purpose, Stream};
use super::{Link, STUCK};
use crate::redis::{resp, CallError, CallToken, Completed, HashSlot, ScriptCall};
use std::time::{Duration, Instant};

/// How many keys are tried at most to find one of the shard's.
const PROBE_TRIES: u32 = 100_000;

pub(super) struct Shard {
    pub name: ShardName,
    pub stream: Stream,
    breaker: Breaker,
    /// Calls from before are none of its own.
    born: Instant,
    /// Something hints at slots or masters that have changed.
    hint: bool,
    /// It is no more; its stream ends after its last reply.
    pub retired: bool,
}

impl Shard {
    pub fn new(now: Instant, name: ShardName) -> Shard {
        Shard {
            name,
            stream: Stream::default(),
            breaker: Breaker::default(),
            born: now,
            hint: false,
            retired: false,
        }
    }

    pub fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    pub fn call(
        &mut self,
        now: Instant,
        deadline: Instant,
        token: CallToken,
        call: ScriptCall,
        link: &mut Link,
    ) -> Result<(), CallError> {
        if self.breaker.is_open() {
            return Err(CallError::BreakerOpen);
        }
        self.stream.call(now, deadline, Purpose::Call(token), call, link)
    }

    /// A call sent at `since` got no reply in its time.
    pub fn timed_out(&mut self, now: Instant, since: Instant) {
        if since >= self.born {
            let change = self.breaker.timed_out(now, since);
            self.note(change);
        }
    }

    /// The same for one that was under way while the worker itself stood still.
    pub fn timed_out_in_stall(&mut self, now: Instant, since: Instant, timeout: Duration) {
        if since >= self.born {
            let change = self.breaker.timed_out_in_stall(now, since, timeout);
            self.note(change);
        }
    }

    /// Sends a probe where one is due: a script that no node knows, on a key of this shard's own. Nothing is run and
    /// nothing is stored; the answer NOSCRIPT shows that the node is there.
    pub fn probe(
        &mut self,
        now: Instant,
        timeout: Duration,
        index: usize,
        borders: &Borders,
        prefix: &str,
        link: &mut Link,
    ) {
        self.hint |= self.breaker.probe_overdue(now, timeout);
        if !self.breaker.probe(now) {
            return;
        }
        let key = (0..PROBE_TRIES)
            .map(|n| format!("{prefix}:probe:{n}"))
            .find(|key| borders.shard(HashSlot::of(key.as_bytes())) == index);
        let sent = key.is_some_and(|key| {
            let mut tail = Vec::new();
            resp::bulk(&mut tail, b"1");
            resp::bulk(&mut tail, key.as_bytes());
            let call = ScriptCall {
                slot: HashSlot::of(key.as_bytes()),
                parts: 2,
                tail,
            };
            self.stream
                .call(now, now + timeout, Purpose::Probe, call, link)
                .is_ok()
        });
        if !sent {
            self.breaker.probed(now, false);
        }
    }

    /// Whether something hinted at slots or masters that have changed, since this was last asked.
    pub fn take_hint(&mut self) -> bool {
        std::mem::take(&mut self.hint)
    }

    /// When a tick is wanted. A retired shard asks for one at once when its last reply has come, so as to end.
    pub fn wakeup(&self, timeout: Duration) -> Option<Instant> {
        let stream = self.stream.wakeup(timeout + STUCK);
        match self.retired {
            true => stream.or(Some(self.born)),
            false => [stream, self.breaker.wakeup(timeout)].into_iter().flatten().min(),
        }
    }

    /// What was under way on the stream has come to an end.
    pub fn ended(&mut self, now: Instant, ends: &mut Ends, completed: &mut Vec<Completed>) {
        let mut lost = false;
        for (pending, reply) in ends.drain(..) {
            let in_time = pending.deadline > now;
            let failed = reply.as_ref().map_or(true, breaker::is_failure);
            self.hint |= reply.as_ref().is_ok_and(breaker::is_about_slots);
            match pending.purpose {
                Purpose::Probe => {
                    let well = matches!(&reply, Ok(reply) if stream::is_noscript(reply));
                    self.breaker.probed(now, in_time && well);
                    self.hint |= !well;
                }
                Purpose::Call(token) => {
                    match &reply {
                        Err(CallError::Unavailable) => {}
                        Err(_) => lost = true,
                        // Late ones have been noted as timed out.
                        Ok(_) if !in_time && failed => {}
                        Ok(_) if !in_time => self.breaker.answered_late(now),
                        Ok(_) if failed => {
                            let change = self.breaker.failed(now);
                            self.note(change);
                        }
                        Ok(_) => {
                            let change = self.breaker.answered(now);
                            self.note(change);
                        }
                    }
                    completed.push(Completed {
                        token,
                        call: pending.call,
                        reply,
                    });
                }
            }
        }
        // However many calls a stream takes with it, it has broken once.
        if lost {
            let change = self.breaker.failed(now);
            self.note(change);
        }
    }

    fn note(&mut self, change: Option<Change>) {
        let shown = &self.name.shown;
        match change {
            Some(Change::Opened { run }) => {
                self.hint = true;
                log::warn!("headgate: {shown} does not count, after {run} failure(s) in a row; until it answers again, on_error decides for its callers at once");
            }
            Some(Change::Closed) => log::info!("headgate: {shown} counts again"),
            None => {}
        }
    }
}
