//! Applies a policy to a request: which limits apply, what the client's quotas are, and which counters are charged.
//! Does not count.

use super::compiled::{every_reading_fits, CompiledLimit};
use super::groups::{ApplicableLimit, GroupsBuilder};
use super::keys::Tag;
use super::matching::Matcher;
use super::request::{RequestContext, RequestInputs};
use super::{Enforce, Limit, NoClient, Percent, Plan, Quota};
use crate::identify::{identify, Attributes, Hasher, Identity, Source, SourceKind};
use crate::model::Policy;
use crate::store::{hash_tag_start, ONLY_FIELD};
use std::rc::Rc;

/// A policy, compiled for planning.
#[derive(Debug, Clone)]
pub struct Planner {
    sources: Vec<Source>,
    refuse_ambiguous: bool,
    hasher: Hasher,
    reads: RequestInputs,
    exempt: Vec<Matcher>,
    /// In the policy's order.
    limits: Vec<CompiledLimit>,
    /// Indices of the limits. A limit comes before the limits that it replaces.
    order: Vec<usize>,
    /// `<prefix>:<instance>:{`
    key_start: Vec<u8>,
    only_field: Rc<str>,
}

impl Planner {
    /// Compiles a policy. `hasher` hashes secrets, and has the same key on all Envoys.
    pub fn new(policy: &Policy, hasher: Hasher) -> Planner {
        let sources = policy.identify.clone();
        let (ipv4_prefix, ipv6_prefix) = address_prefixes(&sources);
        let mut reads = RequestInputs::new(ipv4_prefix, ipv6_prefix);
        let exempt = policy
            .exempt
            .iter()
            .map(|m| Matcher::new(m, &sources, &mut reads, &hasher))
            .collect();
        let limits = policy
            .limits
            .iter()
            .map(|l| CompiledLimit::new(l, &sources, &mut reads, &hasher))
            .collect();
        let key_start = hash_tag_start(&policy.redis.key_prefix, &policy.instance).into_bytes();
        Planner {
            sources,
            refuse_ambiguous: policy.refuses_ambiguous(),
            hasher,
            reads,
            exempt,
            limits,
            order: replacing_first(&policy.limits),
            key_start,
            only_field: ONLY_FIELD.into(),
        }
    }

    /// Identifies the client by the policy's sources.
    pub fn identify(&self, attributes: &dyn Attributes) -> Identity {
        identify(&self.sources, attributes, &self.hasher, self.refuse_ambiguous)
    }

    /// The hasher of secrets.
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Plans the charges of the request. `identity` is the result of [`Planner::identify`].
    pub fn plan(&self, attributes: &dyn Attributes, identity: &Identity) -> Plan {
        let request = RequestContext::new(attributes, identity, &self.reads, &self.hasher);
        if self.is_exempt(&request) {
            return Plan::Exempt;
        }
        let (applicable, no_client) = self.applicable_limits(&request);
        let mut groups = GroupsBuilder::new(&request, &self.sources, &self.key_start, &self.only_field);
        for applicable in applicable.iter().flatten() {
            groups.add(applicable);
        }
        let (groups, broken_costs) = groups.finish();
        Plan::Count {
            groups,
            no_client,
            broken_costs,
        }
    }

    fn is_exempt(&self, request: &RequestContext<'_>) -> bool {
        !self.exempt.is_empty() && every_reading_fits(&self.exempt, request)
    }

    /// The applicable limits, by their index; and, if an enforced limit needs a client and no client is identified, the reason.
    fn applicable_limits<'p>(
        &'p self,
        request: &RequestContext<'_>,
    ) -> (Vec<Option<ApplicableLimit<'p>>>, Option<NoClient>) {
        // Allocated with the first limit that replaces others.
        let mut replaced: Vec<bool> = Vec::new();
        let mut applicable: Vec<Option<ApplicableLimit<'p>>> = Vec::with_capacity(self.limits.len());
        applicable.resize_with(self.limits.len(), || None);
        let mut no_client = None;
        for &index in &self.order {
            let Some(limit) = self.limits.get(index) else {
                continue;
            };
            if replaced.get(index) == Some(&true) {
                continue;
            }
            let Some(matched) = limit.matched(request) else {
                continue;
            };
            let (quota, live) = limit.overrides.quota(request);
            let enforced = self.enforced(limit, request);
            if limit.layout.tag == Tag::Client && request.client().is_none() {
                if enforced && quota != Quota::Unlimited {
                    no_client = Some(reason(request));
                }
                continue;
            }
            if enforced && !limit.replaces.is_empty() && limit.is_certain(request) {
                replaced.resize(self.limits.len(), false);
                for &other in &limit.replaces {
                    if let Some(replaced) = replaced.get_mut(other) {
                        *replaced = true;
                    }
                }
            }
            if let Some(place) = applicable.get_mut(index) {
                *place = Some(ApplicableLimit {
                    index,
                    limit,
                    matched,
                    path_part: limit.path_part(matched),
                    quota,
                    live,
                    enforced,
                });
            }
        }
        (applicable, no_client)
    }

    /// Whether the limit is enforced for this caller. With a share, this depends only on a hash of the caller's
    /// identity: so all limits with the same share are enforced for the same callers, and a larger share includes the
    /// callers of a smaller one. The identity is the client. It is the address if the key has the address and no client
    /// (so that a new API key does not change the result), or if the client is not identified.
    fn enforced(&self, limit: &CompiledLimit, request: &RequestContext<'_>) -> bool {
        let share = match limit.enforce {
            Enforce::Always => return true,
            Enforce::Never => return false,
            Enforce::Share(share) => u64::from(share.basis_points()),
        };
        let lot = request.lot(limit.layout.by_address(), &self.sources);
        lot % u64::from(Percent::FULL.basis_points()) < share
    }
}

fn reason(request: &RequestContext<'_>) -> NoClient {
    match request.identity {
        Identity::Ambiguous(_) => NoClient::Ambiguous,
        Identity::Unknown | Identity::Client(_) => NoClient::Unknown,
    }
}

/// The prefix lengths for `key: [address]`: those of the first address source, or /32 and /64.
fn address_prefixes(sources: &[Source]) -> (u8, u8) {
    let prefixes = |source: &Source| match source.kind {
        SourceKind::Address {
            ipv4_prefix,
            ipv6_prefix,
        } => Some((ipv4_prefix, ipv6_prefix)),
        _ => None,
    };
    sources.iter().find_map(prefixes).unwrap_or((32, 64))
}

/// An order in which every limit comes before the limits that it replaces. The configuration ensures that `replaces` is
/// not circular; in a circle this function would use the policy's order.
fn replacing_first(limits: &[Limit]) -> Vec<usize> {
    // For each limit, how many limits that replace it are not in the order yet.
    let mut waiting = vec![0_usize; limits.len()];
    for waits in limits.iter().flat_map(|limit| &limit.replaces) {
        if let Some(count) = waiting.get_mut(*waits) {
            *count += 1;
        }
    }
    let mut left: Vec<usize> = (0..limits.len()).collect();
    let mut order = Vec::with_capacity(limits.len());
    while !left.is_empty() {
        let free = left.iter().position(|i| waiting.get(*i) == Some(&0));
        let next = left.remove(free.unwrap_or(0));
        for replaced in limits.get(next).iter().flat_map(|limit| &limit.replaces) {
            if let Some(count) = waiting.get_mut(*replaced) {
                *count = count.saturating_sub(1);
            }
        }
        order.push(next);
    }
    order
}

#[path = "explain.rs"]
pub mod explain;

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
