//! Whether the gateway's client has credentials and a host: when credentials are sent, and when the next attempt is made.

use super::NativeHost;
use crate::backoff::Backoff;
use crate::Refusal;
use fastrand::Rng;
use std::time::{Duration, Instant};

/// The shortest time between two transmissions of credentials, which may close connections.
const RENEW: Duration = Duration::from_secs(1);

/// The longest pause between two attempts to reach a missing cluster, so that a new one is used soon.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Session {
    initialized: bool,
    initialized_at: Option<Instant>,
    /// After refusals; reset by a call that the gateway accepts.
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

    /// Whether calls may be sent now.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.initialized && self.is_due(now)
    }

    pub fn is_to_be_initialized(&self, now: Instant) -> bool {
        !self.initialized && self.is_due(now)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.backoff.retry_at().is_none_or(|at| at <= now)
    }

    /// The earliest time of the next attempt; `None`: now.
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

    /// The gateway accepted a call.
    pub fn call_accepted(&mut self) {
        self.backoff.succeeded();
    }

    /// The gateway refused a call. A cluster that was removed has no credentials when it is added again.
    pub fn call_refused(&mut self, now: Instant, refusal: Refusal) {
        self.backoff.failed(now);
        self.initialized &= refusal != Refusal::UnknownCluster;
    }

    /// The client has lost its credentials, because an update of the cluster creates a new client. `true`: the call can be
    /// repeated, because the credentials will be sent with the next tick, or were sent after the call.
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
