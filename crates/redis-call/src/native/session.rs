//! Whether the gateway's client has its credentials and a host: when it is told, and how soon it is asked again.

use super::NativeHost;
use crate::backoff::Backoff;
use crate::Refusal;
use fastrand::Rng;
use std::time::{Duration, Instant};

/// Credentials are given again no more often than this, as that may close connections.
const RENEW: Duration = Duration::from_secs(1);

/// The longest between two attempts at a cluster that is not there: a new one is soon in use.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Session {
    initialized: bool,
    initialized_at: Option<Instant>,
    /// After refusals; a call that was taken ends them.
    backoff: Backoff,
}

impl Session {
    pub fn new(rng: Rng) -> Self {
        Session {
            initialized: false,
            initialized_at: None,
            backoff: Backoff::up_to(LONGEST_PAUSE, rng),
        }
    }

    pub fn is_initialized(&self) -> bool {
        self.initialized
    }

    /// Calls may be sent now.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.initialized && self.is_due(now)
    }

    pub fn is_to_be_initialized(&self, now: Instant) -> bool {
        !self.initialized && self.is_due(now)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.backoff.retry_at().is_none_or(|at| at <= now)
    }

    /// The earliest moment for another attempt; `None`: now.
    pub fn retry_at(&self) -> Option<Instant> {
        self.backoff.retry_at()
    }

    pub fn init(&mut self, now: Instant, host: &impl NativeHost) -> Result<(), Refusal> {
        let result = host.init();
        self.initialized = result.is_ok();
        match result {
            Ok(()) => self.initialized_at = Some(now),
            Err(_) => self.backoff.failed(now),
        }
        result
    }

    /// A call was taken.
    pub fn call_accepted(&mut self) {
        self.backoff.succeeded();
    }

    /// A call was refused. A cluster that has gone comes back, if at all, without credentials.
    pub fn call_refused(&mut self, now: Instant, refusal: Refusal) {
        self.backoff.failed(now);
        self.initialized &= refusal != Refusal::UnknownCluster;
    }

    /// The client has lost its credentials: an update of the cluster makes it a new one. `true`: they are given
    /// again with the next tick, or were since the call was sent, and the call is worth repeating.
    pub fn renew(&mut self, now: Instant, sent: Instant) -> bool {
        if !self.initialized {
            return true;
        }
        match self.initialized_at {
            Some(initialized_at) if sent < initialized_at => true,
            Some(initialized_at) if now < initialized_at + RENEW => false,
            _ => {
                self.initialized = false;
                true
            }
        }
    }
}
