//! The transport on Higress: the gateway's own Redis client, with one command per call.
//!
//! This file decides when credentials are sent to the client, which commands are sent, and how a reply is handled. The
//! service is one Redis, or a proxy in front of a cluster: the client selects a host without regard to the key. So there
//! is one circuit breaker. Replies are identified by a token. Calls cannot be cancelled, so late replies arrive too. The
//! host is a trait, so that everything is tested natively.

mod session;
#[cfg(test)]
mod tests;

use super::health::Health;
use super::pending::{probe, Finished, Pending, Purpose};
use super::resp::{self, Value};
use super::{Call, CallError, Completed, Gauges, HashSlot, Notice, RedisCall, Refusal, Settings};
use fastrand::Rng;
use session::Session;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How much longer than a caller the gateway's client waits before it closes a connection. Its timer applies to the whole
/// connection, and every command on it fails, so a short delay must not trigger it. Each caller has its own deadline.
/// source: higress-group/envoy `source/extensions/filters/network/common/redis/raw_client_impl.cc`
/// (onConnectOrOpTimeout); <https://github.com/alibaba/higress/issues/2763>
pub const STALL: Duration = Duration::from_secs(2);

/// A call without a reply ends this long after the client's own timeout, so that it no longer counts as in flight.
const FORGET_AFTER: Duration = Duration::from_secs(5);

/// The name in log lines.
const SHARD_NAME: &str = "Redis";

/// The host functions of the gateway that the transport needs.
pub trait NativeHost {
    /// Configures the service's client: credentials, database, timeout. Up to Higress 2.2.1 this closes the client's
    /// connections (<https://github.com/alibaba/higress/issues/4086>). It must not be called while a reply is handled,
    /// because the client still reads from the connection that would be closed.
    ///
    /// source: higress-group/envoy `source/common/redis/async_client_impl.cc` (initialize, PendingRequest::onResponse)
    fn init(&self) -> Result<(), Refusal>;
    /// Sends one command and returns the token of its reply.
    fn call(&self, command: &[u8]) -> Result<u32, Refusal>;
    /// Whether credentials are configured, so that [`NativeHost::init`] can send them again.
    fn has_credentials(&self) -> bool;
}

/// A call in flight.
struct InFlight<Id> {
    pending: Pending<Id>,
    /// It was repeated after the credentials had been sent again.
    renewed: bool,
}

/// The native transport of one worker.
pub struct Native<H, Id> {
    host: H,
    settings: Settings,
    probe_key: String,
    health: Health,
    session: Session,
    /// Not sent yet, because the client is not ready.
    queue: VecDeque<InFlight<Id>>,
    /// In the order in which they were sent. Replies of several hosts may come in another order.
    sent: VecDeque<(u32, InFlight<Id>)>,
    /// How many of `sent` contain the script's body.
    bodies: usize,
    finished: Finished<Id>,
    scratch: Vec<u8>,
    /// Notices that are reported once only.
    notified: Vec<Notice>,
}

impl<H: NativeHost, Id> Native<H, Id> {
    /// Sends nothing yet.
    pub fn new(mut rng: Rng, host: H, settings: Settings) -> Self {
        Native {
            host,
            probe_key: format!("{}:probe:0", settings.key_prefix),
            settings,
            health: Health::new(rng.fork()),
            session: Session::new(rng),
            queue: VecDeque::new(),
            sent: VecDeque::new(),
            bodies: 0,
            finished: Finished::new(),
            scratch: Vec::new(),
            notified: Vec::new(),
        }
    }

