//! Whether a limit holds for a request: `match` and `exempt`, compiled once.

use super::pattern::{HostPattern, PathPattern, ValuePattern};
use super::request::{Reads, Request};
use super::Match;
use crate::identify::{push_part, Hasher, Source};

/// A [`Match`] whose names are looked up.
#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    methods: Vec<String>,
    path: Option<PathPattern>,
    /// How a path counts that matches a pattern: as a part of a key.
    path_part: Option<Vec<u8>>,
    hosts: Vec<HostPattern>,
    /// Index in [`Reads`].
    headers: Vec<(usize, ValuePattern)>,
    route: Option<String>,
    /// Indices in `identify`; `None`: any caller.
    sources: Option<Vec<usize>>,
    not: Option<Box<Matcher>>,
}

impl Matcher {
    pub fn new(condition: &Match, sources: &[Source], reads: &mut Reads, hasher: &Hasher) -> Matcher {
        let named = |name: &String| sources.iter().position(|source| source.name == *name);
        let headers = condition.headers.iter();
        Matcher {
            methods: condition.methods.clone(),
            path: condition.path.clone(),
            path_part: condition
                .path
                .as_ref()
                .filter(|path| !path.is_exact())
                .map(|path| {
                    let mut part = Vec::new();
                    push_part(&mut part, path.text().as_bytes(), hasher);
                    part
                }),
            hosts: condition.hosts.clone(),
            headers: headers
                .map(|(name, pattern)| (reads.header(name), pattern.clone()))
                .collect(),
            route: condition.route.clone(),
            sources: (!condition.sources.is_empty())
                .then(|| condition.sources.iter().filter_map(named).collect()),
            not: condition
                .not
                .as_ref()
                .map(|not| Box::new(Matcher::new(not, sources, reads, hasher))),
        }
    }

    /// What a path that fits counts by, as a part of a key; `None` where it is the path itself.
    pub fn path_part(&self) -> Option<&[u8]> {
        self.path_part.as_deref()
    }

    /// Whether all fields that are given fit. What is cheap and often decides comes first.
    pub fn fits(&self, request: &Request<'_>) -> bool {
        self.fits_client(request)
            && (self.methods.is_empty() || self.methods.iter().any(|m| m.as_bytes() == request.method()))
            && self.path.as_ref().is_none_or(|path| path.matches(request.path()))
            && (self.hosts.is_empty() || self.hosts.iter().any(|host| host.matches(request.host())))
            && self
                .headers
                .iter()
                .all(|(index, pattern)| pattern.matches(request.header(*index)))
            && self
                .route
                .as_ref()
                .is_none_or(|route| request.route() == Some(route.as_bytes()))
            && !self.not.as_ref().is_some_and(|not| not.fits(request))
    }

    fn fits_client(&self, request: &Request<'_>) -> bool {
        match &self.sources {
            None => true,
            Some(sources) => request
                .client
                .is_some_and(|client| sources.contains(&client.index)),
        }
    }
}

#[cfg(test)]
#[path = "matching_tests.rs"]
mod tests;
