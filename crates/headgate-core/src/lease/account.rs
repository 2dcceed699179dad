//! The unspent permits of one counter, and how busy the counter is. It is independent of what the counter limits.

use super::{LeaseEvent, LEAST};
use crate::limit::Verdict;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The shortest and the longest time before a refused lease request is retried.
const NOT_BEFORE: Duration = Duration::from_millis(50);
const NOT_AFTER: Duration = Duration::from_secs(1);

/// A lease takes at most this fraction of the known remaining permits, as other workers take permits meanwhile.
const PARTS_OF_LEFT: u64 = 8;

/// The bounds of a counter's leases.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The largest lease, in requests.
    pub most: u64,
    pub life: Duration,
}

/// The permits that one lease request took.
#[derive(Debug)]
struct Batch {
    /// In requests.
    calls: u64,
    until: Instant,
}

#[derive(Debug)]
pub(super) struct Account {
    /// Index into the policy's limits.
    limit: usize,
    /// The cost of one request.
    cost: u64,
    /// In the order in which they were taken. None of them is empty.
    batches: VecDeque<Batch>,
    /// The size of the last lease, in requests; 0: no recent lease.
    last: u64,
    /// The last verdict from Redis, and when the call was sent.
    last_verdict: Option<(Instant, Verdict)>,
    /// Requests since `since`.
    calls: u64,
    since: Instant,
    /// A lease request is in flight.
    taking: bool,
    not_before: Instant,
    /// The permits that are left in Redis, and the time until which this figure is used.
    left: Option<(u64, Instant)>,
}

impl Account {
    pub fn new(now: Instant, limit: usize, cost: u64) -> Account {
        Account {
            limit,
            cost,
            batches: VecDeque::new(),
            last: 0,
            last_verdict: None,
            calls: 0,
            since: now,
            taking: false,
            not_before: now,
            left: None,
        }
    }

    /// Drops expired permits.
    pub fn expire(&mut self, now: Instant, events: &mut Vec<LeaseEvent>) {
        while self.batches.front().is_some_and(|batch| batch.until <= now) {
            let calls = self.batches.pop_front().map_or(0, |batch| batch.calls);
            events.push(LeaseEvent::Unspent {
                limit: self.limit,
                permits: calls.saturating_mul(self.cost),
            });
        }
    }

    /// Whether there are permits. Call [`Account::expire`] before.
    pub fn has_permits(&self) -> bool {
        !self.batches.is_empty()
    }

    /// Spends the oldest permits on one request.
    pub fn spend(&mut self, now: Instant) -> Option<Verdict> {
        let batch = self.batches.front_mut()?;
        batch.calls = batch.calls.saturating_sub(1);
        if batch.calls == 0 {
            self.batches.pop_front();
        }
        self.calls += 1;
        let (asked, verdict) = self.last_verdict?;
        let reset =
            Duration::from_millis(verdict.reset_ms).saturating_sub(now.saturating_duration_since(asked));
        Some(Verdict {
            remaining: verdict
                .remaining
                .saturating_add(self.in_hand().saturating_mul(self.cost)),
            reset_ms: reset.as_millis() as u64,
            ..verdict
        })
    }

    /// Notes a request that is sent to Redis.
    pub fn note(&mut self, now: Instant, bounds: &Bounds) {
        if self.batches.is_empty() && !self.taking && now.saturating_duration_since(self.since) > bounds.life
        {
            (self.since, self.calls, self.last) = (now, 0, 0);
        }
        self.calls += 1;
    }

    /// The size of the lease to request now, in requests; 0: none. A lease has permits for half of its life, and the
    /// next lease is requested when half of the permits are spent. So the next lease arrives in time, and few permits
    /// expire unspent. The first leases are small, because a new client may send only a few requests.
    pub fn take(&mut self, now: Instant, bounds: &Bounds) -> u64 {
        let in_hand = self.in_hand();
        let fresh = self.last == 0;
        if self.taking || now < self.not_before || 2 * in_hand > self.last || fresh && self.calls < LEAST {
            return 0;
        }
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let elapsed = micros(now.saturating_duration_since(self.since)).max(1);
        let expected = self.calls.saturating_mul(micros(bounds.life)) / elapsed / 2;
        let grown = self.calls.saturating_mul(if fresh { 1 } else { 2 });
        let left = self.left.filter(|(_, until)| now < *until);
        let left = left.map_or(u64::MAX, |(left, _)| left / PARTS_OF_LEFT / self.cost.max(1));
        let calls = expected.min(grown).min(left).min(bounds.most);
        if calls < LEAST {
            return 0;
        }
        (self.taking, self.since, self.calls) = (true, now, 0);
        calls
    }

    /// Adds the permits for `calls` requests, which were taken by the call that was sent at `sent`.
    pub fn taken(
        &mut self,
        sent: Instant,
        until: Instant,
        calls: u64,
        verdict: &Verdict,
        events: &mut Vec<LeaseEvent>,
    ) {
        self.taking = false;
        self.last = calls;
        self.last_verdict = Some((sent, *verdict));
        self.left = Some((verdict.remaining, until));
        self.batches.push_back(Batch { calls, until });
        events.push(LeaseEvent::Taken {
            limit: self.limit,
            permits: calls.saturating_mul(self.cost),
        });
    }

    /// Redis refused the lease request: not enough was left.
    pub fn refused(&mut self, sent: Instant, verdict: &Verdict) {
        self.taking = false;
        let until = sent + Duration::from_millis(verdict.wait_ms).clamp(NOT_BEFORE, NOT_AFTER);
        self.left = Some((verdict.remaining, until));
        // A smaller lease may succeed at once.
        if verdict.remaining / PARTS_OF_LEFT < LEAST.saturating_mul(self.cost) {
            self.not_before = until;
        }
    }

    /// The lease request failed. Permits that it may have taken are not used.
    pub fn failed(&mut self, not_before: Instant) {
        self.taking = false;
        self.not_before = not_before;
    }

    /// Whether the account can be dropped without loss.
    pub fn is_idle(&self, now: Instant, after: Duration) -> bool {
        let idle = now.saturating_duration_since(self.since) > after && now >= self.not_before;
        idle && self.batches.is_empty() && !self.taking
    }

    fn in_hand(&self) -> u64 {
        self.batches.iter().map(|batch| batch.calls).sum()
    }
}
