//! The counting algorithms: their laws in pure Rust, with time as an argument.
//!
//! They do the same as `counting.lua`: for the local store, and as the model that the script's tests compare with.
//! Groups of limits and storage are not handled here.
//!
//! Everything that is specific to one algorithm is in its own file, or in a table or `match` of this one: nothing
//! outside of this folder lists all algorithms.
//!
//! All arithmetic is in integers, and a count times its period is at most 2⁵³: Lua's doubles hold it exactly.
//!
//! **Time** is the store's clock, which may step. A stored time ahead of the clock is used, so that a clock set back
//! (or a failover to a slow one) grants no client a second window. A time more than a period ahead is ignored:
//! otherwise a clock that once ran a day ahead would lock callers out for a day. Waits are relative to the current
//! clock.

mod counter;
mod fixed;
mod gcra;
#[cfg(test)]
mod laws;
mod lease;
mod log;
mod terms;
mod verdict;

pub use counter::SlidingCounter;
pub use fixed::Fixed;
pub use gcra::Gcra;
pub use lease::{lease_ms, leased_period, LEASE_NEEDS};
pub use log::{Log, MAX_LOG};
pub use terms::{Mark, Terms};
pub use verdict::{Verdict, EXACT};

use verdict::{most, signed};

/// How a limit counts; `auto` is resolved at configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Counts in windows that follow each other. Up to 2 N can pass in one period that contains parts of two windows.
    FixedWindow {
        /// Where the windows begin.
        align: Align,
    },
    /// Keeps the time of each request: exact in any period. N is at most [`MAX_LOG`].
    SlidingWindowLog,
    /// Weighs the count of the previous window: an estimate of the last period.
    SlidingWindowCounter,
    /// `burst`: the bucket's capacity in requests; 0 if not configured: equal to the current N. Its product with the
    /// period is at most 2⁵³ ms, as for N.
    Gcra {
        /// The bucket's capacity.
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

/// The form in which a counter is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A count and its window: [`Fixed`].
    Fixed,
    /// Two counts: [`SlidingCounter`].
    Counter,
    /// The times of the requests: [`Log`].
    Log,
    /// One time: [`Gcra`].
    Gcra,
}

impl Algorithm {
    /// All algorithms, with their names in configurations and their default parameters.
    pub const NAMED: [(&'static str, Algorithm); 4] = [
        ("fixed_window", Algorithm::FixedWindow { align: Align::Epoch }),
        ("sliding_window_log", Algorithm::SlidingWindowLog),
        ("sliding_window_counter", Algorithm::SlidingWindowCounter),
        ("gcra", Algorithm::Gcra { burst: 0 }),
    ];

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        let same = |(_, known): &&(&str, Algorithm)| known.form() == self.form();
        Algorithm::NAMED.iter().find(same).map_or("", |(name, _)| name)
    }

    /// The form in which its counters are stored.
    pub fn form(self) -> Form {
        match self {
            Algorithm::FixedWindow { .. } => Form::Fixed,
            Algorithm::SlidingWindowLog => Form::Log,
            Algorithm::SlidingWindowCounter => Form::Counter,
            Algorithm::Gcra { .. } => Form::Gcra,
        }
    }

    /// The one number that the script needs beside N, period and cost; `phase_ms` is the shift of a fixed window.
    pub fn script_parameter(self, phase_ms: u64) -> f64 {
        match self {
            Algorithm::FixedWindow {
                align: Align::FirstCall,
            } => -1.0,
            Algorithm::FixedWindow { .. } => phase_ms as f64,
            Algorithm::Gcra { burst } => burst as f64,
            Algorithm::SlidingWindowCounter | Algorithm::SlidingWindowLog => 0.0,
        }
    }
}

impl Form {
    /// All forms.
    pub const ALL: [Form; 4] = [Form::Fixed, Form::Counter, Form::Gcra, Form::Log];

