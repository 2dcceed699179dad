//! The gateway's state for its VM.

use super::client::{Cluster, Event};
use super::http::Exchange;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

#[derive(Default)]
pub struct State {
    /// The context for which the VM is called, and the effective context of its host calls (0: the same).
    pub current: u32,
    pub effective: u32,
    pub configuration: Vec<u8>,
    /// `NAME=value`.
    pub environment: Vec<String>,
    pub log: Vec<String>,
    pub shared: HashMap<Vec<u8>, (Vec<u8>, u32)>,
    pub metrics: Vec<(String, i64)>,
    /// The root context of each context, its own included.
    pub roots: HashMap<u32, u32>,
    /// Which root context waits for which reply.
    pub callers: HashMap<u32, u32>,
    /// Period and next moment, by root context.
    pub ticks: HashMap<u32, (Duration, Instant)>,
    pub exchanges: HashMap<u32, Exchange>,
    pub clusters: HashMap<String, Cluster>,
    /// Ends of Redis calls that are delivered when the VM does not run.
    pub events: VecDeque<Event>,
    /// The reply, while it is delivered.
    pub reply: Option<Vec<u8>>,
    /// Contexts whose connections were closed.
    pub closed: Vec<u32>,
    pub inits: Vec<Init>,
    pub tokens: u32,
    pub unimplemented: bool,
}

/// One `proxy_redis_init`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    pub service: String,
    pub username: String,
    pub password: String,
    pub timeout: Duration,
    pub status: u32,
}

impl State {
    /// The context to which host calls apply.
    pub fn context(&self) -> u32 {
        match self.effective {
            0 => self.current,
            other => other,
        }
    }

    /// Its root context.
    pub fn root(&self) -> u32 {
        self.roots[&self.context()]
    }

    /// The request to which host calls apply.
    pub fn exchange(&mut self) -> Option<&mut Exchange> {
        let context = self.context();
        self.exchanges.get_mut(&context)
    }
}
