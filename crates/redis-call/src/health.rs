//! The health of one shard (or of a single Redis), from its replies and timeouts: the state of its circuit breaker, and
//! a notice when it opens or closes.

use super::breaker::{self, Breaker, Change};
use super::pending::{self, Finished, Purpose};
use super::{CallError, Completed, NO_REPLY};
use crate::notice::Notice;
use crate::resp::Value;
use fastrand::Rng;
use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::time::{Duration, Instant};

pub(super) struct Health {
    breaker: Breaker,
    /// A reply or a timeout suggests that slots or masters have changed.
    hint: bool,
    notices: VecDeque<Notice>,
}

impl Health {
    pub fn new(rng: Rng) -> Health {
        Health {
            breaker: Breaker::new(rng),
            hint: false,
            notices: VecDeque::new(),
        }
    }

    /// The circuit breaker is open: no calls are sent.
    pub fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// A call sent at `since` got no reply within its timeout. `shard` is the name for the log.
    pub fn timed_out(&mut self, now: Instant, since: Instant, shard: &str) {
        let change = self.breaker.timed_out(now, since);
        self.note(change, shard, &NO_REPLY);
    }

    /// Like [`Health::timed_out`], for a call that was in flight while the worker itself was blocked. `timeout` is the
    /// timeout of a call.
    pub fn timed_out_in_stall(&mut self, now: Instant, since: Instant, timeout: Duration, shard: &str) {
        let change = self.breaker.timed_out_in_stall(now, since, timeout);
        self.note(change, shard, &NO_REPLY);
    }

    /// Whether to send a probe now. `true` marks it as sent.
    pub fn probe(&mut self, now: Instant, timeout: Duration) -> bool {
        self.hint |= self.breaker.probe_overdue(now, timeout);
        self.breaker.probe(now)
    }

    /// The probe could not be sent.
    pub fn no_probe(&mut self, now: Instant) {
        self.breaker.probed(now, false);
    }

    /// Whether slots or masters may have changed since the last call of this function.
    pub fn take_hint(&mut self) -> bool {
        std::mem::take(&mut self.hint)
    }

    /// Notices that have not been taken yet, oldest first.
    pub fn notices(&mut self) -> &mut VecDeque<Notice> {
        &mut self.notices
    }

    /// When the next tick is needed.
    pub fn wakeup(&self, timeout: Duration) -> Option<Instant> {
        self.breaker.wakeup(timeout)
    }

    /// Calls and probes have ended. Appends the calls to `completed`.
    pub fn ended<Id>(
        &mut self,
        now: Instant,
        finished: &mut Finished<Id>,
        shard: &str,
        completed: &mut Vec<Completed<Id>>,
    ) {
        let mut lost = None;
        for (pending, reply) in finished.drain(..) {
            let in_time = pending.deadline > now;
            let failed = reply.as_ref().map_or(true, breaker::is_failure);
            self.hint |= reply.as_ref().is_ok_and(breaker::is_about_slots);
            match pending.purpose {
                Purpose::Probe => {
                    let well = matches!(&reply, Ok(reply) if pending::is_noscript(reply));
                    // A late one has been counted as failed, and another probe may be in flight.
                    if in_time {
                        self.breaker.probed(now, well);
                    }
                    self.hint |= !well;
                }
                Purpose::Call(id) => {
                    match &reply {
                        Err(CallError::Unavailable | CallError::NoCluster | CallError::TooEarly) => {}
                        Err(error) => lost = Some(*error),
                        // It is the guard that answered, not the shard.
                        Ok(reply) if pending::is_refusal(reply) => {}
                        // Late replies have been counted as timeouts already.
                        Ok(_) if !in_time && failed => {}
                        Ok(_) if !in_time => self.breaker.answered_late(now),
                        Ok(reply) if failed => {
                            let change = self.breaker.failed(now);
                            self.note(change, shard, &Answer(reply));
                        }
                        Ok(reply) => {
                            let change = self.breaker.answered(now);
                            self.note(change, shard, &Answer(reply));
                        }
                    }
                    completed.push(Completed {
                        id,
                        call: pending.call,
                        reply,
                    });
                }
            }
        }
        // A broken connection is one failure, however many calls are lost with it.
        if let Some(error) = lost {
            let change = self.breaker.failed(now);
            self.note(change, shard, &error);
        }
    }

    /// Queues a notice for a change. `why` is the last failure.
    fn note(&mut self, change: Option<Change>, shard: &str, why: &dyn Display) {
        match change {
            Some(Change::Opened { failures }) => {
                self.hint = true;
                self.notices.push_back(Notice::BreakerOpened {
                    shard: shard.to_owned(),
                    failures,
                    reason: why.to_string(),
                });
            }
            Some(Change::Closed) => self.notices.push_back(Notice::BreakerClosed {
                shard: shard.to_owned(),
            }),
            None => {}
        }
    }
}

/// Formats an error reply for the log.
struct Answer<'a>(&'a Value);

impl Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Error(text) => write!(f, "\"{}\"", String::from_utf8_lossy(text)),
            _ => f.write_str("a reply"),
        }
    }
}