    /// Its name in keys and fields.
    pub fn as_str(self) -> &'static str {
        match self {
            Form::Fixed => "fixed",
            Form::Counter => "counter",
            Form::Log => "ring",
            Form::Gcra => "gcra",
        }
    }

    /// Its number in the script's arguments and in the local store.
    pub fn number(self) -> u8 {
        match self {
            Form::Fixed => 1,
            Form::Counter => 2,
            Form::Gcra => 3,
            Form::Log => 4,
        }
    }

    /// The clock of a charge in unix ms, from its mark and the reset of its verdict; `near`: another clock, as a mark may
    /// contain only the lower digits. A stored time ahead of the clock is taken for it.
    pub fn clock_ms(self, Mark(mark): Mark, period_ms: u64, reset_ms: u64, near: u64) -> Option<u64> {
        match self {
            Form::Fixed => mark.checked_add(period_ms)?.checked_sub(reset_ms),
            Form::Counter => mark.checked_add(2)?.checked_mul(period_ms)?.checked_sub(reset_ms),
            Form::Log => Some(mark / 1_000),
            Form::Gcra => Some(gcra::marked_ms(mark, near)),
        }
    }

    /// The size in bytes of each number that the script packs; empty for a log, which has a key of its own.
    pub fn packed_widths(self) -> &'static [usize] {
        match self {
            Form::Fixed => &[6, 6],
            Form::Counter => &[6, 6, 6],
            Form::Gcra => &[6, 7],
            Form::Log => &[],
        }
    }

    /// The algorithm that uses this form, with default parameters.
    pub fn algorithm(self) -> Algorithm {
        let same = |(_, algorithm): &&(&str, Algorithm)| algorithm.form() == self;
        let found = Algorithm::NAMED.iter().find(same);
        found.map_or(Algorithm::SlidingWindowCounter, |(_, algorithm)| *algorithm)
    }
}

/// The stored state of one counter. `clock_us` is unix time in µs, and later than 1971.
///
/// A charged call is answered with the state after the charge:
///
/// ```
/// # use headgate_core::limit::{algorithm::{State, Terms}, Algorithm, Form, Period, Rate, Verdict};
/// let period = Period::from_millis(60_000).unwrap();
/// let terms = Terms { algorithm: Algorithm::SlidingWindowCounter, rate: Rate { limit: 10, period },
///     phase_ms: 0, overdraws: false };
/// let (mut state, clock_us, cost) = (State::new(Form::Counter), 1_700_000_000_000_000, 3);
/// let mut verdict = state.check(clock_us, &terms, cost);
/// if verdict.allowed {
///     state.charge(clock_us, &terms, cost);
///     verdict = Verdict { allowed: true, wait_ms: 0, ..state.check(clock_us, &terms, 0) };
/// }
/// assert_eq!(verdict.remaining, 7);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// See [`Algorithm::FixedWindow`].
    Fixed(Fixed),
    /// See [`Algorithm::SlidingWindowCounter`].
    Counter(SlidingCounter),
    /// See [`Algorithm::Gcra`].
    Gcra(Gcra),
    /// See [`Algorithm::SlidingWindowLog`].
    Log(Log),
}

impl State {
    /// Nothing counted yet.
    pub fn new(form: Form) -> State {
        match form {
            Form::Fixed => State::Fixed(Fixed::default()),
            Form::Counter => State::Counter(SlidingCounter::default()),
            Form::Gcra => State::Gcra(Gcra::default()),
            Form::Log => State::Log(Log::default()),
        }
    }

    /// The form in which it is stored.
    pub fn form(&self) -> Form {
        match self {
            State::Fixed(_) => Form::Fixed,
            State::Counter(_) => Form::Counter,
            State::Gcra(_) => Form::Gcra,
            State::Log(_) => Form::Log,
        }
    }

