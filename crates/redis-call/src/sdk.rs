//! Adapters for filters that are written with the Rust SDK of proxy-wasm: both roles on the SDK's host calls.
//!
//! The root context of the filter holds a [`Redis`]; the root context of the guard holds a [`Listener`]. Three rules:
//!
//! - Run the two roles in two VMs (two `vm_id`s). In one VM, opening a stream would call the module while it is inside a
//!   host call.
//! - Streams are opened in [`Redis::on_tick`], and so belong to the root context. An HTTP context ends with its request.
//! - Call [`enter`] before the root context resumes or answers a paused request.

use crate::client::{Client, Ended};
use crate::grpc::grpc_service;
use crate::guard::{frame_header, CommandName, Inbound, Refused, Rules, Throttle, Violation};
use crate::{Call, CallError, Gauges, Notice, Settings, StreamHost, StreamId};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, StreamContext};
use proxy_wasm::types::{Action, BufferType, LogLevel};
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The shortest tick period; the host has a resolution of one millisecond.
const SHORTEST_TICK: Duration = Duration::from_millis(1);

/// gRPC streams to one cluster of Envoy.
pub struct GrpcStreams {
    service: String,
}

impl GrpcStreams {
    /// `cluster` is the name of the cluster.
    pub fn new(cluster: &str) -> GrpcStreams {
        GrpcStreams {
            service: grpc_service(cluster),
        }
    }
}

impl StreamHost for GrpcStreams {
    fn open(&self) -> Option<StreamId> {
        let opened = hostcalls::open_grpc_stream(&self.service, "redis_call.RedisCall", "Call", Vec::new());
        opened.ok().map(StreamId)
    }

    fn send(&self, stream: StreamId, message: &[u8]) -> bool {
        hostcalls::send_grpc_stream_message(stream.0, Some(message), false).is_ok()
    }

    fn cancel(&self, stream: StreamId) {
        let _is_gone = hostcalls::cancel_grpc_stream(stream.0);
    }
}

/// Makes the following host calls apply to `context`. Call it in the root context before you resume or answer a request.
/// `false`: the context has been deleted.
pub fn enter(context: u32) -> bool {
    hostcalls::set_effective_context(context).is_ok()
}

/// The Redis client of one root context. It uses the root context's ticks.
pub struct Redis<Id> {
    client: Client<GrpcStreams, Id>,
}

impl<Id> Redis<Id> {
    /// `cluster` is the cluster whose endpoint is the internal listener with the guard and `redis_proxy`.
    pub fn new(cluster: &str, settings: Settings) -> Redis<Id> {
        let host = GrpcStreams::new(cluster);
        Redis {
            client: Client::new(Instant::now(), fastrand::Rng::new(), host, settings),
        }
    }

    /// Sends a call. `id` is returned when the call ends.
    ///
    /// # Errors
    /// The call has ended: it was not sent and will not be.
    pub fn call(&mut self, id: Id, call: Call) -> Result<(), CallError> {
        let now = Instant::now();
        let sent = self.client.call(now, id, call);
        self.plan_tick(now);
        sent
    }

    /// Call it in the root context's `on_tick`. Returns the calls that have ended.
    pub fn on_tick(&mut self) -> Vec<Ended<Id>> {
        let now = Instant::now();
        let ended = self.client.on_tick(now);
        self.after(now, ended)
    }

    /// Call it in the root context's `on_grpc_stream_message`. Returns the calls that have ended.
    pub fn on_grpc_stream_message(&mut self, token: u32, size: usize) -> Vec<Ended<Id>> {
        let message = hostcalls::get_buffer(BufferType::GrpcReceiveBuffer, 0, size);
        let now = Instant::now();
        let message = message.ok().flatten().unwrap_or_default();
        let ended = self.client.on_message(now, StreamId(token), &message);
        self.after(now, ended)
    }

    /// Call it in the root context's `on_grpc_stream_close`. Returns the calls that have ended.
    pub fn on_grpc_stream_close(&mut self, token: u32, status: u32) -> Vec<Ended<Id>> {
        let now = Instant::now();
        let ended = self.client.on_close(now, StreamId(token), status);
        self.after(now, ended)
    }

