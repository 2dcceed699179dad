//! Two drivers for the suite: the native transport in a simulated gateway, and streams in Envoy. The suite does not depend
//! on either.

use crate::gateway::{Gateway, Request, SERVICE};
use crate::harness::{config, Envoy, SingleRedis};
use serde_json::{json, Value};
use tokio::runtime::Runtime;

/// A request of the suite.
#[derive(Debug, Clone, Default)]
pub struct Call {
    pub path: String,
    pub key: String,
    /// Headers of the upstream's response.
    pub answer: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u32,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// The request headers that reached the upstream; `None`: the request did not.
    pub upstream: Option<Vec<(String, String)>>,
}

impl Answer {
    /// A response header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, name)
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        self.header(name)?.parse().ok()
    }

    /// A request header that reached the upstream.
    pub fn upstream(&self, name: &str) -> Option<&str> {
        value(self.upstream.as_ref()?, name)
    }
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}

pub trait Driver {
    /// Sends the requests at once. The answers are in the same order.
    fn send(&mut self, calls: &[Call]) -> Vec<Answer>;
    /// The filter state `wasm.ratelimit_…` of the driver's latest request, as the access log would show it.
    fn latest(&mut self, name: &str) -> String;
}

/// The native transport.
pub struct Native {
    gateway: Gateway,
    latest: Vec<(String, String)>,
}

impl Native {
    pub fn start(redis: &SingleRedis, policy: &str) -> Native {
        let mut policy = config::parse(policy);
        policy["redis"]["native"] = json!({"service": "redis.dns:6379"});
        let gateway = Gateway::builder()
            .service(SERVICE, &[redis.port])
            .start(&policy.to_string());
        Native {
            gateway: gateway.expect("an accepted configuration"),
            latest: Vec::new(),
        }
    }
}

impl Driver for Native {
    fn send(&mut self, calls: &[Call]) -> Vec<Answer> {
        let requests = calls.iter().map(|call| {
            let mut request = Request::get(&call.path).header("x-api-key", &call.key);
            request.headers.extend(call.headers.clone());
            request.answer = call.answer.clone();
            request
        });
        self.gateway.turn();
        let responses = self.gateway.send_all(requests.collect());
        self.gateway.turn();
        let last = responses.last().expect("a response");
        self.latest = last.filter_state.clone().into_iter().collect();
        let answer = |response: crate::gateway::Response| Answer {
            status: response.status,
            headers: response.headers,
            body: response.body,
            upstream: response.upstream,
        };
        responses.into_iter().map(answer).collect()
    }

    fn latest(&mut self, name: &str) -> String {
        value(&self.latest, name).unwrap_or_default().to_owned()
    }
}

/// Streams, in Envoy.
pub struct Streams {
    envoy: Envoy,
    runtime: Runtime,
    sent: usize,
}

impl Streams {
    pub fn start(redis: &SingleRedis, policy: &str) -> Streams {
        let envoy = Envoy::with(redis).concurrency(1).policy(policy).start();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        Streams {
            envoy,
            runtime: runtime.expect("a runtime"),
            sent: 0,
        }
    }
}

impl Driver for Streams {
    fn send(&mut self, calls: &[Call]) -> Vec<Answer> {
        self.sent += calls.len();
        let envoy = &self.envoy;
        let responses = self.runtime.block_on(envoy.at_once(calls.len(), |number| {
            let call = &calls[number];
            let mut request = envoy.get(&call.path).header("x-api-key", &call.key);
            for (name, value) in &call.headers {
                request = request.header(name, value);
            }
            if !call.answer.is_empty() {
                let headers: Vec<Value> = call
                    .answer
                    .iter()
                    .map(|(name, value)| json!([name, value]))
                    .collect();
                request = request.header("x-test-answer", json!({"headers": headers}).to_string());
            }
            request
        }));
        let pairs = |list: &Value| -> Vec<(String, String)> {
            let list = list.as_array().cloned().unwrap_or_default();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            list.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
        };
        let answer = |response: crate::harness::Response| {
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            let headers = response.headers.iter();
            let seen: Option<Value> = serde_json::from_slice(&response.body).ok();
            Answer {
                status: response.status.into(),
                headers: headers
                    .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
                    .collect(),
                body: response.text(),
                upstream: seen.map(|seen| pairs(&seen["headers"])),
            }
        };
        responses.into_iter().map(answer).collect()
    }

    fn latest(&mut self, name: &str) -> String {
        let log = self.envoy.access_log(self.sent);
        log[self.sent - 1][name].as_str().unwrap_or_default().to_owned()
    }
}
