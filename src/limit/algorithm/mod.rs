//! The counting algorithms: their laws in pure Rust, with time as an argument.
//!
//! They are what `counting.lua` does, for the local store and as the model that its tests compare with.

/// How a limit counts; `auto` is resolved at configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    FixedWindow {
        align: Align,
    },
    SlidingWindowLog,
    SlidingWindowCounter,
    /// `burst`: the bucket's capacity in requests; 0 where none was configured: as large as the N that holds.
    /// Its product with the period is at most 2⁵³ ms, as for N.
    Gcra {
        burst: u64,
    },
}

/// Where a fixed window begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// At multiples of the period since 1970.
    Epoch,
    /// With the first call.
    FirstCall,
    /// At multiples of the period, shifted by a phase that is drawn from the client's key.
    Client,
}

/// The word for a counter's stored form, a part of where it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    Fixed,
    Counter,
    Log,
    Gcra,
}

impl Form {
    pub fn word(self) -> &'static str {
        match self {
            Form::Fixed => "fixed",
            Form::Counter => "counter",
            Form::Log => "log",
            Form::Gcra => "gcra",
        }
    }
}

impl Algorithm {
    pub fn form(self) -> Form {
        match self {
            Algorithm::FixedWindow { .. } => Form::Fixed,
            Algorithm::SlidingWindowLog => Form::Log,
            Algorithm::SlidingWindowCounter => Form::Counter,
            Algorithm::Gcra { .. } => Form::Gcra,
        }
    }
}

/// What one counter says of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    /// The N that held (a live override may have changed it), for gcra the burst; `None`: unlimited, then `allowed`
    /// and all else 0.
    pub limit: Option<u64>,
    /// What is left after this call, in requests (or units of cost).
    pub remaining: u64,
    /// Until the whole quota is back if no further call comes, in ms.
    pub reset_ms: u64,
    /// Until a call of the same cost can pass if no further call comes, in ms; 0 when it was allowed.
    /// A call that can never pass (N is 0, or the cost is above N) gets one period.
    pub wait_ms: u64,
}
