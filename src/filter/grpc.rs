//! The transport to Redis over gRPC streams of the host.

use super::worker::Worker;
use crate::abi::buffer::Buffer;
use crate::abi::grpc;
use crate::engine::CallId;
use crate::model::Policy;
use crate::redis::{grpc_service, Settings, StreamHost, StreamId, Streams};
use fastrand::Rng;
use std::time::Instant;

/// Streams to one cluster.
pub struct GrpcStreams {
    service: String,
}

/// The transport of this artifact.
pub type StreamTransport = Streams<GrpcStreams, CallId>;

pub fn transport(policy: &Policy, now: Instant, random: Rng, settings: Settings) -> StreamTransport {
    let streams = GrpcStreams {
        service: grpc_service(&policy.redis.cluster),
    };
    Streams::new(now, random, streams, settings)
}

impl Worker {
    /// Handles a message of `size` bytes. The message must be read during the callback: the host drops it afterwards.
    pub fn on_message(&self, stream: u32, size: usize) {
        if let Some(message) = Buffer::GrpcReceive.read(size) {
            self.on_transport(move |streams, now, completed| {
                streams.on_message(now, StreamId(stream), &message, completed);
            });
        }
    }

    pub fn on_close(&self, stream: u32, status: u32) {
        self.on_transport(move |streams, now, completed| {
            streams.on_close(now, StreamId(stream), status, completed);
        });
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
