//! Requests to an Envoy, as a client sends them.

use super::Envoy;
use crate::harness::{Client, RawConnection, Request, Response};

impl Envoy {
    pub fn get(&self, path: &str) -> Request {
        self.client.get(path)
    }

    pub fn request(&self, method: &str, path: &str) -> Request {
        self.client.request(method, path)
    }

    /// The same port over HTTP/2.
    pub fn http2(&self) -> Client {
        Client::http2(self.port)
    }

    pub async fn raw(&self) -> RawConnection {
        RawConnection::open(self.port).await
    }

    /// Sends `count` requests at once; `request` makes the one with this number. In their order.
    pub async fn at_once(&self, count: usize, request: impl Fn(usize) -> Request) -> Vec<Response> {
        let tasks: Vec<_> = (0..count)
            .map(|number| tokio::spawn(request(number).send()))
            .collect();
        let mut responses = Vec::with_capacity(count);
        for task in tasks {
            responses.push(task.await.expect("a request's task"));
        }
        responses
    }
}
