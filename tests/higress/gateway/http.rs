//! Requests that pass the filter, and their responses.

use super::{Gateway, PATIENCE};
use std::collections::HashMap;
use std::time::Instant;

pub type Headers = Vec<(String, String)>;

/// The statuses that the module may return for a request's headers.
/// source: proxy-wasm-cpp-host `include/proxy-wasm/context.h` (FilterHeadersStatus)
const CONTINUE: u32 = 0;
const STOP_ALL: u32 = 4;

/// A request, and the upstream's response to it.
#[derive(Debug, Clone)]
pub struct Request {
    pub headers: Headers,
    pub address: String,
    pub answer: Headers,
}

impl Request {
    pub fn get(path: &str) -> Request {
        let own = [
            (":method", "GET"),
            (":path", path),
            (":authority", "test"),
            (":scheme", "http"),
        ];
        Request {
            headers: own
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            address: "127.0.0.1:50000".to_owned(),
            answer: Vec::new(),
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A request in progress, as the module's host calls see it.
#[derive(Default)]
pub struct Exchange {
    pub request: Headers,
    pub response: Headers,
    pub filter_state: HashMap<String, String>,
    pub address: String,
    answer: Headers,
    pub local: Option<LocalReply>,
    pub resumed: bool,
    since: Option<Instant>,
}

pub struct LocalReply {
    pub status: u32,
    pub headers: Headers,
    pub body: String,
}

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u32,
    pub headers: Headers,
    pub body: String,
    /// The request headers that reached the upstream; `None`: the request did not.
    pub upstream: Option<Headers>,
    /// The filter state, which the access log can show.
    pub filter_state: HashMap<String, String>,
    pub elapsed: std::time::Duration,
}

pub fn value<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}

impl Gateway {
    /// Sends one request and waits for its response.
    pub fn send(&mut self, request: Request) -> Response {
        self.send_all(vec![request]).remove(0)
    }

    /// Sends the requests at once. The responses are in the same order.
    pub fn send_all(&mut self, requests: Vec<Request>) -> Vec<Response> {
        let contexts: Vec<u32> = requests.into_iter().map(|request| self.open(request)).collect();
        let responses = contexts.into_iter().map(|context| self.wait(context));
        responses.collect()
    }

    /// Sends a request without waiting. Returns its context number.
    pub fn open(&mut self, request: Request) -> u32 {
        self.open_under(self.root, request)
    }

    /// The same with an earlier configuration, as on a connection that is still open.
    pub fn open_under(&mut self, root: u32, request: Request) -> u32 {
        self.next_context += 1;
        let context = self.next_context;
        let headers = request.headers.len() as u32;
        let exchange = Exchange {
            request: request.headers,
            address: request.address,
            answer: request.answer,
            since: Some(Instant::now()),
            ..Exchange::default()
        };
        self.state().exchanges.insert(context, exchange);
        self.state().roots.insert(context, root);
        self.vm::<(u32, u32), ()>(context, "proxy_on_context_create", (context, root));
        let status: u32 = self.vm(context, "proxy_on_request_headers", (context, headers, 1_u32));
        match status {
            CONTINUE => self.exchange(context).resumed = true,
            STOP_ALL => {}
            other => panic!("status {other}: the body would go on before the decision"),
        }
        self.deliver();
        context
    }

    /// Runs the event loop until the request has been answered.
    pub fn wait(&mut self, context: u32) -> Response {
        let start = Instant::now();
        while !self.is_decided(context) {
            assert!(
                start.elapsed() < PATIENCE,
                "request {context} hangs:\n{}",
                self.log()
            );
            self.turn();
        }
        self.respond(context)
    }

    pub fn is_decided(&mut self, context: u32) -> bool {
        let exchange = self.exchange(context);
        exchange.resumed || exchange.local.is_some()
    }

    /// The caller hangs up while the request waits.
    pub fn hang_up(&mut self, context: u32) {
        self.end(context);
    }

    fn exchange(&mut self, context: u32) -> &mut Exchange {
        self.state()
            .exchanges
            .get_mut(&context)
            .expect("a request in progress")
    }

    fn respond(&mut self, context: u32) -> Response {
        let exchange = self.exchange(context);
        let (body, upstream) = match &mut exchange.local {
            Some(reply) => {
                exchange.response = vec![(":status".to_owned(), reply.status.to_string())];
                exchange.response.append(&mut reply.headers);
                (std::mem::take(&mut reply.body), None)
            }
            None => {
                exchange.response = vec![(":status".to_owned(), "200".to_owned())];
                exchange.response.append(&mut exchange.answer);
                (String::new(), Some(exchange.request.clone()))
            }
        };
        let headers = exchange.response.len() as u32;
        let _: u32 = self.vm(context, "proxy_on_response_headers", (context, headers, 0_u32));
        self.deliver();
        let exchange = self.end(context);
        Response {
            status: value(&exchange.response, ":status")
                .and_then(|status| status.parse().ok())
                .expect("a status"),
            headers: exchange.response,
            body,
            upstream,
            filter_state: exchange.filter_state,
            elapsed: exchange.since.expect("a start").elapsed(),
        }
    }

    fn end(&mut self, context: u32) -> Exchange {
        self.vm::<u32, ()>(context, "proxy_on_delete", context);
        self.deliver();
        self.state().roots.remove(&context);
        self.state()
            .exchanges
            .remove(&context)
            .expect("a request in progress")
    }
}
