//! The service behind Envoy: returns the request as JSON, or answers as configured.

use super::digest;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{json, Value};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Upstreams outlive the runtime of the test that started them, as an Envoy may be shared.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
});

/// An HTTP/1.1 and HTTP/2 (prior knowledge) server on a loopback port; ends when the last clone is dropped.
#[derive(Clone)]
pub struct Upstream {
    pub port: u16,
    state: Arc<State>,
}

struct State {
    requests: AtomicU64,
    answer: Mutex<Option<Value>>,
    last: Mutex<Value>,
    accept: Mutex<Option<tokio::task::AbortHandle>>,
}

impl Upstream {
    pub fn start() -> Upstream {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port for the upstream");
        listener.set_nonblocking(true).expect("a non-blocking listener");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::new(State {
            requests: AtomicU64::new(0),
            answer: Mutex::new(None),
            last: Mutex::new(Value::Null),
            accept: Mutex::new(None),
        });
        let weak = Arc::downgrade(&state);
        let accept = RUNTIME.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let weak = weak.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let state = weak.upgrade();
                        async move { Ok::<_, Infallible>(serve(request, state.as_deref()).await) }
                    });
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        *state.accept.lock().expect("unpoisoned") = Some(accept.abort_handle());
        Upstream { port, state }
    }

    /// How many requests have reached it.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// The headers of the latest request: `{method, path, headers: [[name, value], …]}`. Its answer reports
    /// `{trailers: [[name, value], …], body: {length, digest}}` as well, or `broken` where it did not come whole.
    pub fn last(&self) -> Value {
        self.state.last.lock().expect("unpoisoned").clone()
    }

    /// What every request gets from now on: `{status, headers: {…} or [[name, value], …], body, delay_ms}`, each
    /// optional. Without `body` it is the request as JSON. The request header `x-test-answer` does the same for one request.
    pub fn answer(&self, answer: Value) {
        *self.state.answer.lock().expect("unpoisoned") = Some(answer);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(accept) = self.accept.lock().ok().and_then(|mut accept| accept.take()) {
            accept.abort();
        }
    }
}

async fn serve(request: hyper::Request<Incoming>, state: Option<&State>) -> hyper::Response<Full<Bytes>> {
    let mut seen = json!({"method": request.method().as_str(), "path": request.uri().path_and_query().map(|p| p.as_str()),
        "headers": pairs(request.headers())});
    let configured = request
        .headers()
        .get("x-test-answer")
        .and_then(|v| serde_json::from_slice(v.as_bytes()).ok());
    let answer: Value = match (configured, state) {
        (Some(answer), _) => answer,
        (None, Some(state)) => state
            .answer
            .lock()
            .expect("unpoisoned")
            .clone()
            .unwrap_or_default(),
        (None, None) => Value::Null,
    };
    if let Some(state) = state {
        state.requests.fetch_add(1, Ordering::SeqCst);
        *state.last.lock().expect("unpoisoned") = seen.clone();
    }
    match request.into_body().collect().await {
        Ok(body) => {
            let trailers = body.trailers().cloned().unwrap_or_default();
            seen["trailers"] = pairs(&trailers);
            let body = body.to_bytes();
            seen["body"] = json!({"length": body.len(), "digest": digest(&body)});
        }
        Err(error) => seen["broken"] = json!(error.to_string()),
    }
    if let Some(delay) = answer["delay_ms"].as_u64() {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let mut response = hyper::Response::builder().status(answer["status"].as_u64().unwrap_or(200) as u16);
    match &answer["headers"] {
        Value::Object(headers) => {
            for (name, value) in headers {
                response = response.header(name, text(value));
            }
        }
        Value::Array(headers) => {
            for pair in headers {
                response = response.header(text(&pair[0]), text(&pair[1]));
            }
        }
        _ => response = response.header("content-type", "application/json"),
    }
    let body = if answer["body"].is_null() {
        seen.to_string()
    } else {
        text(&answer["body"])
    };
    response
        .body(Full::new(Bytes::from(body)))
        .expect("an answer that is valid HTTP")
}

fn pairs(headers: &HeaderMap) -> Value {
    let pair = |(name, value): (&HeaderName, &HeaderValue)| {
        json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
    };
    headers.iter().map(pair).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
