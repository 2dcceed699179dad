//! The response phase: what a response is to say of quotas, and what is charged for it. All of it is here.

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

/// Costs that are known now, to be charged by [`Engine::charge`].
#[derive(Debug)]
pub struct ResponseCharges {
    groups: Vec<Group>,
    /// Who counted the request.
    by: Option<CountedBy>,
    broken_costs: u32,
}

impl<T: RedisCall<CallId>, S: SharedData + Clone> Engine<T, S> {
    /// The response of an upstream has come, or that of a filter behind: not the filter's own reply.
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
        let owed = match response_groups.is_empty() || refused_later(response) {
            true => None,
            false => Some(costs_of_response(&self.policy, response, &response_groups, by)),
        };
        (edits(&self.policy, figures, response), owed)
    }

    /// The request ended without a response: it was served, or is about to be, and costs no less than one whose
    /// response says nothing of its cost.
    pub fn on_gone(&self, admitted: Admitted) -> Option<ResponseCharges> {
        let Admitted {
            response_groups, by, ..
        } = admitted;
        if response_groups.is_empty() {
            return None;
        }
        let groups = due(&response_groups, |limit| {
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

    /// Charges what responses said to have cost, by one call a group. Nobody waits for it, and it is not repeated: a
    /// lost one under-counts a request that has been served.
    pub fn charge(&mut self, now: Now, owed: ResponseCharges) {
        if owed.broken_costs > 0 {
            self.events.note(Event::BrokenCosts(owed.broken_costs));
        }
        if owed.by == Some(CountedBy::Local) {
            for group in &owed.groups {
                self.local.charge(&self.policy.limits, group, now);
            }
            self.note_evicted();
        }
        if self.policy.store == Store::Local {
            return;
        }
        for group in &owed.groups {
            let _not_repeated = self.send(now.monotonic, CallId::Unawaited, group, Mode::Charge);
        }
    }
}

/// What is charged of the groups, each limit at the cost that `cost` says for its index.
fn due(response_groups: &[Group], mut cost: impl FnMut(usize) -> u64) -> Vec<Group> {
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
    let groups = due(response_groups, |limit| {
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

/// Adds the figures, unless the upstream or an instance behind has something of its own to say.
fn edits(policy: &Policy, figures: Vec<Header>, response: &dyn Response) -> Edits {
    match response.header(":status").value().as_deref() {
        // The upstream itself denies: what it says of its limit is what its caller is to read.
        Some(b"429") => return Edits::default(),
        // gRPC's RESOURCE_EXHAUSTED is the same.
        _ if response.header("grpc-status").value().as_deref() == Some(b"8") => return Edits::default(),
        // Refusals of an instance behind this one have no figures in them.
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

/// Whether an instance behind this one has shown something: it has merged ours into it. Whatever an instance shows or
/// refuses can be seen in the response's headers, and where nothing of quotas is to be seen the host need not be asked.
fn shown_later(policy: &Policy, response: &dyn Response) -> bool {
    response
        .filter_state(instances::SHOWN_BY)
        .is_some_and(|by| !by.is_empty() && by != policy.instance.as_bytes())
}

/// What the upstream itself says of quotas goes, or stays in place of ours; the two are never mixed in one family.
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