    /// The host, for changes before [`Native::configure`].
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.host
    }

    /// Sends the credentials to the client, once per configuration. If the gateway does not know the service yet, which
    /// can happen while the plugin is configured, the first call tries again.
    ///
    /// # Errors
    /// The gateway has no Redis functions.
    pub fn configure(&mut self, now: Instant) -> Result<(), Refusal> {
        match self.session.init(now, &self.host) {
            Err(Refusal::Unimplemented) => Err(Refusal::Unimplemented),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Handles a reply; `None`: the connection broke, or the client's timer expired. A reply to an unknown token is
    /// dropped.
    pub fn on_reply(
        &mut self,
        now: Instant,
        token: u32,
        reply: Option<&[u8]>,
        completed: &mut Vec<Completed<Id>>,
    ) {
        let Some(at) = self.sent.iter().position(|(sent, _)| *sent == token) else {
            return;
        };
        let Some((_, call)) = self.sent.remove(at) else {
            return;
        };
        self.bodies -= usize::from(call.pending.with_body && self.bodies > 0);
        match reply.map(|bytes| resp::one::reply(bytes).ok_or(CallError::Unintelligible)) {
            Some(Ok(reply)) => self.answered(now, call, reply),
            Some(Err(error)) => self.finished.push((call.pending, Err(error))),
            None => self.finished.push((call.pending, Err(CallError::Lost))),
        }
        self.health.ended(now, &mut self.finished, SHARD_NAME, completed);
    }

    fn answered(&mut self, now: Instant, mut call: InFlight<Id>, reply: Value) {
        if call.pending.is_to_be_repeated(now, &reply) {
            // One body in flight is enough for one host: the calls sent after it find the script loaded. With several
            // hosts, each needs the body: a call that fails a second time contains it.
            call.pending.with_body = self.bodies == 0 || call.pending.sends > 1;
            return self.send_or_queue(now, call);
        }
        if is(&reply, b"NOAUTH") {
            if !self.host.has_credentials() {
                self.notify_once(Notice::PasswordMissing);
            } else if !call.renewed
                && call.pending.deadline > now
                && self.session.renew(now, call.pending.since)
            {
                call.renewed = true;
                return self.queue.push_back(call);
            }
        }
        if is(&reply, b"MOVED ") {
            self.notify_once(Notice::Redirected);
        }
        self.finished.push((call.pending, Ok(reply)));
    }

    fn send_or_queue(&mut self, now: Instant, mut call: InFlight<Id>) {
        if self.session.is_ready(now) {
            self.scratch.clear();
            call.pending.encode(&self.settings.script, &mut self.scratch);
            match self.host.call(&self.scratch) {
                Ok(token) => {
                    self.session.call_accepted();
                    call.pending.sends = call.pending.sends.saturating_add(1);
                    call.pending.since = now;
                    self.bodies += usize::from(call.pending.with_body);
                    return self.sent.push_back((token, call));
                }
                Err(refusal) => {
                    self.session.call_refused(now, refusal);
                    self.notify_once(Notice::Refused(refusal));
                }
            }
        }
        self.queue.push_back(call);
    }

    fn notify_once(&mut self, notice: Notice) {
        if !self.notified.contains(&notice) {
            self.notified.push(notice.clone());
            self.health.notices().push_back(notice);
        }
    }

    fn forget_after(&self) -> Duration {
        self.settings.timeout + STALL + FORGET_AFTER
    }
}

impl<H: NativeHost, Id> RedisCall<Id> for Native<H, Id> {
    fn call(&mut self, now: Instant, deadline: Instant, id: Id, call: Call) -> Result<(), CallError> {
        // Two commands in one call would shift the replies of all other calls on the connection.
        if !call.is_one_command() {
            self.notify_once(Notice::NotOneCommand);
            return Err(CallError::Unavailable);
        }
        if self.in_flight() >= self.settings.max_in_flight {
            return Err(CallError::TooManyInFlight);
        }
        if self.health.is_open() {
            return Err(CallError::BreakerOpen);
        }
        if self.session.retry_at().is_some_and(|at| at >= deadline) {
            return Err(CallError::Unavailable);
        }
        let pending = Pending::new(now, deadline, Purpose::Call(id), call);
        self.send_or_queue(
            now,
            InFlight {
                pending,
                renewed: false,
            },
        );
        Ok(())
    }

    fn timed_out(&mut self, now: Instant, since: Instant, _slot: HashSlot) {
        self.health.timed_out(now, since, SHARD_NAME);
    }

    fn timed_out_in_stall(&mut self, now: Instant, since: Instant, _slot: HashSlot) {
        self.health
            .timed_out_in_stall(now, since, self.settings.timeout, SHARD_NAME);
    }

    fn wakeup(&self) -> Option<Instant> {
        let queue = self.queue.front().map(|first| {
            let retry = self.session.retry_at().unwrap_or(first.pending.since);
            retry.min(first.pending.deadline)
        });
        let sent = self
            .sent
            .front()
            .map(|(_, first)| first.pending.since + self.forget_after());
        [queue, sent, self.health.wakeup(self.settings.timeout)]
            .into_iter()
            .flatten()
            .min()
    }

    fn on_tick(&mut self, now: Instant, completed: &mut Vec<Completed<Id>>) {
        if self.health.probe(now, self.settings.timeout) {
            let call = probe(&self.probe_key);
            let pending = Pending::new(now, now + self.settings.timeout, Purpose::Probe, call);
            self.queue.push_back(InFlight {
                pending,
                renewed: false,
            });
        }
        let forget = self.forget_after();
        let overdue = |(_, call): &(u32, InFlight<Id>)| call.pending.since + forget <= now;
        while self.sent.front().is_some_and(overdue) {
            let Some((_, call)) = self.sent.pop_front() else {
                break;
            };
            self.bodies -= usize::from(call.pending.with_body && self.bodies > 0);
            self.finished.push((call.pending, Err(CallError::Lost)));
        }
        if !self.queue.is_empty() && self.session.is_to_be_initialized(now) {
            if let Err(refusal) = self.session.init(now, &self.host) {
                self.notify_once(Notice::Refused(refusal));
            }
        }
        for call in std::mem::take(&mut self.queue) {
            match call.pending.deadline <= now {
                true => self.finished.push((call.pending, Err(CallError::Unavailable))),
                false => self.send_or_queue(now, call),
            }
        }
        self.health.ended(now, &mut self.finished, SHARD_NAME, completed);
    }

    fn in_flight(&self) -> usize {
        self.queue.len() + self.sent.len()
    }

    fn gauges(&self) -> Gauges {
        Gauges {
            streams_open: usize::from(self.session.is_initialized()),
            calls_in_flight: self.in_flight(),
            breakers_open: usize::from(self.health.is_open()),
        }
    }

    fn poll_notice(&mut self) -> Option<Notice> {
        self.health.notices().pop_front()
    }
}

fn is(reply: &Value, kind: &[u8]) -> bool {
    matches!(reply, Value::Error(text) if text.starts_with(kind))
}
