//! Requests that wait for their counts: which replies are still missing, and when their time is up.

use crate::by_number::ByNumber;
use crate::limit::Group;
use crate::redis::resp::Value;
use crate::redis::{CallError, NO_REPLY};
use crate::script::Reply;
use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

/// Tells calls apart. A token is never used again, so that the reply to a forgotten call finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallToken {
    /// The request that waits.
    pub request: u64,
    /// Which of its calls: one for each hash tag.
    pub part: u16,
}

/// What Redis said of one group of counters.
pub type GroupResult = Result<Reply, GroupError>;

/// Why a group has no verdicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupError {
    Call(CallError),
    /// Redis answered with this error.
    Redis(String),
    TimedOut,
}

/// Reads what became of a call as the counts of its group.
pub fn group_result(group: &Group, reply: Result<Value, CallError>) -> GroupResult {
    match reply {
        Err(error) => Err(GroupError::Call(error)),
        Ok(Value::Error(text)) => Err(GroupError::Redis(String::from_utf8_lossy(&text).into_owned())),
        Ok(value) => Reply::decode(group, &value).map_err(|_| GroupError::Call(CallError::Unintelligible)),
    }
}

impl GroupError {
    /// Its name in metrics.
    pub fn word(&self) -> &'static str {
        match self {
            GroupError::Call(error) => error.word(),
            GroupError::Redis(_) => "error",
            GroupError::TimedOut => "timed_out",
        }
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupError::Call(error) => error.fmt(f),
            GroupError::Redis(text) if text.contains("upstream ") => {
                write!(f, "redis_proxy answers \"{text}\"")
            }
            GroupError::Redis(text) => write!(f, "Redis answers \"{text}\""),
            GroupError::TimedOut => f.write_str(NO_REPLY),
        }
    }
}

/// A request under way; `T` is what the shell needs to wake it.
#[derive(Debug)]
pub struct Waiting<T> {
    pub caller: T,
    pub groups: Vec<Group>,
    /// `None`: not answered yet.
    pub results: Vec<Option<GroupResult>>,
    /// Of those that are to be sent again: what was said the last time. Nearly always empty.
    pub postponed: Vec<(u16, GroupError)>,
    pub since: Instant,
    pub deadline: Instant,
}

impl<T> Waiting<T> {
    fn complete(&self) -> bool {
        self.results.iter().all(Option::is_some)
    }
}

/// All requests under way in one worker.
#[derive(Debug)]
pub struct WaitingRoom<T> {
    next: u64,
    requests: ByNumber<Waiting<T>>,
    /// In the order of arrival, which is that of their deadlines: all wait equally long.
    deadlines: VecDeque<(Instant, u64)>,
}

impl<T> Default for WaitingRoom<T> {
    fn default() -> Self {
        WaitingRoom {
            next: 0,
            requests: ByNumber::default(),
            deadlines: VecDeque::new(),
        }
    }
}

