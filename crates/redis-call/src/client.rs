//! [`Streams`] with deadlines: each call ends exactly once, with its reply or with an error.
//!
//! This is for a filter that only needs replies. A filter with its own rules for deadlines, such as a rate limiter, uses
//! the transport directly.

use crate::resp::Value;
use crate::streams::{StreamHost, StreamId, Streams};
use crate::{Call, CallError, Completed, Gauges, HashSlot, Notice, RedisCall, Settings};
use fastrand::Rng;
use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

/// The pause before a call is sent again that came before Envoy knew the Redis nodes.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Why a call has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The transport ended the call.
    Call(CallError),
    /// There was no reply within [`Settings::timeout`]. Redis may still have executed the call.
    TimedOut,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Call(error) => error.fmt(f),
            Failure::TimedOut => f.write_str("timeout: no reply"),
        }
    }
}

impl std::error::Error for Failure {}

/// The end of a call.
#[derive(Debug, PartialEq)]
pub struct Ended<Id> {
    /// The id that was passed with the call.
    pub id: Id,
    /// The reply of Redis, including error replies.
    pub reply: Result<Value, Failure>,
}

/// A call that has not ended.
struct Waiting<Id> {
    number: u64,
    id: Id,
    since: Instant,
    slot: HashSlot,
}

/// Calls by streams, each with the timeout of the settings. `Id` is whatever the caller needs to go on.
pub struct Client<H, Id> {
    streams: Streams<H, u64>,
    timeout: Duration,
    next: u64,
    /// In the order of their numbers, which is the order of their deadlines.
    waiting: VecDeque<Waiting<Id>>,
    /// Calls to be sent again, and when.
    again: VecDeque<(Instant, u64, Call)>,
    completed: Vec<Completed<u64>>,
}

impl<H: StreamHost, Id> Client<H, Id> {
    /// Opens no stream yet; the first tick after a call does.
    pub fn new(now: Instant, rng: Rng, host: H, settings: Settings) -> Self {
        Client {
            timeout: settings.timeout,
            streams: Streams::new(now, rng, host, settings),
            next: 0,
            waiting: VecDeque::new(),
            again: VecDeque::new(),
            completed: Vec::new(),
        }
    }

    /// Sends a call. Another method returns its [`Ended`] later.
    ///
    /// # Errors
    /// The call has ended: it was not sent and will not be.
    pub fn call(&mut self, now: Instant, id: Id, call: Call) -> Result<(), CallError> {
        let (number, slot) = (self.next, call.slot());
        self.streams.call(now, now + self.timeout, number, call)?;
        self.next += 1;
        self.waiting.push_back(Waiting {
            number,
            id,
            since: now,
            slot,
        });
        Ok(())
    }

    /// Handles a message on a stream: one or more replies, or a part of one.
    pub fn on_message(&mut self, now: Instant, stream: StreamId, message: &[u8]) -> Vec<Ended<Id>> {
        self.streams.on_message(now, stream, message, &mut self.completed);
        self.ended(now)
    }

    /// Handles the end of a stream; `status` is the gRPC status that the host reports.
    pub fn on_close(&mut self, now: Instant, stream: StreamId, status: u32) -> Vec<Ended<Id>> {
        self.streams.on_close(now, stream, status, &mut self.completed);
        self.ended(now)
    }

