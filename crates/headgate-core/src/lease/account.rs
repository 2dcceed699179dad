//! One counter's permits in hand, and how busy it is. Knows nothing of what the counter is.

use super::{LeaseEvent, LEAST};
use crate::limit::Verdict;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A refused taking is not tried again before this, nor later than that.
const NOT_BEFORE: Duration = Duration::from_millis(50);
const NOT_AFTER: Duration = Duration::from_secs(1);

/// Of what is known to be left, a lease takes one part in so many: less than it could, as others take meanwhile.
const PARTS_OF_LEFT: u64 = 8;

/// What holds for the leases of a counter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Requests, for one lease.
    pub most: u64,
    pub life: Duration,
}

/// What one call took.
#[derive(Debug)]
struct Batch {
    /// Requests.
    calls: u64,
    until: Instant,
}

#[derive(Debug)]
pub(super) struct Account {
    /// Index into the policy's limits.
    limit: usize,
    /// Of one request.
    cost: u64,
    /// In the order in which they were taken; none is empty.
    batches: VecDeque<Batch>,
    /// Requests that the last lease was for; 0: there was none of late.
    last: u64,
    /// What Redis said of the counter, and when it was asked.
    standing: Option<(Instant, Verdict)>,
    /// Requests since then.
    calls: u64,
    since: Instant,
    /// A call is under way.
    taking: bool,
    not_before: Instant,
    /// Permits left in Redis, and until when that is believed.
    left: Option<(u64, Instant)>,
}

impl Account {
    pub fn new(now: Instant, limit: usize, cost: u64) -> Account {
        Account {
            limit,
            cost,
            batches: VecDeque::new(),
            last: 0,
            standing: None,
            calls: 0,
            since: now,
            taking: false,
            not_before: now,
            left: None,
        }
    }

    /// Drops what may no longer be spent.
    pub fn expire(&mut self, now: Instant, events: &mut Vec<LeaseEvent>) {
        while self.batches.front().is_some_and(|batch| batch.until <= now) {
            let calls = self.batches.pop_front().map_or(0, |batch| batch.calls);
            events.push(LeaseEvent::Unspent {
                limit: self.limit,
                permits: calls.saturating_mul(self.cost),
            });
        }
    }

    /// After [`Account::expire`].
    pub fn has_permits(&self) -> bool {
        !self.batches.is_empty()
    }

    /// Spends one request's permits: the oldest in hand.
    pub fn spend(&mut self, now: Instant) -> Option<Verdict> {
        let batch = self.batches.front_mut()?;
        batch.calls = batch.calls.saturating_sub(1);
        if batch.calls == 0 {
            self.batches.pop_front();
        }
        self.calls += 1;
        let (asked, standing) = self.standing?;
        let reset =
            Duration::from_millis(standing.reset_ms).saturating_sub(now.saturating_duration_since(asked));
        Some(Verdict {
            remaining: standing
                .remaining
                .saturating_add(self.in_hand().saturating_mul(self.cost)),
            reset_ms: reset.as_millis() as u64,
            ..standing
        })
    }

    /// A request came that Redis is asked for.
    pub fn note(&mut self, now: Instant, bounds: &Bounds) {
        if self.batches.is_empty() && !self.taking && now.saturating_duration_since(self.since) > bounds.life
        {
            (self.since, self.calls, self.last) = (now, 0, 0);
        }
        self.calls += 1;
    }

    /// For how many requests permits are to be taken now; 0: none. Enough for half of a lease's life, and again when
    /// half of it is spent: so the next is there in time, and none outlives its use. Slow at the start, where nobody
    /// knows whether a client will stay.
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

    /// So many requests' permits were taken by a call that was sent at `sent`.
    pub fn taken(
        &mut self,
        sent: Instant,
        until: Instant,
        calls: u64,
        standing: &Verdict,
        events: &mut Vec<LeaseEvent>,
    ) {
        self.taking = false;
        self.last = calls;
        self.standing = Some((sent, *standing));
        self.left = Some((standing.remaining, until));
        self.batches.push_back(Batch { calls, until });
        events.push(LeaseEvent::Taken {
            limit: self.limit,
            permits: calls.saturating_mul(self.cost),
        });
    }

    /// There was not enough left for so many.
    pub fn refused(&mut self, sent: Instant, standing: &Verdict) {
        self.taking = false;
        let until = sent + Duration::from_millis(standing.wait_ms).clamp(NOT_BEFORE, NOT_AFTER);
        self.left = Some((standing.remaining, until));
        // A smaller one may do at once.
        if standing.remaining / PARTS_OF_LEFT < LEAST.saturating_mul(self.cost) {
            self.not_before = until;
        }
    }

    /// Nobody knows what became of it: what it may have taken is not spent.
    pub fn failed(&mut self, not_before: Instant) {
        self.taking = false;
        self.not_before = not_before;
    }

    /// Whether nothing would be lost with it.
    pub fn is_idle(&self, now: Instant, after: Duration) -> bool {
        let idle = now.saturating_duration_since(self.since) > after && now >= self.not_before;
        idle && self.batches.is_empty() && !self.taking
    }

    fn in_hand(&self) -> u64 {
        self.batches.iter().map(|batch| batch.calls).sum()
    }
}
