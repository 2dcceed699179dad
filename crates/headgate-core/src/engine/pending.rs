//! Pending requests: which replies are missing, when their deadlines are, and which decisions are ready to be applied.

use super::call::RequestId;
use crate::by_number::ByNumber;
use crate::decision::Decision;
use crate::limit::Group;
use crate::protocol::Protocol;
use crate::results::{GroupError, GroupResult};
use std::collections::VecDeque;
use std::time::Instant;

/// What is known about the caller of a request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The shell's number of the request.
    pub number: u64,
    pub protocol: Protocol,
    /// Another instance has decided before this one.
    pub earlier: bool,
    /// `source:value or hash`; `None`: not identified.
    pub client: Option<String>,
}

/// A request whose results are not complete.
#[derive(Debug)]
pub struct WaitingRequest {
    pub caller: Caller,
    pub groups: Vec<Group>,
    /// For each group; `None`: not answered yet.
    pub results: Vec<Option<GroupResult>>,
    /// The last error of each call that will be retried, with the number of its part. Nearly always empty.
    pub postponed: Vec<(u16, GroupError)>,
    pub since: Instant,
    pub deadline: Instant,
}

/// A decision that is to be applied.
#[derive(Debug)]
pub struct Decided {
    pub caller: Caller,
    /// What was counted.
    pub groups: Vec<Group>,
    pub decision: Decision,
    /// How long the request waited for Redis, in µs; `None`: Redis was not asked.
    pub redis_us: Option<u64>,
}

impl WaitingRequest {
    fn is_complete(&self) -> bool {
        self.results.iter().all(Option::is_some)
    }
}

/// All pending requests of one engine.
#[derive(Debug, Default)]
pub struct PendingRequests {
    next: u64,
    waiting: ByNumber<WaitingRequest>,
    /// In the order of arrival. This is also the order of the deadlines, because all requests have the same timeout.
    deadlines: VecDeque<(Instant, RequestId)>,
    decided: ByNumber<Decided>,
    /// In the order in which the decisions were made.
    ready: VecDeque<RequestId>,
}

impl PendingRequests {
    /// A new id, which is never reused.
    pub fn new_id(&mut self) -> RequestId {
        self.next += 1;
        RequestId(self.next)
    }

    pub fn insert(&mut self, id: RequestId, waiting: WaitingRequest) {
        self.deadlines.push_back((waiting.deadline, id));
        self.waiting.insert(id.0, waiting);
    }

    /// `None`: the request is no longer pending.
    pub fn get(&self, id: RequestId) -> Option<&WaitingRequest> {
        self.waiting.get(&id.0)
    }

    /// The counters of a call; `None`: no request waits for it any more.
    pub fn group(&self, id: RequestId, part: u16) -> Option<&Group> {
        self.get(id)?.groups.get(usize::from(part))
    }

    /// Notes a result. Returns the request if its results are now complete.
    pub fn answer(&mut self, id: RequestId, part: u16, result: GroupResult) -> Option<WaitingRequest> {
        let waiting = self.waiting.get_mut(&id.0)?;
        *waiting.results.get_mut(usize::from(part))? = Some(result);
        if !waiting.is_complete() {
            return None;
        }
        let waiting = self.waiting.remove(&id.0);
        self.tidy();
        waiting
    }

    /// Stores why a call will be retried. This error is its result if the deadline comes first.
    pub fn postpone(&mut self, id: RequestId, part: u16, why: GroupError) {
        if let Some(waiting) = self.waiting.get_mut(&id.0) {
            waiting.postponed.retain(|(known, _)| *known != part);
            waiting.postponed.push((part, why));
        }
    }

    /// Drops the deadlines of ended requests from the front of the queue.
    fn tidy(&mut self) {
        let has_gone = |(_, id): &(Instant, RequestId)| !self.waiting.contains_key(&id.0);
        while self.deadlines.front().is_some_and(has_gone) {
            self.deadlines.pop_front();
        }
    }

    /// Splits the group of one call into one group for each key. Returns the numbers of the parts to call instead;
    /// empty if there is nothing to split.
    pub fn split(&mut self, id: RequestId, part: u16) -> Vec<u16> {
        let Some(waiting) = self.waiting.get_mut(&id.0) else {
            return Vec::new();
        };
        let Some(whole) = waiting.groups.get_mut(usize::from(part)) else {
            return Vec::new();
        };
        let mut groups = whole.split().into_iter();
        let Some(first) = groups.next().filter(|_| whole.keys.len() > 1) else {
            return Vec::new();
        };
        *whole = first;
        let mut parts = vec![part];
        for group in groups {
            parts.push(waiting.groups.len() as u16);
            waiting.groups.push(group);
            waiting.results.push(None);
        }
        parts
    }

    /// Removes and returns a request whose deadline has passed. A missing result becomes [`GroupError::TimedOut`], or
    /// the error because of which the call was to be retried.
    pub fn overdue(&mut self, now: Instant) -> Option<(RequestId, WaitingRequest)> {
        self.tidy();
        let (deadline, id) = *self.deadlines.front()?;
        if deadline > now {
            return None;
        }
        self.deadlines.pop_front();
        let mut waiting = self.waiting.remove(&id.0)?;
        for (part, why) in std::mem::take(&mut waiting.postponed) {
            if let Some(result) = waiting.results.get_mut(usize::from(part)) {
                result.get_or_insert(Err(why));
            }
        }
        for result in &mut waiting.results {
            result.get_or_insert(Err(GroupError::TimedOut));
        }
        Some((id, waiting))
    }

    /// The next deadline. It may belong to a request that has ended.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    /// Stores the decision on a request that was pending.
    pub fn decide(&mut self, id: RequestId, decided: Decided) {
        self.decided.insert(id.0, decided);
        self.ready.push_back(id);
    }

    /// The next decision to be applied, and the shell's number of its request.
    pub fn next_ready(&mut self) -> Option<(RequestId, u64)> {
        while let Some(id) = self.ready.pop_front() {
            if let Some(decided) = self.decided.get(&id.0) {
                return Some((id, decided.caller.number));
            }
        }
        None
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Removes and returns a decision, so that it can be applied. `None`: the caller has left.
    pub fn take_decided(&mut self, id: RequestId) -> Option<Decided> {
        self.decided.remove(&id.0)
    }

    /// Drops a request whose caller has left. Returns whether it was pending.
    pub fn leave(&mut self, id: RequestId) -> bool {
        let was = self.waiting.remove(&id.0).is_some() || self.decided.remove(&id.0).is_some();
        self.tidy();
        was
    }

    /// The number of pending requests.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.decided.len()
    }
}

#[cfg(test)]
#[path = "pending_tests.rs"]
mod tests;
