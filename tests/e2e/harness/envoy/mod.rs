//! A running Envoy with the filter. Modules: its builder, its configuration, its start and its reload; requests to it,
//! its admin interface and its logs.

mod admin;
mod builder;
mod configuration;
mod logs;
mod reload;
mod requests;
mod start;

pub use self::builder::{EnvoyBuilder, Place};

use crate::harness::{Client, Process, Upstream};
use std::path::{Path, PathBuf};

/// A running Envoy; ended when dropped.
pub struct Envoy {
    /// Where limited traffic comes in, on 127.0.0.1.
    pub port: u16,
    pub admin_port: u16,
    /// Where `expose_redis_call` put it.
    pub redis_call_port: u16,
    pub upstream: Upstream,
    pub key_prefix: String,
    client: Client,
    dir: PathBuf,
    builder: EnvoyBuilder,
    process: Process,
}

impl Envoy {
    /// Its folder: configuration, logs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Memory of the process in RAM, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.expect("a running Envoy");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
        number.expect("VmRSS in kB")
    }

    /// Whether it has not ended by itself.
    pub fn is_running(&self) -> bool {
        self.process.exited().is_none()
    }

    /// The process's.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// SIGSTOP: as when the whole machine stalls.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Ends it as an operator would, by SIGTERM.
    pub fn stop(&self) {
        self.process.terminate();
    }
}
