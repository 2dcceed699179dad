//! The shell of the network role: moves bytes between Envoy's buffers and the guard, counts and logs what is
//! refused. Host calls whose result the SDK would unwrap are avoided: a panic takes the worker's VM with it.

use super::{frame_header, Inbound, Refused, Rules, Throttle};
use crate::redis::Script;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, StreamContext};
use proxy_wasm::types::{Action, BufferType, MetricType};
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Instant;

/// A buffer larger than this, in bytes, is given back after use.
const KEPT_BUFFER: usize = 64 << 10;

/// What the connections of one Redis call listener share on one worker.
pub struct Listener {
    rules: Rc<Rules>,
    reports: Rc<Reports>,
}

impl Listener {
    /// `key_prefix` is without its colon; `scripts` are those that may be called. Defines the metrics: call it from
    /// `on_configure`.
    pub fn new(key_prefix: &str, scripts: &'static [Script]) -> Listener {
        Listener {
            rules: Rc::new(Rules::new(key_prefix, scripts)),
            reports: Rc::new(Reports::new()),
        }
    }

    /// The context of a new connection.
    pub fn connection(&self) -> Box<dyn StreamContext> {
        Box::new(Connection {
            inbound: Some(Inbound::new(Rc::clone(&self.rules))),
            reports: Rc::clone(&self.reports),
            out: Vec::new(),
        })
    }
}

/// Counters and log lines, for all connections.
struct Reports {
    refused: Report,
    closed: Report,
    started: Instant,
}

struct Report {
    /// The counter's id; `None` if Envoy gave none.
    counter: Option<u32>,
    throttle: RefCell<Throttle>,
}

impl Reports {
    fn new() -> Reports {
        Reports {
            refused: Report::new("headgate_redis_call_refused_total"),
            closed: Report::new("headgate_redis_call_closed_total"),
            started: Instant::now(),
        }
    }

    fn refused(&self, refused: Refused) {
        let Some(name) = refused.last else {
            return;
        };
        if let Some(silenced) = self.refused.count(refused.count, self.started) {
            log::warn!("redis call: refused {name} (and {silenced} more since the last such line)");
        }
    }

    fn closed(&self, why: &dyn fmt::Display) {
        if let Some(silenced) = self.closed.count(1, self.started) {
            log::error!(
                "redis call: connection closed: {why} (and {silenced} more since the last such line)"
            );
        }
    }
}

impl Report {
    fn new(name: &str) -> Report {
        Report {
            counter: hostcalls::define_metric(MetricType::Counter, name).ok(),
            throttle: RefCell::default(),
        }
    }

    /// `Some`: a line is due, and so many events went without one.
    fn count(&self, events: u32, started: Instant) -> Option<u64> {
        if let Some(id) = self.counter {
            let _ = hostcalls::increment_metric(id, i64::from(events));
        }
        self.throttle
            .try_borrow_mut()
            .ok()?
            .admit(started.elapsed(), events)
    }
}

struct Connection {
    /// `None` once the connection is to be closed: nothing goes through any more.
    inbound: Option<Inbound>,
    reports: Rc<Reports>,
    out: Vec<u8>,
}

impl Connection {
    /// Lets nothing more through, whatever still comes before Envoy has closed.
    fn close(&mut self, size: usize, why: &dyn fmt::Display) -> Action {
        self.inbound = None;
        self.out = Vec::new();
        self.reports.closed(why);
        let _ = hostcalls::set_buffer(BufferType::DownstreamData, 0, size, &[]);
        let _ = hostcalls::close_downstream();
        Action::Pause
    }
}

impl Context for Connection {}

impl StreamContext for Connection {
    fn on_downstream_data(&mut self, size: usize, _end_of_stream: bool) -> Action {
        if size == 0 {
            return Action::Continue;
        }
        let Some(inbound) = &mut self.inbound else {
            let _ = hostcalls::set_buffer(BufferType::DownstreamData, 0, size, &[]);
            return Action::Pause;
        };
        let Ok(Some(bytes)) = hostcalls::get_buffer(BufferType::DownstreamData, 0, size) else {
            return self.close(size, &"its data cannot be read");
        };
        #[cfg(feature = "drill")]
        crate::drill::trap_on(&bytes, b"headgate-drill-redis-call");
        self.out.clear();
        match inbound.receive(&bytes, &mut self.out) {
            Ok(refused) => self.reports.refused(refused),
            Err(violation) => return self.close(size, &violation),
        }
        if hostcalls::set_buffer(BufferType::DownstreamData, 0, size, &self.out).is_err() {
            return self.close(size, &"its data cannot be replaced");
        }
        self.out.shrink_to(KEPT_BUFFER);
        Action::Continue
    }

    fn on_upstream_data(&mut self, size: usize, _end_of_stream: bool) -> Action {
        if let (Ok(len), true) = (u32::try_from(size), size > 0) {
            let _ = hostcalls::set_buffer(BufferType::UpstreamData, 0, 0, &frame_header(len));
        }
        Action::Continue
    }
}