    /// The current state, for metrics.
    pub fn gauges(&self) -> Gauges {
        self.client.gauges()
    }

    fn after(&mut self, now: Instant, ended: Vec<Ended<Id>>) -> Vec<Ended<Id>> {
        while let Some(notice) = self.client.poll_notice() {
            log_notice(&notice);
        }
        self.plan_tick(now);
        ended
    }

    fn plan_tick(&self, now: Instant) {
        let period = self.client.wakeup().map_or(Duration::ZERO, |at| {
            at.saturating_duration_since(now).max(SHORTEST_TICK)
        });
        let _stays_as_it_was = hostcalls::set_tick_period(period);
    }
}

fn log_notice(notice: &Notice) {
    let level = match notice.level() {
        crate::Level::Info => LogLevel::Info,
        crate::Level::Warn => LogLevel::Warn,
    };
    let _is_not_logged = hostcalls::log(level, &format!("redis-call: {notice}"));
}

/// The guard of one listener in front of `redis_proxy`; held by the root context of that role.
#[derive(Clone)]
pub struct Listener {
    rules: Rc<Rules>,
    /// One for refused commands, one for violations.
    reports: Rc<[RefCell<Throttle>; 2]>,
    started: Instant,
}

impl Listener {
    /// `rules` apply to all connections.
    pub fn new(rules: Rules) -> Listener {
        Listener {
            rules: Rc::new(rules),
            reports: Rc::default(),
            started: Instant::now(),
        }
    }

    /// The stream context of a new connection.
    pub fn connection(&self) -> Connection {
        Connection {
            inbound: Some(Inbound::new(Rc::clone(&self.rules))),
            listener: self.clone(),
            out: Vec::new(),
        }
    }

    fn refused(&self, commands: u32, name: CommandName) {
        let [refused, _] = &*self.reports;
        self.report(refused, LogLevel::Warn, commands, &format_args!("refused {name}"));
    }

    fn violated(&self, violation: Violation) {
        let [_, violations] = &*self.reports;
        self.report(violations, LogLevel::Error, 1, &violation);
    }

    /// Logs `events` events, with one line a second at most.
    fn report(&self, throttle: &RefCell<Throttle>, level: LogLevel, events: u32, text: &dyn fmt::Display) {
        let admitted = throttle.borrow_mut().admit(self.started.elapsed(), events);
        if let Some(silenced) = admitted {
            let line = format!("redis-call: {text} (and {silenced} more since the last such line)");
            let _is_not_logged = hostcalls::log(level, &line);
        }
    }
}

/// One connection between a filter's stream and `redis_proxy`. After a violation, it forwards no more data.
pub struct Connection {
    /// `None` after a violation.
    inbound: Option<Inbound>,
    listener: Listener,
    out: Vec<u8>,
}

impl Connection {
    /// Puts the bytes to be forwarded into `out`; `None`: no more data is forwarded on this connection.
    fn receive(&mut self, bytes: &[u8]) -> Option<()> {
        self.out.clear();
        match self.inbound.as_mut()?.receive(bytes, &mut self.out) {
            Ok(Refused { count, last }) => {
                if let Some(name) = last {
                    self.listener.refused(count, name);
                }
                Some(())
            }
            // The SDK cannot close a connection within one of its events. The filter cancels the stream soon.
            Err(violation) => {
                self.out.clear();
                self.inbound = None;
                self.listener.violated(violation);
                None
            }
        }
    }
}

impl Context for Connection {}

impl StreamContext for Connection {
    fn on_downstream_data(&mut self, size: usize, _end_of_stream: bool) -> Action {
        if size == 0 {
            return Action::Continue;
        }
        let bytes = self.get_downstream_data(0, size).unwrap_or_default();
        let passes = self.receive(&bytes);
        self.set_downstream_data(0, size, &self.out);
        match passes {
            Some(()) => Action::Continue,
            None => Action::Pause,
        }
    }

    fn on_upstream_data(&mut self, size: usize, _end_of_stream: bool) -> Action {
        if let (Ok(len), true) = (u32::try_from(size), size > 0) {
            // Before the first byte.
            self.set_upstream_data(0, 0, &frame_header(len));
        }
        Action::Continue
    }
}
