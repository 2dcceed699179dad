//! Decides whether a limit applies to a request: `match` and `exempt`, compiled once.

use super::request::{RequestContext, RequestInputs};
use super::{Case, HostPattern, Match, PathPattern, ValuePattern};
use crate::identify::{push_part, Hasher, Lookup, Source};

/// What a fitting condition does. If a request can be read in several ways, a limit applies in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A limit applies: one reading, or one of several values, is enough.
    Limits,
    /// The request is exempt: every reading and every value has to fit exactly.
    Frees,
}

impl Effect {
    fn negated(self) -> Effect {
        match self {
            Effect::Limits => Effect::Frees,
            Effect::Frees => Effect::Limits,
        }
    }
}

/// A [`Match`] whose names are looked up.
#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    methods: Vec<String>,
    path: Option<PathPattern>,
    case: Case,
    /// The key part of a path that fits the pattern.
    path_part: Option<Vec<u8>>,
    hosts: Vec<HostPattern>,
    /// Index in [`RequestInputs`].
    headers: Vec<(usize, ValuePattern)>,
    route: Option<String>,
    /// Indices in `identify`; `None`: any caller.
    sources: Option<Vec<usize>>,
    not: Option<Box<Matcher>>,
}

impl Matcher {
    pub fn new(condition: &Match, sources: &[Source], reads: &mut RequestInputs, hasher: &Hasher) -> Matcher {
        let named = |name: &String| sources.iter().position(|source| source.name == *name);
        let headers = condition.headers.iter();
        Matcher {
            methods: condition.methods.clone(),
            path: condition.path.clone(),
            case: condition.case,
            path_part: condition.path.as_ref().map(|path| {
                let mut part = Vec::new();
                push_part(&mut part, path.counted(), hasher);
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

    /// The key part of a path that fits; `None` if it is the path itself.
    pub fn path_part(&self) -> Option<&[u8]> {
        self.path_part.as_deref()
    }

    /// Whether all given fields fit, in one reading of the path. Cheap and selective checks come first.
    pub fn fits(&self, request: &RequestContext<'_>, path: &[u8], effect: Effect) -> bool {
        let case = match effect {
            Effect::Limits => self.case,
            Effect::Frees => Case::Exact,
        };
        self.fits_client(request)
            && self.fits_method(request, effect)
            && self
                .path
                .as_ref()
                .is_none_or(|pattern| pattern.matches(path, case))
            && (self.hosts.is_empty() || self.hosts.iter().any(|host| host.matches(request.host())))
            && self
                .headers
                .iter()
                .all(|(index, pattern)| fits_header(pattern, request.header(*index), effect))
            && self
                .route
                .as_ref()
                .is_none_or(|route| request.route() == Some(route.as_bytes()))
            && !self
                .not
                .as_ref()
                .is_some_and(|not| not.fits(request, path, effect.negated()))
    }

    fn fits_client(&self, request: &RequestContext<'_>) -> bool {
        match &self.sources {
            None => true,
            Some(sources) => request
                .identity
                .source()
                .is_some_and(|source| sources.contains(&source)),
        }
    }

    /// Servers handle HEAD like GET, so a limit on GET applies to it.
    fn fits_method(&self, request: &RequestContext<'_>, effect: Effect) -> bool {
        let is = |method: &[u8]| self.methods.iter().any(|known| known.as_bytes() == method);
        self.methods.is_empty()
            || is(request.method())
            || (effect == Effect::Limits && request.method() == b"HEAD" && is(b"GET"))
    }
}

fn fits_header(pattern: &ValuePattern, found: &Lookup<'_>, effect: Effect) -> bool {
    let mut values = found.values().iter();
    let fits = |value: &std::borrow::Cow<'_, [u8]>| pattern.matches(value);
    match effect {
        Effect::Limits => values.any(fits),
        Effect::Frees => values.len() > 0 && values.all(fits),
    }
}

#[cfg(test)]
#[path = "matching_tests.rs"]
mod tests;
