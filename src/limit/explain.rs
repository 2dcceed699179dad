//! Why each limit holds for a request or does not: for people, so natively only. Whatever it says comes from what
//! the planner itself does.

use super::*;

/// How one limit stands to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Holds {
        /// Which of its matches fits; `None` where it has none.
        matched: Option<usize>,
        /// After overrides.
        quota: Quota,
        /// A live override may still change it.
        live: bool,
        enforced: bool,
    },
    NoMatch,
    /// It keys by client, and no source named one.
    NoClient,
    /// The index of the limit that took its place.
    Replaced(usize),
}

/// What the planner makes of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// Index of the condition of `exempt` that fits; then no limit holds, whatever stands below.
    pub exempt: Option<usize>,
    /// In the policy's order.
    pub limits: Vec<Standing>,
}

impl Planner {
    /// As [`Planner::plan`], with reasons in place of counters.
    pub fn explain(&self, attributes: &dyn Attributes, client: Option<&Client>) -> Explained {
        let request = Request::new(attributes, client, &self.reads, &self.hasher);
        let (all, _) = self.held(&request);
        let replaces =
            |index: usize, other: &&Held<'_>| other.enforced && other.limit.replaces.contains(&index);
        let limits = self.limits.iter().zip(&all).enumerate();
        let standing = |(index, (limit, held)): (usize, (&Compiled, &Option<Held<'_>>))| {
            let matched = limit.matches.iter().position(|matcher| matcher.fits(&request));
            match held {
                Some(held) => Standing::Holds {
                    matched,
                    quota: held.quota,
                    live: held.live,
                    enforced: held.enforced,
                },
                None if matched.is_none() && !limit.matches.is_empty() => Standing::NoMatch,
                None => match all.iter().flatten().find(|other| replaces(index, other)) {
                    Some(other) => Standing::Replaced(other.index),
                    None => Standing::NoClient,
                },
            }
        };
        Explained {
            exempt: self.exempt.iter().position(|matcher| matcher.fits(&request)),
            limits: limits.map(standing).collect(),
        }
    }
}
