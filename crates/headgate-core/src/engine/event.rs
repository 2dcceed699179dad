//! The events that the engine reports to operators. The engine itself keeps no metrics and writes no log.

use crate::decision::{CountedBy, Outcome};
use crate::lease::LeaseEvent;
use crate::limit::{Limit, Verdict};
use crate::redis::Level;
use std::collections::VecDeque;

/// The endpoint of a request whose route has no name.
pub const OTHER_ENDPOINT: &str = "other";

/// An event that becomes a metric or a log line.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A request was decided.
    Decided {
        /// The outcome.
        outcome: Outcome,
        /// Where its counters were read; `None`: not counted.
        by: Option<CountedBy>,
    },
    /// A limit gave its verdict on a request. `verdict` is `None` if the request could not be counted.
    Counted {
        /// Index into the policy's limits.
        limit: usize,
        /// `false`: the limit is in shadow mode for this client.
        enforced: bool,
        /// The verdict; `None`: it could not be counted.
        verdict: Option<Verdict>,
        /// Where the counter was read.
        by: CountedBy,
    },
    /// How long a request waited for its counts, in µs.
    Waited {
        /// The time, in µs.
        micros: u64,
    },
    /// A call ended.
    Called {
        /// The label of its outcome in metrics.
        outcome: &'static str,
        /// The label of the error that Redis or its proxy answered, if it was one.
        answer: Option<&'static str>,
    },
    /// Redis's clock was compared with Envoy's.
    Clock {
        /// How far Redis's clock is ahead, in ms; negative: behind.
        ahead_ms: i64,
    },
    /// A caller left before its request was decided.
    Abandoned,
    /// Permits were taken in advance, or expired unspent.
    Lease(LeaseEvent),
    /// A limit denied a request.
    Denied {
        /// Index into the policy's limits.
        limit: usize,
        /// The path pattern or the route.
        endpoint: Endpoint,
        /// The client, without any secret; `None`: not identified.
        client: Option<String>,
    },
    /// The number of costs that could not be read and count as 1.
    BrokenCosts(u32),
    /// A call was split into one for each key.
    SplitCall,
    /// The number of local counters that were evicted before they expired.
    Evicted(u64),
    /// A log line.
    Line(LogLine),
}

/// A log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Its level.
    pub level: Level,
    /// Its text, without a line end.
    pub text: String,
    /// Every worker reports this text, but it is logged only once.
    pub once: bool,
}

/// The endpoint of a denied request. It never contains text from the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Index into the matches of the limit: the one whose path pattern matched.
    Match(usize),
    /// The name of Envoy's route; may be empty.
    Route(Vec<u8>),
}

impl Endpoint {
    /// The name for metrics and logs; `limit`: the limit that denied.
    pub fn name<'a>(&'a self, limit: Option<&'a Limit>) -> &'a str {
        let name = match self {
            Endpoint::Match(index) => limit.and_then(|limit| limit.path_pattern(*index)),
            Endpoint::Route(route) => std::str::from_utf8(route).ok(),
        };
        name.filter(|name| !name.is_empty()).unwrap_or(OTHER_ENDPOINT)
    }
}

/// Events that the shell has not taken yet.
#[derive(Debug)]
pub(super) struct Events {
    list: VecDeque<Event>,
    /// Whether metrics are enabled. If not, only log lines are kept.
    pub metrics: bool,
}

impl Events {
    pub fn new(metrics: bool) -> Events {
        Events {
            list: VecDeque::new(),
            metrics,
        }
    }

    pub fn note(&mut self, event: Event) {
        if self.metrics {
            self.list.push_back(event);
        }
    }

    pub fn line(&mut self, level: Level, text: String) {
        self.list.push_back(Event::Line(LogLine {
            level,
            text,
            once: false,
        }));
    }

    pub fn line_once(&mut self, level: Level, text: String) {
        self.list.push_back(Event::Line(LogLine {
            level,
            text,
            once: true,
        }));
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn take(&mut self) -> Option<Event> {
        self.list.pop_front()
    }
}
