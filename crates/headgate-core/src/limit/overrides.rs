//! The quota that a limit grants a client: its own, or that of the first override that fits.

use super::request::RequestContext;
use super::{Override, Quota};
use crate::identify::{canonical_net, ClientValue, Hasher, Source};
use ipnet::IpNet;

/// The overrides of one limit, with values hashed and sources looked up.
#[derive(Debug, Clone)]
pub(crate) struct Overrides {
    quota: Quota,
    list: Vec<CompiledOverride>,
}

#[derive(Debug, Clone)]
enum CompiledOverride {
    Live,
    Client {
        source: usize,
        value: ClientValue,
        quota: Quota,
    },
    Cidr {
        net: IpNet,
        quota: Quota,
    },
}

impl Overrides {
    /// `quota`: what the limit grants if no override fits. An override that can never fit is left out.
    pub fn new(quota: Quota, list: &[Override], sources: &[Source], hasher: &Hasher) -> Overrides {
        let named = |name: &String| {
            sources
                .iter()
                .enumerate()
                .find(|(_, source)| source.name == *name)
        };
        let compile = |one: &Override| {
            Some(match one {
                Override::Redis => CompiledOverride::Live,
                Override::Value { source, value, quota } => {
                    let (index, source) = named(source)?;
                    CompiledOverride::Client {
                        source: index,
                        value: source.client_value(value, hasher)?,
                        quota: *quota,
                    }
                }
                Override::Hash { source, hash, quota } => CompiledOverride::Client {
                    source: named(source)?.0,
                    value: ClientValue::Digest(*hash),
                    quota: *quota,
                },
                Override::Cidr { net, quota } => CompiledOverride::Cidr {
                    net: canonical_net(*net),
                    quota: *quota,
                },
            })
        };
        Overrides {
            quota,
            list: list.iter().filter_map(compile).collect(),
        }
    }

    /// The quota of this client, and whether a live override may still change it.
    pub fn quota(&self, request: &RequestContext<'_>) -> (Quota, bool) {
        let mut live = false;
        for one in &self.list {
            match one {
                CompiledOverride::Live => live = true,
                CompiledOverride::Client { source, value, quota } => {
                    let fits = |c: &&crate::identify::Client| c.index == *source && c.value == *value;
                    if request.client().filter(fits).is_some() {
                        return (*quota, live);
                    }
                }
                CompiledOverride::Cidr { net, quota } => {
                    if request.address().is_some_and(|address| net.contains(&address)) {
                        return (*quota, live);
                    }
                }
            }
        }
        (self.quota, live)
    }
}

#[cfg(test)]
#[path = "grants_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "replaces_tests.rs"]
mod replaces_tests;