impl<T> WaitingRoom<T> {
    /// A number for a request that is about to call; never given again.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn enter(&mut self, request: u64, waiting: Waiting<T>) {
        self.deadlines.push_back((waiting.deadline, request));
        self.requests.insert(request, waiting);
    }

    /// The request that waits for this token; `None`: it has gone.
    pub fn get(&self, token: CallToken) -> Option<&Waiting<T>> {
        self.requests.get(&token.request)
    }

    /// The counters that a call is about; `None`: nobody waits for it any more.
    pub fn group(&self, token: CallToken) -> Option<&Group> {
        self.get(token)?.groups.get(usize::from(token.part))
    }

    /// Notes a result; the whole request when it was the last one missing.
    pub fn answer(&mut self, token: CallToken, result: GroupResult) -> Option<Waiting<T>> {
        let waiting = self.requests.get_mut(&token.request)?;
        *waiting.results.get_mut(usize::from(token.part))? = Some(result);
        if !waiting.complete() {
            return None;
        }
        let waiting = self.requests.remove(&token.request);
        self.tidy();
        waiting
    }

    /// Notes why a call is to be sent again: that is its result, should its time be up before.
    pub fn postpone(&mut self, token: CallToken, why: GroupError) {
        if let Some(waiting) = self.requests.get_mut(&token.request) {
            waiting.postponed.retain(|(part, _)| *part != token.part);
            waiting.postponed.push((token.part, why));
        }
    }

    /// Drops the deadlines of those that have gone from the front of the queue.
    fn tidy(&mut self) {
        while self
            .deadlines
            .front()
            .is_some_and(|(_, request)| !self.requests.contains_key(request))
        {
            self.deadlines.pop_front();
        }
    }

    /// Cuts the group of one call into one for each key; the tokens under which they are to be called instead.
    /// Empty where there is nothing to cut.
    pub fn split(&mut self, token: CallToken) -> Vec<CallToken> {
        let Some(waiting) = self.requests.get_mut(&token.request) else {
            return Vec::new();
        };
        let Some(whole) = waiting.groups.get_mut(usize::from(token.part)) else {
            return Vec::new();
        };
        let mut groups = whole.split().into_iter();
        let Some(first) = groups.next().filter(|_| whole.keys.len() > 1) else {
            return Vec::new();
        };
        *whole = first;
        let mut tokens = vec![token];
        for group in groups {
            tokens.push(CallToken {
                request: token.request,
                part: waiting.groups.len() as u16,
            });
            waiting.groups.push(group);
            waiting.results.push(None);
        }
        tokens
    }

    /// Forgets a request whose caller has gone away; whether it was still waiting.
    pub fn leave(&mut self, request: u64) -> bool {
        let waited = self.requests.remove(&request).is_some();
        self.tidy();
        waited
    }

    /// Takes out a request whose time is up, what is missing being [`GroupError::TimedOut`] or why it was postponed.
    pub fn overdue(&mut self, now: Instant) -> Option<Waiting<T>> {
        self.tidy();
        let (deadline, request) = *self.deadlines.front()?;
        if deadline > now {
            return None;
        }
        self.deadlines.pop_front();
        let mut waiting = self.requests.remove(&request)?;
        for (part, why) in std::mem::take(&mut waiting.postponed) {
            if let Some(result) = waiting.results.get_mut(usize::from(part)) {
                result.get_or_insert(Err(why));
            }
        }
        for result in &mut waiting.results {
            result.get_or_insert(Err(GroupError::TimedOut));
        }
        Some(waiting)
    }

    /// The next deadline; may be that of a request that has gone.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn waiting(parts: usize, since: Instant) -> Waiting<&'static str> {
        let deadline = since + Duration::from_millis(100);
        Waiting {
            caller: "me",
            groups: vec![],
            results: vec![None; parts],
            postponed: vec![],
            since,
            deadline,
        }
    }

    /// Any result will do: the room looks into none.
    fn reply() -> GroupResult {
        Err(GroupError::Call(CallError::Lost))
    }

    #[test]
    fn a_request_is_whole_with_its_last_reply_whatever_their_order() {
        let mut room = WaitingRoom::default();
        let request = room.number();
        room.enter(request, waiting(2, Instant::now()));
        assert!(room.answer(CallToken { request, part: 1 }, reply()).is_none());
        assert_eq!(
            room.answer(CallToken { request, part: 0 }, reply())
                .unwrap()
                .caller,
            "me"
        );
        assert!(
            room.answer(CallToken { request, part: 0 }, reply()).is_none(),
            "it has gone"
        );
        assert_eq!(room.next_deadline(), None);
    }

    #[test]
    fn what_is_missing_at_the_deadline_timed_out_and_what_has_come_stays() {
        let mut room = WaitingRoom::default();
        let now = Instant::now();
        let request = room.number();
        room.enter(request, waiting(2, now));
        room.answer(CallToken { request, part: 0 }, reply());
        assert!(room.overdue(now + Duration::from_millis(99)).is_none());
        let late = room.overdue(now + Duration::from_millis(100)).unwrap();
        assert_eq!(late.results, [Some(reply()), Some(Err(GroupError::TimedOut))]);
        assert!(room.overdue(now + Duration::from_secs(9)).is_none());
    }

    #[test]
    fn what_was_postponed_until_the_deadline_says_why() {
        let mut room = WaitingRoom::default();
        let now = Instant::now();
        let request = room.number();
        room.enter(request, waiting(3, now));
        let why = || GroupError::Call(CallError::TooEarly);
        for part in [0, 1, 1] {
            room.postpone(CallToken { request, part }, why());
        }
        room.answer(CallToken { request, part: 0 }, reply());
        let late = room.overdue(now + Duration::from_millis(100)).unwrap();
        assert_eq!(
            late.results,
            [Some(reply()), Some(Err(why())), Some(Err(GroupError::TimedOut))]
        );
    }

    #[test]
    fn a_caller_that_leaves_is_forgotten_and_its_number_never_given_again() {
        let mut room = WaitingRoom::default();
        let first = room.number();
        room.enter(first, waiting(1, Instant::now()));
        assert!(room.leave(first) && !room.leave(first));
        assert!(room
            .answer(
                CallToken {
                    request: first,
                    part: 0
                },
                reply()
            )
            .is_none());
        assert_eq!(room.next_deadline(), None);
        assert_ne!(room.number(), first);
    }
}
