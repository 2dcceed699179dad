//! Limits: what is counted, by which algorithm, for whom. Knows no host and no Redis.

mod compiled;
mod fingerprint;
#[cfg(test)]
pub(crate) mod fixtures;
mod groups;
mod keys;
mod matching;
mod overrides;
mod plan;
mod planner;
mod readings;
mod request;

pub use crate::model::{
    algorithm, bare_host, normalise, Algorithm, Align, Case, Cost, CostRange, Enforce, Form, HostPattern,
    KeyPart, Limit, Match, OnError, Override, PathPattern, PatternError, Percent, Period, Quota, Rate,
    RateError, ReadCost, ValuePattern, Verdict, MAX_LIMIT,
};
pub use keys::push_client;
pub use plan::{Charge, Group, LiveOverride, NoClient, Plan};
pub use planner::explain::{Exemption, Explained, LimitStatus};
pub use planner::Planner;
pub use readings::PathReadings;
