//! The types of a policy, validated and complete. The configuration creates them, and everything else uses them.
//! Nothing here reads a request or a configuration.

pub mod algorithm;
mod cost;
mod filter_state;
pub(crate) mod path;
mod pattern;
pub(crate) mod policy;
mod rate;
mod template;

pub use algorithm::{Algorithm, Align, Form, Verdict};
pub(crate) use cost::plain_number;
pub use cost::{CostRange, ReadCost};
pub use filter_state::{FilterState, StateName};
pub use path::normalise;
pub use pattern::{bare_host, Case, HostPattern, PathPattern, PatternError, ValuePattern};
pub use policy::*;
pub use rate::{Period, Quota, Rate, RateError, MAX_LIMIT};

use crate::identify::Digest;
use ipnet::IpNet;

/// One limit of a policy, as validated by the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Unique within the policy. The default is the rate as written.
    pub name: String,
    /// The quota without overrides.
    pub quota: Quota,
    /// How it counts.
    pub algorithm: Algorithm,
    /// The limit applies to requests that match any of these; empty: to every request.
    pub matches: Vec<Match>,
    /// The parts of the key: requests with the same values share a counter. In the order written; never empty.
    pub key: Vec<KeyPart>,
    /// The first that fits is used.
    pub overrides: Vec<Override>,
    /// Whether it denies.
    pub enforce: Enforce,
    /// What happens if it cannot be counted in time.
    pub on_error: OnError,
    /// Indices of the limits that do not apply if this one does.
    pub replaces: Vec<usize>,
    /// Whether callers may see this limit in headers.
    pub expose: bool,
    /// How much of the quota a request takes.
    pub cost: Cost,
    /// The largest lease, as a share of N; `None`: no leases.
    pub lease: Option<Percent>,
}

impl Limit {
    /// The period of its rate and of its overrides'; `None` if all are unlimited.
    pub fn period(&self) -> Option<Period> {
        let overridden = self.overrides.iter().filter_map(Override::quota);
        std::iter::once(self.quota)
            .chain(overridden)
            .find_map(|quota| match quota {
                Quota::Limited(rate) => Some(rate.period),
                Quota::Unlimited => None,
            })
    }

    /// The path pattern of the match of this index, as written; `None` if it has none.
    pub fn path_pattern(&self, index: usize) -> Option<&str> {
        self.matches.get(index)?.path.as_ref().map(PathPattern::text)
    }
}

/// A share in hundredths of a percent: 0 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u16);

impl Percent {
    /// 0%.
    pub const NONE: Percent = Percent(0);
    /// 100%.
    pub const FULL: Percent = Percent(10_000);

    /// `None` above 10,000 (100%).
    pub fn from_basis_points(points: u16) -> Option<Percent> {
        (points <= 10_000).then_some(Percent(points))
    }

    /// In hundredths of a percent, 0 to 10,000.
    pub fn basis_points(self) -> u16 {
        self.0
    }
}

/// Whether a spent limit denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforce {
    /// It denies.
    Always,
    /// Shadow: counts and reports, denies nothing.
    Never,
    /// Denies for this share of the clients, always the same ones; for the rest the limit is in shadow.
    Share(Percent),
}

/// What happens to a request that cannot be counted in time. Ordered by strictness, the strictest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnError {
    /// The request passes.
    Allow,
    /// It is counted in the memory of this Envoy.
    Local,
    /// The request is refused with `response.error_status`.
    Deny,
}

/// A part of a limit's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyPart {
    /// The identified client.
    Client,
    /// The trusted address of the caller, cut to the prefixes of the first address source.
    Address,
    /// The path pattern that matched; without a pattern, the path.
    Path,
    /// The method, in upper case; HEAD is GET.
    Method,
    /// The host, in lower case without a port.
    Host,
    /// The name of the route.
    Route,
    /// Header names are lower case.
    Header(String),
    /// The value of a query parameter.
    Query(String),
    /// The value of a cookie.
    Cookie(String),
}

/// How much of the quota a request takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cost {
    /// The same for each request, 0 to N.
    Fixed(u64),
    /// From a request header.
    Header {
        /// In lower case.
        name: String,
        /// The range of its values.
        range: CostRange,
    },
    /// From a response header, charged on the response.
    ResponseHeader {
        /// In lower case.
        name: String,
        /// The range of its values.
        range: CostRange,
    },
}

/// Changes N for some clients, never the period.
#[derive(Debug, Clone, PartialEq)]
pub enum Override {
    /// A field of the client's own hash, read in the counting call.
    Redis,
    /// The client with this value of a plain source.
    Value {
        /// The name of the source.
        source: String,
        /// Its value.
        value: String,
        /// The quota of this client.
        quota: Quota,
    },
    /// The client whose value has this hash.
    Hash {
        /// The name of the source.
        source: String,
        /// The hash of its value, as `headgate hash` prints it.
        hash: Digest,
        /// The quota of this client.
        quota: Quota,
    },
    /// Clients by their trusted address, whatever their source.
    Cidr {
        /// The addresses.
        net: IpNet,
        /// Their quota, for each of them.
        quota: Quota,
    },
}

/// A condition on a request: all fields that are given must fit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Match {
    /// Upper case; empty: any. If the condition makes a limit apply, GET includes HEAD: most servers handle both alike.
    pub methods: Vec<String>,
    /// The pattern of the path; `None`: any.
    pub path: Option<PathPattern>,
    /// How the path's literals are compared if the condition makes a limit apply. If it exempts a request (`exempt`,
    /// `replaces`, within `not`), they are compared exactly.
    pub case: Case,
    /// The hosts; empty: any.
    pub hosts: Vec<HostPattern>,
    /// Header name (lower case) and what its value must be.
    pub headers: Vec<(String, ValuePattern)>,
    /// The name of Envoy's route; `None`: any.
    pub route: Option<String>,
    /// Names of `identify` sources; empty: any caller.
    pub sources: Vec<String>,
    /// A condition that must not fit.
    pub not: Option<Box<Match>>,
}

impl Override {
    /// The quota that it grants; `None` if that is not known before the call.
    pub fn quota(&self) -> Option<Quota> {
        match self {
            Override::Redis => None,
            Override::Value { quota, .. } | Override::Hash { quota, .. } | Override::Cidr { quota, .. } => {
                Some(*quota)
            }
        }
    }
}
