//! gRPC streams of the host, as the Redis call's streams need them.

use super::worker::Worker;
use crate::abi::buffer::Buffer;
use crate::abi::grpc;
use crate::config::Policy;
use crate::drill::STREAM_LIFE;
use crate::redis::{Script, Settings, StreamHost, StreamId, Streams};
use crate::waiting::CallToken;
use std::time::Instant;

/// Streams to one cluster.
pub struct GrpcStreams {
    service: String,
}

/// The road to Redis in this artifact.
pub type Road = Streams<GrpcStreams, CallToken>;

pub fn road(policy: &Policy, script: Script) -> Road {
    let mut settings = Settings::new(&policy.redis.key_prefix);
    settings.script = script;
    settings.max_in_flight = policy.redis.max_in_flight;
    settings.timeout = policy.redis.timeout;
    settings.stream_life = STREAM_LIFE.unwrap_or(settings.stream_life);
    let host = GrpcStreams::new(&policy.redis.cluster);
    Streams::new(Instant::now(), fastrand::Rng::new(), host, settings)
}

impl Worker {
    /// A message of `size` bytes, which the host keeps during the callback only.
    pub fn on_message(&self, stream: u32, size: usize) {
        if let Some(message) = Buffer::GrpcReceive.read(size) {
            self.on_road(|road, now, completed| road.on_message(now, StreamId(stream), &message, completed));
        }
    }

    pub fn on_close(&self, stream: u32, status: u32) {
        self.on_road(|road, now, completed| road.on_close(now, StreamId(stream), status, completed));
    }
}

impl GrpcStreams {
    pub fn new(cluster: &str) -> GrpcStreams {
        GrpcStreams {
            service: grpc_service(cluster),
        }
    }
}

impl StreamHost for GrpcStreams {
    fn open(&self) -> Option<StreamId> {
        grpc::open(self.service.as_bytes(), "headgate.RedisCall", "Call").map(StreamId)
    }

    fn send(&self, stream: StreamId, message: &[u8]) -> bool {
        grpc::send(stream.0, message)
    }

    fn cancel(&self, stream: StreamId) {
        grpc::cancel(stream.0);
    }
}

/// `envoy.config.core.v3.GrpcService {envoy_grpc: {cluster_name}}` in protobuf. Envoy takes a bare name as well, but
/// only where it does not happen to parse as such a message.
fn grpc_service(cluster: &str) -> String {
    match u8::try_from(cluster.len() + 2) {
        Ok(outer) if outer < 0x80 => {
            let mut message = String::from("\x0a");
            message.push(char::from(outer));
            message.push('\x0a');
            message.push(char::from(outer - 2));
            message + cluster
        }
        _ => cluster.to_owned(),
    }
}
