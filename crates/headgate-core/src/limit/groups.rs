//! Turns the limits that hold into counters: charges, grouped by hash tag.

use super::algorithm::leased_period;
use super::compiled::{Compiled, CompiledCost};
use super::keys::{push_address, push_client, Tag};
use super::request::Request;
use super::{Algorithm, Align, Charge, Group, LiveOverride, Quota, Rate, ReadCost};
use crate::identify::Source;
use std::rc::Rc;

/// A limit that holds for the request.
pub(crate) struct Held<'p> {
    pub index: usize,
    pub limit: &'p Compiled,
    /// By which of its matches, where it has any.
    pub matched: Option<usize>,
    /// What its path counts by, where that is not the path itself.
    pub path_part: Option<&'p [u8]>,
    pub quota: Quota,
    pub live: bool,
    pub enforced: bool,
}

/// A group while it grows: its first key is the tag's own hash, needed or not.
struct Growing {
    group: Group,
    hash_used: bool,
    /// A number drawn from the hash's key.
    draw: Option<u64>,
}

/// The groups of one plan while they grow.
pub(crate) struct Groups<'p> {
    request: &'p Request<'p>,
    sources: &'p [Source],
    /// `<prefix>:<instance>:{`
    key_start: &'p [u8],
    /// The field of a hash that holds one counter only.
    only_field: &'p Rc<str>,
    groups: Vec<Growing>,
    /// Which group has the client's tag, which the address's.
    client: Option<usize>,
    address: Option<usize>,
    broken_costs: u32,
}

impl<'p> Groups<'p> {
    pub fn new(
        request: &'p Request<'p>,
        sources: &'p [Source],
        key_start: &'p [u8],
        only_field: &'p Rc<str>,
    ) -> Groups<'p> {
        Groups {
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

    /// Adds the limit's counter; none where this client is not limited.
    pub fn add(&mut self, held: &Held<'_>) {
        let limit = held.limit;
        let rate = match (held.quota, limit.period) {
            (Quota::Limited(rate), _) => rate,
            // Only a live override may limit here; what stands in its place is never used.
            (Quota::Unlimited, Some(period)) if held.live => Rate { limit: 0, period },
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
        let at = self.group(held);
        let Some(growing) = self.groups.get_mut(at) else {
            return;
        };
        let (key, field) = if limit.own_key {
            (growing.add_own_key(held, request), only_field)
        } else {
            growing.hash_used = true;
            (0, &limit.label)
        };
        let (cost, later) = match limit.cost {
            CompiledCost::Fixed(cost) => (cost, false),
            CompiledCost::Header { header, range } => {
                let read = range.read(request.header(header));
                self.broken_costs += u32::from(read == ReadCost::Broken);
                (range.charged(read), false)
            }
            CompiledCost::Later => (1, true),
        };
        let phase_ms = match limit.algorithm {
            Algorithm::FixedWindow { align: Align::Client } => {
                growing.draw(request) % rate.period.as_millis()
            }
            _ => 0,
        };
        let live = held.live.then(|| LiveOverride {
            key: 0,
            field: Rc::clone(&limit.live_field),
            unlimited: held.quota == Quota::Unlimited,
        });
        growing.hash_used |= live.is_some();
        growing.group.charges.push(Charge {
            limit: held.index,
            matched: held.matched,
            key,
            field: Rc::clone(field),
            algorithm: limit.algorithm,
            rate,
            cost,
            later,
            enforced: held.enforced,
            phase_ms,
            live,
        });
    }

    /// The group of the limit's tag, begun where there is none yet.
    fn group(&mut self, held: &Held<'_>) -> usize {
        let known = match held.limit.layout.tag {
            Tag::Client => self.client,
            Tag::Address => self.address,
            Tag::Parts(_) => None,
        };
        if let Some(at) = known {
            return at;
        }
        let hash = self.tag_hash(held);
        let same = |growing: &Growing| growing.group.keys.first() == Some(&hash);
        let at = self.groups.iter().position(same).unwrap_or_else(|| {
            self.groups.push(Growing::new(hash));
            self.groups.len() - 1
        });
        match held.limit.layout.tag {
            Tag::Client => self.client = Some(at),
            Tag::Address => self.address = Some(at),
            Tag::Parts(_) => {}
        }
        at
    }

    /// `<prefix>:<instance>:{<tag>}`
    fn tag_hash(&self, held: &Held<'_>) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.key_start.len() + 80);
        key.extend_from_slice(self.key_start);
        match (&held.limit.layout.tag, self.request.client()) {
            (Tag::Client, Some(client)) => push_client(&mut key, client, self.sources),
            // Such a limit does not hold.
            (Tag::Client, None) => {}
            (Tag::Address, _) => push_address(&mut key, self.request),
            (Tag::Parts(parts), _) => {
                for (i, (component, part)) in parts.iter().enumerate() {
                    if i > 0 {
                        key.push(b',');
                    }
                    key.extend_from_slice(component);
                    part.push(&mut key, self.request, held.path_part);
                }
            }
        }
        key.push(b'}');
        key
    }

    /// The groups, without the hashes that no charge uses, and how many costs were broken.
    pub fn finish(self) -> (Vec<Group>, u32) {
        let groups = self.groups.into_iter().map(Growing::finish).collect();
        (groups, self.broken_costs)
    }
}

impl Growing {
    fn new(hash: Vec<u8>) -> Growing {
        Growing {
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
    fn draw(&mut self, request: &Request<'_>) -> u64 {
        let draw = self
            .draw
            .unwrap_or_else(|| request.hasher.digest(self.hash()).draw());
        self.draw = Some(draw);
        draw
    }

    /// Adds `<the tag's hash>:<limit>:<form>:<period ms>[:<component>…]` and says where.
    fn add_own_key(&mut self, held: &Held<'_>, request: &Request<'_>) -> usize {
        let label = held.limit.label.as_bytes();
        let beside = &held.limit.layout.beside;
        let mut key = Vec::with_capacity(self.hash().len() + 1 + label.len() + 40 * beside.len());
        key.extend_from_slice(self.hash());
        key.push(b':');
        key.extend_from_slice(label);
        for part in beside {
            key.push(b':');
            part.push(&mut key, request, held.path_part);
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
