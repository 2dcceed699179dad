//! Explains why each limit applies to a request or does not, for `headgate explain`. Its answers come from the planner
//! itself.

use super::*;

use super::super::matching::{Effect, Matcher};

/// How one limit applies to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitStatus {
    /// It applies.
    Applies {
        /// Which of its matches fits; `None` if it has none.
        matched: Option<usize>,
        /// The number of the first reading of the path that it fits (`PathReadings::numbered`).
        reading: u8,
        /// After overrides.
        quota: Quota,
        /// A live override may still change it.
        live: bool,
        /// `false`: in shadow for this client.
        enforced: bool,
    },
    /// None of its matches fits.
    NoMatch,
    /// Its key has the client, and the client is not identified.
    NoClient(NoClient),
    /// The index of the limit that replaces it.
    Replaced(usize),
}

/// How the policy applies to one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// How `exempt` applies.
    pub exempt: Exemption,
    /// In the policy's order. If the request is exempt, none of them applies.
    pub limits: Vec<LimitStatus>,
}

/// How `exempt` applies to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exemption {
    /// No condition fits.
    None,
    /// Index of the first condition that fits.
    Full(usize),
    /// A condition fits, but not in this reading of the path: the request is not exempt.
    Partial {
        /// Index of the condition.
        condition: usize,
        /// The number of the first reading that it does not fit (`PathReadings::numbered`).
        unfit: u8,
    },
}

impl Exemption {
    /// Whether the request is exempt.
    pub fn is_full(self) -> bool {
        matches!(self, Exemption::Full(_))
    }
}

impl Planner {
    /// Like [`Planner::plan`], but returns reasons instead of counters.
    pub fn explain(&self, attributes: &dyn Attributes, identity: &Identity) -> Explained {
        let request = RequestContext::new(attributes, identity, &self.reads, &self.hasher);
        let (all, _) = self.applicable_limits(&request);
        let limits = self.limits.iter().zip(&all).enumerate();
        let status =
            |(index, (limit, applicable)): (usize, (&CompiledLimit, &Option<ApplicableLimit<'_>>))| {
                let matched = limit.matched(&request);
                let replaces = |other: &&ApplicableLimit<'_>| {
                    other.enforced
                        && other.limit.replaces.contains(&index)
                        && other.limit.is_certain(&request)
                };
                match (applicable, matched) {
                    (Some(applicable), _) => LimitStatus::Applies {
                        matched: applicable.matched,
                        reading: applicable
                            .matched
                            .and_then(|matched| limit.matches.get(matched))
                            .and_then(|matcher| reading(matcher, &request, Effect::Limits))
                            .unwrap_or(1),
                        quota: applicable.quota,
                        live: applicable.live,
                        enforced: applicable.enforced,
                    },
                    (None, None) => LimitStatus::NoMatch,
                    (None, Some(_)) => match all.iter().flatten().find(replaces) {
                        Some(other) => LimitStatus::Replaced(other.index),
                        None => LimitStatus::NoClient(reason(&request)),
                    },
                }
            };
        Explained {
            exempt: self.exemption(&request),
            limits: limits.map(status).collect(),
        }
    }

    fn exemption(&self, request: &RequestContext<'_>) -> Exemption {
        let fits = |matcher: &Matcher| reading(matcher, request, Effect::Frees).is_some();
        let Some(condition) = self.exempt.iter().position(fits) else {
            return Exemption::None;
        };
        let is_unfit = |path: &[u8]| !self.exempt.iter().any(|m| m.fits(request, path, Effect::Frees));
        match request.paths().numbered().find(|(_, path)| is_unfit(path)) {
            Some((unfit, _)) => Exemption::Partial { condition, unfit },
            None => Exemption::Full(condition),
        }
    }
}

/// The first reading of the path that a condition fits.
fn reading(matcher: &Matcher, request: &RequestContext<'_>, effect: Effect) -> Option<u8> {
    let mut readings = request.paths().numbered();
    let first = readings.find(|(_, path)| matcher.fits(request, path, effect));
    first.map(|(number, _)| number)
}
