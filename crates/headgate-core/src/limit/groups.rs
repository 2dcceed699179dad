//! Turns the applicable limits into charges of counters, grouped by hash tag.

use super::algorithm::leased_period;
use super::compiled::{CompiledCost, CompiledLimit};
use super::keys::{push_address, push_client, Tag};
use super::request::RequestContext;
use super::{Algorithm, Align, Charge, Group, LiveOverride, Quota, Rate, ReadCost};
use crate::identify::Source;
use std::rc::Rc;

/// A limit that applies to the request.
pub(crate) struct ApplicableLimit<'p> {
    pub index: usize,
    pub limit: &'p CompiledLimit,
    /// By which of its matches, where it has any.
    pub matched: Option<usize>,
    /// The key part of its path, if that is not the path itself.
    pub path_part: Option<&'p [u8]>,
    pub quota: Quota,
    pub live: bool,
    pub enforced: bool,
}

/// A group under construction. Its first key is the tag's hash, even if no charge uses it.
struct GroupBuilder {
    group: Group,
    hash_used: bool,
    /// A number derived from the hash's key.
    draw: Option<u64>,
}

/// The groups of one plan under construction.
pub(crate) struct GroupsBuilder<'p> {
    request: &'p RequestContext<'p>,
    sources: &'p [Source],
    /// `<prefix>:<instance>:{`
    key_start: &'p [u8],
    /// The field of a hash that holds only one counter.
    only_field: &'p Rc<str>,
    groups: Vec<GroupBuilder>,
    /// The index of the group with the client's tag, and of the one with the address's.
    client: Option<usize>,
    address: Option<usize>,
    broken_costs: u32,
}

impl<'p> GroupsBuilder<'p> {
    pub fn new(
        request: &'p RequestContext<'p>,
        sources: &'p [Source],
        key_start: &'p [u8],
        only_field: &'p Rc<str>,
    ) -> GroupsBuilder<'p> {
        GroupsBuilder {
            request,
            sources,
            key_start,
            only_field,
            groups: Vec::new(),
            client: None,
            address: None,
            broken_costs: 0,
        }
    }

    /// Adds the limit's counter, unless this client is unlimited.
    pub fn add(&mut self, applicable: &ApplicableLimit<'_>) {
        let limit = applicable.limit;
        let rate = match (applicable.quota, limit.period) {
            (Quota::Limited(rate), _) => rate,
            // Only a live override can limit here; this rate is never used.
            (Quota::Unlimited, Some(period)) if applicable.live => Rate { limit: 0, period },
            _ => return,
        };
        let rate = match limit.leased {
            true => Rate {
                period: leased_period(limit.algorithm, rate),
                ..rate
            },
            false => rate,
        };
        let request = self.request;
        let only_field = self.only_field;
        let at = self.group(applicable);
        let Some(builder) = self.groups.get_mut(at) else {
            return;
        };
        let (key, field) = if limit.own_key {
            (builder.add_own_key(applicable, request), only_field)
        } else {
            builder.hash_used = true;
            (0, &limit.label)
        };
        let (cost, charged_on_response) = match limit.cost {
            CompiledCost::Fixed(cost) => (cost, false),
            CompiledCost::Header { header, range } => {
                let read = range.read(request.header(header));
                self.broken_costs += u32::from(read == ReadCost::Broken);
                (range.charged(read), false)
            }
            CompiledCost::OnResponse => (1, true),
        };
        let phase_ms = match limit.algorithm {
            Algorithm::FixedWindow { align: Align::Client } => {
                builder.draw(request) % rate.period.as_millis()
            }
            _ => 0,
        };
        let live = applicable.live.then(|| LiveOverride {
            key: 0,
            field: Rc::clone(&limit.live_field),
            unlimited: applicable.quota == Quota::Unlimited,
        });
        builder.hash_used |= live.is_some();
        builder.group.charges.push(Charge {
            limit: applicable.index,
            matched: applicable.matched,
            key,
            field: Rc::clone(field),
            algorithm: limit.algorithm,
            rate,
            cost,
            charged_on_response,
            enforced: applicable.enforced,
            phase_ms,
            live,
        });
    }

    /// The group of the limit's tag; creates it if needed.
    fn group(&mut self, applicable: &ApplicableLimit<'_>) -> usize {
        let known = match applicable.limit.layout.tag {
            Tag::Client => self.client,
            Tag::Address => self.address,
            Tag::Parts(_) => None,
        };
        if let Some(at) = known {
            return at;
        }
        let hash = self.tag_hash(applicable);
        let same = |builder: &GroupBuilder| builder.group.keys.first() == Some(&hash);
        let at = self.groups.iter().position(same).unwrap_or_else(|| {
            self.groups.push(GroupBuilder::new(hash));
            self.groups.len() - 1
        });
        match applicable.limit.layout.tag {
            Tag::Client => self.client = Some(at),
            Tag::Address => self.address = Some(at),
            Tag::Parts(_) => {}
        }
        at
    }

    /// `<prefix>:<instance>:{<tag>}`
    fn tag_hash(&self, applicable: &ApplicableLimit<'_>) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.key_start.len() + 80);
        key.extend_from_slice(self.key_start);
        match (&applicable.limit.layout.tag, self.request.client()) {
            (Tag::Client, Some(client)) => push_client(&mut key, client, self.sources),
            // Such a limit does not apply.
            (Tag::Client, None) => {}
            (Tag::Address, _) => push_address(&mut key, self.request),
            (Tag::Parts(parts), _) => {
                for (i, (component, part)) in parts.iter().enumerate() {
                    if i > 0 {
                        key.push(b',');
                    }
                    key.extend_from_slice(component);
                    part.push(&mut key, self.request, applicable.path_part);
                }
            }
        }
        key.push(b'}');
        key
    }

    /// Returns the groups, without hashes that no charge uses, and the number of invalid costs.
    pub fn finish(self) -> (Vec<Group>, u32) {
        let groups = self.groups.into_iter().map(GroupBuilder::finish).collect();
        (groups, self.broken_costs)
    }
}

impl GroupBuilder {
    fn new(hash: Vec<u8>) -> GroupBuilder {
        GroupBuilder {
            group: Group {
                keys: vec![hash],
                charges: Vec::new(),
            },
            hash_used: false,
            draw: None,
        }
    }

    fn hash(&self) -> &[u8] {
        self.group.keys.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// The same on every Envoy, since it comes from the key.
    fn draw(&mut self, request: &RequestContext<'_>) -> u64 {
        let draw = self
            .draw
            .unwrap_or_else(|| request.hasher.digest(self.hash()).draw());
        self.draw = Some(draw);
        draw
    }

    /// Adds the key `<the tag's hash>:<limit>:<form>:<period ms>[:<component>…]` and returns its index.
    fn add_own_key(&mut self, applicable: &ApplicableLimit<'_>, request: &RequestContext<'_>) -> usize {
        let label = applicable.limit.label.as_bytes();
        let beside = &applicable.limit.layout.beside;
        let mut key = Vec::with_capacity(self.hash().len() + 1 + label.len() + 40 * beside.len());
        key.extend_from_slice(self.hash());
        key.push(b':');
        key.extend_from_slice(label);
        for part in beside {
            key.push(b':');
            part.push(&mut key, request, applicable.path_part);
        }
        self.group.keys.push(key);
        self.group.keys.len() - 1
    }

    fn finish(mut self) -> Group {
        if !self.hash_used {
            self.group.keys.remove(0);
            for charge in &mut self.group.charges {
                charge.key = charge.key.saturating_sub(1);
            }
        }
        self.group
    }
}
