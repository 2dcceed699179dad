//! The caller: requests over HTTP/1.1 and HTTP/2, and raw bytes.

use super::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::Method;
use hyper_util::client::legacy::{connect::HttpConnector, Client as Pool};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A pool of connections to one port. Belongs to the runtime of the test that first uses it.
#[derive(Clone)]
pub struct Client {
    pool: Pool<HttpConnector, Body>,
    port: u16,
}

impl Client {
    pub fn http1(port: u16) -> Client {
        Client::new(port, false)
    }

    /// By prior knowledge, without TLS.
    pub fn http2(port: u16) -> Client {
        Client::new(port, true)
    }

    fn new(port: u16, http2: bool) -> Client {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Client {
            pool: Pool::builder(TokioExecutor::new())
                .http2_only(http2)
                .build(connector),
            port,
        }
    }

    pub fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    pub fn request(&self, method: &str, path: &str) -> Request {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let (client, path) = (self.clone(), path.to_owned());
        Request {
            client,
            method,
            path,
            headers: HeaderMap::new(),
            body: Body::default(),
        }
    }
}

/// A request to be sent. To hang up in the middle, drop the future: `timeout(ms, request.send())`.
#[derive(Clone)]
pub struct Request {
    client: Client,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Body,
}

impl Request {
    /// Adds a header; a name given twice is sent twice. Values may hold any bytes but controls.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        self.headers.append(
            name,
            HeaderValue::from_bytes(value.as_ref()).expect("a header value"),
        );
        self
    }

    pub fn body(self, body: impl Into<Bytes>) -> Request {
        self.carrying(Body::whole(body))
    }

    /// The same in pieces, with trailers.
    pub fn carrying(mut self, body: Body) -> Request {
        self.body = body;
        self
    }

    /// Sends it; panics where no response comes at all.
    pub async fn send(self) -> Response {
        let what = format!("{} {}", self.method, self.path);
        self.try_send()
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    pub async fn try_send(self) -> Result<Response, String> {
        let uri = format!("http://127.0.0.1:{}{}", self.client.port, self.path);
        let mut request = hyper::Request::builder()
            .method(self.method)
            .uri(uri)
            .body(self.body)
            .map_err(spell)?;
        *request.headers_mut() = self.headers;
        let start = Instant::now();
        let response = self.client.pool.request(request).await.map_err(spell)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(spell)?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let (status, headers, body) = (head.status.as_u16(), head.headers, body.to_bytes());
        Ok(Response {
            status,
            headers,
            trailers,
            body,
            elapsed: start.elapsed(),
        })
    }
}

/// An error with all its causes.
fn spell(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub trailers: HeaderMap,
    pub body: Bytes,
    /// From sending to the end of the body.
    pub elapsed: Duration,
}

impl Response {
    /// The header's value; several are joined by a comma.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// The header as a number; `None` where it is missing or is not a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.header(name)?.parse().ok()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// A header of the request as the upstream saw it; several are joined by a comma.
    pub fn upstream_header(&self, name: &str) -> Option<String> {
        let seen = self.json();
        let pairs = seen["headers"]
            .as_array()
            .expect("an answer of the harness's upstream");
        let values: Vec<&str> = pairs
            .iter()
            .filter(|p| p[0] == name)
            .filter_map(|p| p[1].as_str())
            .collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// The upstream saw these headers as the caller does.
    pub fn assert_same_upstream(&self, names: &[&str]) {
        for name in names {
            assert_eq!(
                self.upstream_header(name),
                self.header(name),
                "{name} at the upstream"
            );
        }
    }
}

/// The names of the limits that were applied, in the policy's order, as the header `RateLimit-Policy` lists them.
pub fn limits_named_in(policy_header: &str) -> Vec<String> {
    let names = policy_header
        .split(", ")
        .filter_map(|item| item.split('"').nth(1));
    names.map(str::to_owned).collect()
}

/// How many were let through; all others were denied.
pub fn passes(responses: &[Response]) -> usize {
    let of = |status: u16| {
        responses
            .iter()
            .filter(|response| response.status == status)
            .count()
    };
    let statuses = || {
        responses
            .iter()
            .map(|response| response.status)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(200) + of(429), responses.len(), "{:?}", statuses());
    of(200)
}

/// One TCP connection on which bytes go out as they are; reads HTTP/1.1 responses that have a Content-Length.
pub struct RawConnection {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl RawConnection {
    pub async fn open(port: u16) -> RawConnection {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("a connection");
        let _ = stream.set_nodelay(true);
        RawConnection {
            stream,
            buffer: Vec::new(),
        }
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// The next bytes, whatever they are; empty at the end.
    pub async fn read(&mut self) -> io::Result<Vec<u8>> {
        if self.buffer.is_empty() {
            self.stream.read_buf(&mut self.buffer).await?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// The next response: status, head and body. The connection's end in the middle of one is an error.
    pub async fn receive(&mut self) -> io::Result<(u16, String, Vec<u8>)> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                let status = head
                    .get(9..12)
                    .and_then(|digits| digits.parse().ok())
                    .unwrap_or(0);
                let length = head
                    .lines()
                    .filter_map(|line| line.split_once(':'))
                    .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                    .and_then(|(_, value)| value.trim().parse::<usize>().ok())
                    .unwrap_or(0);
                let whole = end + 4 + length;
                if self.buffer.len() >= whole {
                    let body = self.buffer[end + 4..whole].to_vec();
                    self.buffer.drain(..whole);
                    return Ok((status, head, body));
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
