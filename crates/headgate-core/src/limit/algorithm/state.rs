//! One counter of any form, behind one set of calls: look first, then charge, so that several limits can be checked
//! before any is charged.

use super::{Algorithm, Counter, Fixed, Form, Gcra, Log, Verdict};
use crate::limit::{Charge, Rate};

/// What holds for one call at one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub algorithm: Algorithm,
    /// After all overrides.
    pub rate: Rate,
    /// Shift of a fixed window aligned by client, in ms, below the period.
    pub phase_ms: u64,
    /// Costs are charged after the call, whether they fit or not.
    pub overdraws: bool,
}

impl Terms {
    /// A charge's own terms, before a live override.
    pub fn of(charge: &Charge) -> Terms {
        Terms {
            algorithm: charge.algorithm,
            rate: charge.rate,
            phase_ms: charge.phase_ms,
            overdraws: charge.later,
        }
    }

    pub(super) fn period_ms(&self) -> u64 {
        self.rate.period.as_millis()
    }
}

/// Under what a call was charged (a window, or a time), by which it can be given back to the same counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark(pub u64);

/// What is kept of one counter's calls. The clock is unix time in µs, and later than 1971.
///
/// A call that was charged is answered by what stands afterwards:
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
    Fixed(Fixed),
    Counter(Counter),
    Gcra(Gcra),
    Log(Log),
}

impl State {
    /// Nothing counted yet.
    pub fn new(form: Form) -> State {
        match form {
            Form::Fixed => State::Fixed(Fixed::default()),
            Form::Counter => State::Counter(Counter::default()),
            Form::Gcra => State::Gcra(Gcra::default()),
            Form::Log => State::Log(Log::default()),
        }
    }

    /// Whether a call that needs so much (its cost, or 1 where that comes later) can pass, and what stands now.
    /// Charges nothing.
    pub fn check(&self, clock_us: u64, terms: &Terms, need: u64) -> Verdict {
        self.check_filled(clock_us, terms, need, 0)
    }

    /// As if a bucket held `least` of its units at least.
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

    /// Takes `cost`, whether it fits or not: a cost that comes with the response may overdraw. A cost of 0 leaves
    /// no trace, and where N is 0 nothing is kept.
    pub fn charge(&mut self, clock_us: u64, terms: &Terms, cost: u64) -> Mark {
        self.charge_filled(clock_us, terms, cost, 0)
    }

    /// As if a bucket held `least` of its units at least.
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

    /// Gives back what is still there of a charge. May leave too much counted; too little only for a bucket, as its
    /// module says.
    pub fn give_back(&mut self, clock_us: u64, terms: &Terms, cost: u64, mark: Mark) {
        match self {
            State::Fixed(state) => state.give_back(cost, mark.0),
            State::Counter(state) => state.give_back(cost, mark.0),
            State::Gcra(state) => state.give_back(clock_us / 1000, terms, cost, mark.0),
            State::Log(state) => state.give_back(cost, mark.0),
        }
    }

    /// For how many ms from the clock on what is kept matters, if no further call comes: under these terms or a larger
    /// N.
    pub fn lasts_ms(&self, clock_us: u64, terms: &Terms) -> u64 {
        match self {
            State::Gcra(state) => state.lasts_ms(clock_us / 1000, terms),
            _ => self.check(clock_us, terms, 0).reset_ms,
        }
    }
}
