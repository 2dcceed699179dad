//! The response phase: decides which quota headers a response gets, and what is charged for the response.

use super::answer::Admitted;
use super::event::Event;
use super::exchange::{Edits, Response};
use super::filter_state::refused_later;
use super::{CallId, Engine, Now};
use crate::decision::CountedBy;
use crate::headers::{Family, Header, ENVOY_RATELIMITED};
use crate::instances;
use crate::limit::{Cost, Group, ReadCost};
use crate::local::SharedData;
use crate::model::{Policy, Store, UpstreamHeaders};
use crate::redis::RedisCall;
use crate::script::Mode;

/// Costs that became known with the response. [`Engine::charge`] charges them.
#[derive(Debug)]
pub struct ResponseCharges {
    groups: Vec<Group>,
    /// Who counted the request.
    by: Option<CountedBy>,
    broken_costs: u32,
}

impl<T: RedisCall<CallId>, S: SharedData + Clone> Engine<T, S> {
    /// Handles the response of the upstream or of a later filter, but not the filter's own reply.
    pub fn on_response(
        &self,
        admitted: Admitted,
        response: &dyn Response,
    ) -> (Edits, Option<ResponseCharges>) {
        let Admitted {
            figures,
            response_groups,
            by,
        } = admitted;
        let charges = match response_groups.is_empty() || refused_later(response) {
            true => None,
            false => Some(costs_of_response(&self.policy, response, &response_groups, by)),
        };
        (edits(&self.policy, figures, response), charges)
    }

    /// Handles a request that ended without a response. The upstream may have served it, so it is charged like a
    /// request whose response has no cost header.
    pub fn on_gone(&self, admitted: Admitted) -> Option<ResponseCharges> {
        let Admitted {
            response_groups, by, ..
        } = admitted;
        if response_groups.is_empty() {
            return None;
        }
        let groups = groups_to_charge(&response_groups, |limit| {
            match self.policy.limits.get(limit).map(|limit| &limit.cost) {
                Some(Cost::ResponseHeader { range, .. }) => range.unread(),
                _ => 0,
            }
        });
        Some(ResponseCharges {
            groups,
            by,
            broken_costs: 0,
        })
    }

    /// Charges the costs of a response, with one call for each group. No request waits for such a call, and it is not
    /// retried. If it is lost, too little is counted for a request that has been served.
    pub fn charge(&mut self, now: Now, charges: ResponseCharges) {
        if charges.broken_costs > 0 {
            self.events.note(Event::BrokenCosts(charges.broken_costs));
        }
        if charges.by == Some(CountedBy::Local) {
            for group in &charges.groups {
                self.local.charge(&self.policy.limits, group, now);
            }
            self.note_evicted();
        }
        if self.policy.store == Store::Local {
            return;
        }
        for group in &charges.groups {
            let _not_repeated = self.send(now.monotonic, CallId::Unawaited, group, Mode::Charge);
        }
    }
}

/// The charges of the groups; `cost` returns the cost for the index of a limit.
fn groups_to_charge(response_groups: &[Group], mut cost: impl FnMut(usize) -> u64) -> Vec<Group> {
    response_groups
        .iter()
        .filter_map(|group| group.response_charges(&mut cost))
        .collect()
}

fn costs_of_response(
    policy: &Policy,
    response: &dyn Response,
    response_groups: &[Group],
    by: Option<CountedBy>,
) -> ResponseCharges {
    let mut broken_costs = 0;
    let groups = groups_to_charge(response_groups, |limit| {
        let Some(Cost::ResponseHeader { name, range }) = policy.limits.get(limit).map(|limit| &limit.cost)
        else {
            return 0;
        };
        let read = range.read(&response.header(name));
        broken_costs += u32::from(!matches!(read, ReadCost::Cost(_)));
        range.charged(read)
    });
    ResponseCharges {
        groups,
        by,
        broken_costs,
    }
}

/// Adds the quota headers, unless the upstream or a later instance has set its own.
fn edits(policy: &Policy, figures: Vec<Header>, response: &dyn Response) -> Edits {
    match response.header(":status").value().as_deref() {
        // The upstream itself denies: its own headers describe that limit.
        Some(b"429") => return Edits::default(),
        // The same, by gRPC's RESOURCE_EXHAUSTED.
        _ if response.header("grpc-status").value().as_deref() == Some(b"8") => return Edits::default(),
        // A refusal by a later instance has no quota headers.
        Some(b"400" | b"403") if shown_later(policy, response) => return Edits::default(),
        _ => {}
    }
    let mut reported = false;
    response.each_header(&mut |name, _| {
        reported |= Family::of(name).is_some() || name == ENVOY_RATELIMITED.as_bytes();
    });
    match reported {
        false => Edits {
            remove: Vec::new(),
            add: figures,
        },
        true if shown_later(policy, response) => Edits::default(),
        true => merged(policy.response.upstream_headers, figures, response),
    }
}

/// Whether a later instance has set headers, into which it has merged ours. It needs a host call, so call it only if
/// the response has quota headers or is a refusal.
fn shown_later(policy: &Policy, response: &dyn Response) -> bool {
    response
        .filter_state(instances::SHOWN_BY)
        .is_some_and(|by| !by.is_empty() && by != policy.instance.as_bytes())
}

/// Removes the upstream's quota headers, or keeps them in place of ours. The headers of one family all come from the
/// same source.
fn merged(upstream: UpstreamHeaders, mut figures: Vec<Header>, response: &dyn Response) -> Edits {
    let (mut x_ratelimit, mut ietf) = (false, false);
    let mut remove = Vec::new();
    response.each_header(&mut |name, _| match (upstream, Family::of(name)) {
        (_, None) => {}
        (UpstreamHeaders::Replace, Some(_)) => {
            if let Ok(name) = std::str::from_utf8(name) {
                remove.push(name.to_owned());
            }
        }
        (UpstreamHeaders::Keep, Some(Family::XRateLimit)) => x_ratelimit = true,
        (UpstreamHeaders::Keep, Some(Family::Ietf)) => ietf = true,
    });
    figures.retain(|(name, _)| match Family::of(name.as_bytes()) {
        Some(Family::XRateLimit) => !x_ratelimit,
        Some(Family::Ietf) => !ietf,
        None => true,
    });
    Edits { remove, add: figures }
}
