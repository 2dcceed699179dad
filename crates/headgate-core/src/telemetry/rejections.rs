//! The series of rejections: by limit, endpoint and client. Only clients that are named in the policy have their own
//! series.

use super::meter::{BufferedCounter, Meter};
use super::names::series;
use crate::engine::OTHER_ENDPOINT;
use crate::identify::{self, Hasher};
use crate::model::{NamedClientValue, Policy};
use std::collections::BTreeMap;

/// The largest number of series for each worker; all others are counted under `other`.
pub(super) const MOST: usize = 1_000;

/// The label for everything without its own series.
const OTHER: &str = OTHER_ENDPOINT;

/// Indices into the policy's limits, the endpoints and the clients' names.
type Key = (usize, usize, usize);

pub(super) struct Rejections {
    /// `source:value or hash`, and its name.
    clients: BTreeMap<String, usize>,
    names: Vec<String>,
    endpoints: Vec<String>,
    /// Usually a handful, so a list is faster than a map.
    rejected: Vec<(Key, BufferedCounter)>,
}

impl Rejections {
    pub fn new(policy: &Policy, hasher: &Hasher) -> Rejections {
        let mut rejections = Rejections {
            clients: BTreeMap::new(),
            names: vec![OTHER.to_owned()],
            endpoints: vec![OTHER.to_owned()],
            rejected: Vec::new(),
        };
        for client in &policy.metrics.clients {
            let source = policy.identify.iter().find(|source| source.name == client.source);
            let value = match (&client.value, source) {
                (NamedClientValue::Hash(hash), _) => Some(identify::ClientValue::Digest(*hash)),
                (NamedClientValue::Value(value), Some(source)) => source.client_value(value, hasher),
                (NamedClientValue::Value(_), None) => None,
            };
            if let Some(value) = value {
                let shown = identify::Client {
                    source: client.source.clone(),
                    index: 0,
                    value,
                };
                let place = rejections.names.len();
                rejections.clients.insert(shown.to_string(), place);
                rejections.names.push(client.name.clone());
            }
        }
        rejections
    }

    /// `endpoint`: a name from the configuration, never from the caller.
    pub fn note(&mut self, limit: usize, endpoint: &str, client: Option<&str>) {
        let client = client.and_then(|client| self.clients.get(client)).copied();
        let known = self.endpoints.iter().position(|known| known == endpoint);
        let endpoint = match known {
            Some(at) => at,
            None if self.endpoints.len() < MOST => {
                self.endpoints.push(endpoint.to_owned());
                self.endpoints.len() - 1
            }
            None => 0,
        };
        let mut key = (limit, endpoint, client.unwrap_or(0));
        let mut at = self.place(key);
        if at.is_none() && self.rejected.len() >= MOST {
            key = (limit, 0, 0);
            at = self.place(key);
        }
        match at.and_then(|at| self.rejected.get_mut(at)) {
            Some((_, slot)) => slot.pending += 1,
            None => self
                .rejected
                .push((key, BufferedCounter { id: None, pending: 1 })),
        }
    }

    fn place(&self, key: Key) -> Option<usize> {
        self.rejected.iter().position(|(known, _)| *known == key)
    }

    pub fn hand_on<'l>(&mut self, meter: &impl Meter, limit_name: impl Fn(usize) -> Option<&'l str>) {
        let text = |list: &[String], at: usize| list.get(at).cloned().unwrap_or_else(|| OTHER.to_owned());
        for ((limit, endpoint, client), slot) in &mut self.rejected {
            slot.define(meter, || {
                let (endpoint, client) = (text(&self.endpoints, *endpoint), text(&self.names, *client));
                let labels = [
                    ("limit", limit_name(*limit).unwrap_or(OTHER)),
                    ("endpoint", endpoint.as_str()),
                    ("client", client.as_str()),
                ];
                series("api_throttle_rejected_total", &labels)
            });
            slot.hand_on(meter);
        }
    }
}
