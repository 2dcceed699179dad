//! How a limit counts, by name and parameters. The laws are in [`crate::limit::algorithm`].

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
            Form::Log => "ring",
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
