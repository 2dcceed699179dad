//! The network role: moves bytes between Envoy's buffers and the guard, and counts and logs refused commands.

use crate::abi::buffer::{close_downstream, Buffer};
use crate::abi::host;
use crate::abi::FilterStatus;
use crate::redis::Script;
use crate::telemetry::meter::{Meter as _, MetricKind};
use redis_call::guard::{frame_header, Inbound, Refused, Rules, Throttle};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Instant;

/// A buffer with a larger capacity than this, in bytes, is shrunk after use.
const KEPT_BUFFER: usize = 64 << 10;

/// The state that the connections of one Redis call listener share on one worker.
pub struct Listener {
    rules: Rc<Rules>,
    reports: Rc<Reports>,
}

impl Listener {
    /// `key_prefix` does not include the colon; `scripts` may be called. Defines the metrics, so call it in
    /// `on_configure`.
    pub fn new(key_prefix: &str, scripts: &'static [Script]) -> Listener {
        Listener {
            rules: Rc::new(Rules::new(&format!("{key_prefix}:"), scripts)),
            reports: Rc::new(Reports::new()),
        }
    }

    /// The context of a new connection.
    pub fn connection(&self) -> Connection {
        Connection {
            inbound: Cell::new(Some(Inbound::new(Rc::clone(&self.rules)))),
            reports: Rc::clone(&self.reports),
            out: Cell::default(),
        }
    }
}

/// Counters and log lines of all connections.
struct Reports {
    refused: Report,
    closed: Report,
    started: Instant,
}

struct Report {
    /// The counter's id; `None`: Envoy did not define it.
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
            counter: host::Metrics.define(MetricKind::Counter, name),
            throttle: RefCell::default(),
        }
    }

    /// Counts `events`. `Some`: write a log line; the number of other events since the previous line.
    fn count(&self, events: u32, started: Instant) -> Option<u64> {
        if let Some(id) = self.counter {
            host::Metrics.add(id, i64::from(events));
        }
        self.throttle
            .try_borrow_mut()
            .ok()?
            .admit(started.elapsed(), events)
    }
}

/// One connection. The host calls the module while it closes a connection, so all fields are cells.
pub struct Connection {
    /// `None` after the decision to close the connection: no more data is forwarded.
    inbound: Cell<Option<Inbound>>,
    reports: Rc<Reports>,
    out: Cell<Vec<u8>>,
}

impl Connection {
    /// Closes the connection. Data that still arrives is dropped.
    fn close(&self, size: usize, why: &dyn fmt::Display) -> FilterStatus {
        self.reports.closed(why);
        Buffer::Downstream.replace(size, &[]);
        close_downstream();
        FilterStatus::StopIteration
    }

    pub fn on_downstream_data(&self, size: usize) -> FilterStatus {
        if size == 0 {
            return FilterStatus::Continue;
        }
        // An early return does not put it back.
        let Some(mut inbound) = self.inbound.take() else {
            Buffer::Downstream.replace(size, &[]);
            return FilterStatus::StopIteration;
        };
        let Some(bytes) = Buffer::Downstream.read(size) else {
            return self.close(size, &"its data cannot be read");
        };
        #[cfg(feature = "fault-injection")]
        crate::fault_injection::panic_on(&bytes, b"headgate-fault-redis-call");
        let mut out = self.out.take();
        out.clear();
        match inbound.receive(&bytes, &mut out) {
            Ok(refused) => self.reports.refused(refused),
            Err(violation) => return self.close(size, &violation),
        }
        if !Buffer::Downstream.replace(size, &out) {
            return self.close(size, &"its data cannot be replaced");
        }
        out.shrink_to(KEPT_BUFFER);
        self.out.set(out);
        self.inbound.set(Some(inbound));
        FilterStatus::Continue
    }

    pub fn on_upstream_data(&self, size: usize) {
        if let (Ok(len), true) = (u32::try_from(size), size > 0) {
            // Before the first byte.
            Buffer::Upstream.replace(0, &frame_header(len));
        }
    }
}
