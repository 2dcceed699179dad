//! One compiled limit: everything that does not depend on the request is prepared.

use super::keys::KeyLayout;
use super::matching::{Effect, Matcher};
use super::overrides::Overrides;
use super::request::{RequestContext, RequestInputs};
use super::{Algorithm, Cost, CostRange, Enforce, Form, Limit, Period};
use crate::identify::{Hasher, Source};
use crate::store::{label, override_field};
use std::rc::Rc;

/// A [`Limit`] with its names looked up and its keys prepared.
#[derive(Debug, Clone)]
pub(crate) struct CompiledLimit {
    pub matches: Vec<Matcher>,
    pub layout: KeyLayout,
    /// `<limit>:<form>:<period ms>`: the hash field, or what follows the tag in a key.
    pub label: Rc<str>,
    /// Whether the counter is a key of its own, beside the tag's hash.
    pub own_key: bool,
    pub live_field: Rc<str>,
    pub algorithm: Algorithm,
    /// `None` if the limit only ever grants `unlimited`.
    pub period: Option<Period>,
    pub overrides: Overrides,
    pub enforce: Enforce,
    pub cost: CompiledCost,
    pub replaces: Vec<usize>,
    /// Permits may be taken in advance.
    pub leased: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum CompiledCost {
    Fixed(u64),
    /// The index of the header in [`RequestInputs`].
    Header {
        header: usize,
        range: CostRange,
    },
    OnResponse,
}

impl CompiledLimit {
    pub fn new(
        limit: &Limit,
        sources: &[Source],
        reads: &mut RequestInputs,
        hasher: &Hasher,
    ) -> CompiledLimit {
        let period = limit.period();
        let form = limit.algorithm.form();
        let label = label(&limit.name, form, period.map_or(0, Period::as_millis), hasher);
        let live_field = override_field(&limit.name, hasher);
        let layout = KeyLayout::new(&limit.key, reads, hasher);
        CompiledLimit {
            matches: limit
                .matches
                .iter()
                .map(|m| Matcher::new(m, sources, reads, hasher))
                .collect(),
            own_key: form == Form::Log || !layout.beside.is_empty(),
            layout,
            label: label.into(),
            live_field: live_field.into(),
            algorithm: limit.algorithm,
            period,
            overrides: Overrides::new(limit.quota, &limit.overrides, sources, hasher),
            enforce: limit.enforce,
            cost: match &limit.cost {
                Cost::Fixed(cost) => CompiledCost::Fixed(*cost),
                Cost::Header { name, range } => CompiledCost::Header {
                    header: reads.header(name),
                    range: *range,
                },
                Cost::ResponseHeader { .. } => CompiledCost::OnResponse,
            },
            replaces: limit.replaces.clone(),
            leased: limit.lease.is_some(),
        }
    }

    /// Whether the limit applies in any reading of the path, and by which of its matches, if it has any: the first that
    /// fits.
    pub fn matched(&self, request: &RequestContext<'_>) -> Option<Option<usize>> {
        if self.matches.is_empty() {
            return Some(None);
        }
        let fits = |matcher: &Matcher| {
            let mut readings = request.paths().iter();
            readings.any(|path| matcher.fits(request, path, Effect::Limits))
        };
        self.matches.iter().position(fits).map(Some)
    }

    /// Whether the limit applies in every reading of the request, so that it may replace others.
    pub fn is_certain(&self, request: &RequestContext<'_>) -> bool {
        self.matches.is_empty() || every_reading_fits(&self.matches, request)
    }

    /// The key part of the path under this match ([`Matcher::path_part`]).
    pub fn path_part(&self, matched: Option<usize>) -> Option<&[u8]> {
        self.matches.get(matched?)?.path_part()
    }
}

/// Whether each reading of the path fits one of these conditions: only then the request is exempt.
pub(crate) fn every_reading_fits(matchers: &[Matcher], request: &RequestContext<'_>) -> bool {
    request.paths().iter().all(|path| {
        matchers
            .iter()
            .any(|matcher| matcher.fits(request, path, Effect::Frees))
    })
}