    /// Passes the numbers of the state to `take`, in their stored order.
    pub fn each_number(&self, take: &mut dyn FnMut(u64)) {
        match self {
            State::Fixed(Fixed { start_ms, count }) => [*start_ms, *count].into_iter().for_each(take),
            State::Counter(SlidingCounter {
                window,
                current,
                previous,
            }) => [*window, *current, *previous].into_iter().for_each(take),
            State::Gcra(Gcra { time_ms, level }) => [*time_ms, *level].into_iter().for_each(take),
            State::Log(log) => log.times().iter().copied().for_each(take),
        }
    }

    /// A state from the numbers of [`State::each_number`]; `None`: not a state of this form.
    pub fn from_numbers(form: Form, numbers: &mut dyn Iterator<Item = u64>) -> Option<State> {
        let mut next = || numbers.next();
        Some(match form {
            Form::Fixed => State::Fixed(Fixed {
                start_ms: next()?,
                count: next()?,
            }),
            Form::Counter => State::Counter(SlidingCounter {
                window: next()?,
                current: next()?,
                previous: next()?,
            }),
            Form::Gcra => State::Gcra(Gcra {
                time_ms: next()?,
                level: next()?,
            }),
            Form::Log => State::Log(Log::from_times(numbers.collect())?),
        })
    }

    /// Whether a call that needs `need` (its cost, or 1 if it is charged on the response) can pass, and the current
    /// figures. Charges nothing.
    pub fn check(&self, clock_us: u64, terms: &Terms, need: u64) -> Verdict {
        self.check_filled(clock_us, terms, need, 0)
    }

    /// As if the bucket held at least `least` of its units.
    pub(super) fn check_filled(&self, clock_us: u64, terms: &Terms, need: u64, least: u64) -> Verdict {
        if terms.rate.limit == 0 {
            return Verdict::never(terms.period_ms());
        }
        match self {
            State::Fixed(state) => state.check(clock_us / 1000, terms, need),
            State::Counter(state) => state.check(clock_us / 1000, terms, need),
            State::Gcra(state) => state.check(clock_us / 1000, terms, need, least),
            State::Log(state) => state.check(clock_us, terms, need),
        }
    }

    /// Charges `cost`, whether it fits or not: a cost that comes with the response may overdraw. A cost of 0 changes
    /// nothing, and if N is 0 nothing is stored.
    pub fn charge(&mut self, clock_us: u64, terms: &Terms, cost: u64) -> Mark {
        self.charge_filled(clock_us, terms, cost, 0)
    }

    /// As if the bucket held at least `least` of its units.
    pub(super) fn charge_filled(&mut self, clock_us: u64, terms: &Terms, cost: u64, least: u64) -> Mark {
        if cost == 0 || terms.rate.limit == 0 {
            return Mark::default();
        }
        Mark(match self {
            State::Fixed(state) => state.charge(clock_us / 1000, terms, cost),
            State::Counter(state) => state.charge(clock_us / 1000, terms, cost),
            State::Gcra(state) => state.charge(clock_us / 1000, terms, cost, least),
            State::Log(state) => state.charge(clock_us, terms, cost),
        })
    }

    /// Refunds what is left of a charge. May leave too much counted; too little only for a bucket, as its module
    /// explains.
    pub fn give_back(&mut self, clock_us: u64, terms: &Terms, cost: u64, mark: Mark) {
        match self {
            State::Fixed(state) => state.give_back(cost, mark.0),
            State::Counter(state) => state.give_back(cost, mark.0),
            State::Gcra(state) => state.give_back(clock_us / 1000, terms, cost, mark.0),
            State::Log(state) => state.give_back(cost, mark.0),
        }
    }

    /// How long the state has an effect without further calls, in ms from now: under these terms or a larger N.
    pub fn lasts_ms(&self, clock_us: u64, terms: &Terms) -> u64 {
        match self {
            State::Gcra(state) => state.lasts_ms(clock_us / 1000, terms),
            _ => self.check(clock_us, terms, 0).reset_ms,
        }
    }
}
