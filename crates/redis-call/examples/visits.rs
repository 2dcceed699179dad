//! Counts the requests of each host in Redis: INCR through Envoy's `redis_proxy`, and the count as a response header.
//!
//! Both roles are in this module. `visits.envoy.yaml` loads it twice, in two VMs: as the HTTP filter that counts, and as
//! the guard in front of `redis_proxy`.

use proxy_wasm::traits::{Context, HttpContext, RootContext, StreamContext};
use proxy_wasm::types::{Action, ContextType};
use redis_call::guard::Rules;
use redis_call::resp::Value;
use redis_call::sdk::{enter, Listener, Redis};
use redis_call::{Call, Ended, Settings};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root(None)));
}}

/// The plugin's configuration is `guard`, or the name of the cluster whose endpoint is the guard's listener.
struct Root(Option<Role>);

enum Role {
    Filter(Rc<RefCell<Redis<Rc<Visit>>>>),
    Guard(Listener),
}

/// A request that waits for its count.
struct Visit {
    context: u32,
    count: Cell<Option<i64>>,
}

impl Root {
    /// Handles an event of the streams, and resumes the requests whose calls have ended.
    fn on_redis(&self, event: impl FnOnce(&mut Redis<Rc<Visit>>) -> Vec<Ended<Rc<Visit>>>) {
        let Some(Role::Filter(redis)) = &self.0 else {
            return;
        };
        let ended = event(&mut redis.borrow_mut());
        for Ended { id: visit, reply } in ended {
            if let Ok(Value::Int(count)) = reply {
                visit.count.set(Some(count));
            }
            if enter(visit.context) {
                let _is_gone = proxy_wasm::hostcalls::resume_http_request();
            }
        }
    }
}

impl Context for Root {
    fn on_grpc_stream_message(&mut self, token: u32, size: usize) {
        self.on_redis(|redis| redis.on_grpc_stream_message(token, size));
    }

    fn on_grpc_stream_close(&mut self, token: u32, status: u32) {
        self.on_redis(|redis| redis.on_grpc_stream_close(token, status));
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let configuration = self.get_plugin_configuration().unwrap_or_default();
        let cluster = String::from_utf8_lossy(&configuration);
        self.0 = Some(if cluster == "guard" {
            Role::Guard(Listener::new(Rules::new("visits:", &[]).allowing(&["INCR"])))
        } else {
            let mut settings = Settings::new("visits");
            settings.timeout = Duration::from_secs(1);
            Role::Filter(Rc::new(RefCell::new(Redis::new(&cluster, settings))))
        });
        true
    }

    fn on_tick(&mut self) {
        self.on_redis(Redis::on_tick);
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(match self.0 {
            Some(Role::Guard(_)) => ContextType::StreamContext,
            _ => ContextType::HttpContext,
        })
    }

    fn create_stream_context(&self, _context: u32) -> Option<Box<dyn StreamContext>> {
        let Some(Role::Guard(listener)) = &self.0 else {
            return None;
        };
        Some(Box::new(listener.connection()))
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        let Some(Role::Filter(redis)) = &self.0 else {
            return None;
        };
        let count = Cell::new(None);
        let visit = Rc::new(Visit { context, count });
        Some(Box::new(Request(Rc::clone(redis), visit)))
    }
}

struct Request(Rc<RefCell<Redis<Rc<Visit>>>>, Rc<Visit>);

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let host = self.get_http_request_header(":authority").unwrap_or_default();
        let key = format!("visits:{host}").into_bytes();
        let incr = Call::command(&key, &[b"INCR", &key]);
        match self.0.borrow_mut().call(Rc::clone(&self.1), incr) {
            Ok(()) => Action::Pause,
            // Without Redis, the request continues without a count.
            Err(_) => Action::Continue,
        }
    }

    fn on_http_response_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let count = self.1.count.get().map(|count| count.to_string());
        self.set_http_response_header("x-visits", count.as_deref());
        Action::Continue
    }
}