    /// Opens streams, sends queued calls, and ends the calls whose timeout has passed. Call it at [`Client::wakeup`] or
    /// more often.
    pub fn on_tick(&mut self, now: Instant) -> Vec<Ended<Id>> {
        self.streams.on_tick(now, &mut self.completed);
        let mut ended = self.ended(now);
        while self.again.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, number, call)) = self.again.pop_front() else {
                break;
            };
            let deadline = match self.find(number) {
                Some(at) => self.waiting.get(at).map(|waiting| waiting.since + self.timeout),
                None => None,
            };
            if let Some(deadline) = deadline.filter(|deadline| *deadline > now) {
                if let Err(error) = self.streams.call(now, deadline, number, call) {
                    ended.extend(self.end(number, Err(Failure::Call(error))));
                }
            }
        }
        let timeout = self.timeout;
        let is_over = |waiting: &Waiting<Id>| waiting.since + timeout <= now;
        while self.waiting.front().is_some_and(is_over) {
            let Some(waiting) = self.waiting.pop_front() else {
                break;
            };
            self.streams.timed_out(now, waiting.since, waiting.slot);
            ended.push(Ended {
                id: waiting.id,
                reply: Err(Failure::TimedOut),
            });
        }
        ended
    }

    /// When [`Client::on_tick`] must be called next; `None`: not before another event.
    pub fn wakeup(&self) -> Option<Instant> {
        let deadline = self.waiting.front().map(|first| first.since + self.timeout);
        let again = self.again.front().map(|(at, ..)| *at);
        [deadline, again, self.streams.wakeup()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The current state, for metrics.
    pub fn gauges(&self) -> Gauges {
        self.streams.gauges()
    }

    /// See [`RedisCall::poll_notice`].
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.streams.poll_notice()
    }

    /// Takes the calls that the transport has completed. Those that came too early are sent again.
    fn ended(&mut self, now: Instant) -> Vec<Ended<Id>> {
        let mut ended = Vec::new();
        for done in std::mem::take(&mut self.completed) {
            match done.reply {
                Err(CallError::TooEarly) => self.again.push_back((now + RETRY_PAUSE, done.id, done.call)),
                reply => ended.extend(self.end(done.id, reply.map_err(Failure::Call))),
            }
        }
        ended
    }

    /// `None`: the call has timed out before.
    fn end(&mut self, number: u64, reply: Result<Value, Failure>) -> Option<Ended<Id>> {
        let at = self.find(number)?;
        let id = self.waiting.remove(at)?.id;
        Some(Ended { id, reply })
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.waiting
            .binary_search_by_key(&number, |waiting| waiting.number)
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// The streams that were opened, and what was sent on each.
    type RecordingHost = Rc<RefCell<Vec<String>>>;

    impl StreamHost for RecordingHost {
        fn open(&self) -> Option<StreamId> {
            self.borrow_mut().push(String::new());
            Some(StreamId(self.borrow().len() as u32 - 1))
        }
        fn send(&self, stream: StreamId, message: &[u8]) -> bool {
            self.borrow_mut()[stream.0 as usize].push_str(&String::from_utf8_lossy(message));
            true
        }
        fn cancel(&self, _stream: StreamId) {}
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn incr() -> Call {
        Call::command(b"visits:a", &[b"INCR", b"visits:a"])
    }

    /// A client and the one stream for calls, which is open.
    fn client() -> (RecordingHost, Instant, Client<RecordingHost, &'static str>) {
        let (host, now) = (RecordingHost::default(), Instant::now());
        let mut client = Client::new(now, Rng::with_seed(1), host.clone(), Settings::new("visits"));
        client.call(now, "first", incr()).unwrap();
        assert_eq!(client.wakeup(), Some(now));
        assert_eq!(client.on_tick(now), []);
        (host, now, client)
    }

    fn reply(
        client: &mut Client<RecordingHost, &'static str>,
        now: Instant,
        text: &str,
    ) -> Vec<Ended<&'static str>> {
        client.on_message(now, StreamId(0), text.as_bytes())
    }

    #[test]
    fn a_plain_command_is_sent_as_it_is_and_ends_with_its_reply() {
        let (host, now, mut client) = client();
        assert_eq!(host.borrow()[0], "*2\r\n$4\r\nINCR\r\n$8\r\nvisits:a\r\n");
        let ended = reply(&mut client, now, ":41\r\n");
        assert_eq!(
            ended,
            [Ended {
                id: "first",
                reply: Ok(Value::Int(41))
            }]
        );
        assert_eq!(client.gauges().calls_in_flight, 0);
    }

    #[test]
    fn a_call_ends_at_its_deadline_and_its_late_reply_is_dropped() {
        let (_, now, mut client) = client();
        client.call(now + ms(50), "second", incr()).unwrap();
        assert_eq!(client.on_tick(now + ms(99)), []);
        let timed_out = Err(Failure::TimedOut);
        assert_eq!(
            client.on_tick(now + ms(100)),
            [Ended {
                id: "first",
                reply: timed_out
            }]
        );
        let ended = reply(&mut client, now + ms(120), ":1\r\n:2\r\n");
        assert_eq!(
            ended,
            [Ended {
                id: "second",
                reply: Ok(Value::Int(2))
            }]
        );
        assert_eq!(client.on_tick(now + ms(200)), []);
    }

    #[test]
    fn a_noscript_error_of_a_plain_command_is_its_reply() {
        let (_, now, mut client) = client();
        let ended = reply(&mut client, now, "-NOSCRIPT x\r\n");
        assert_eq!(ended.len(), 1);
    }

    #[test]
    fn a_call_before_envoy_knows_redis_is_sent_again() {
        let (host, now, mut client) = client();
        assert_eq!(reply(&mut client, now, "-no upstream host\r\n"), []);
        assert_eq!(client.on_tick(now + ms(10)), []);
        assert_eq!(host.borrow()[0].matches("INCR").count(), 2);
        let ended = reply(&mut client, now + ms(20), ":1\r\n");
        assert_eq!(
            ended,
            [Ended {
                id: "first",
                reply: Ok(Value::Int(1))
            }]
        );
    }

    #[test]
    fn a_stream_that_closes_ends_its_calls_with_the_status() {
        let (_, now, mut client) = client();
        let ended = client.on_close(now, StreamId(0), 14);
        let lost = Err(Failure::Call(CallError::Closed(14)));
        assert_eq!(
            ended,
            [Ended {
                id: "first",
                reply: lost
            }]
        );
    }
}
