//! Finds a client's counters in Redis, unpacks them into the core's states, and computes what they allow.

use super::store::Store;
use super::target::{CounterSpace, Target};
use super::{reasons, Failure};
use ::redis::cmd;
use headgate_core::identify::ClientValue;
use headgate_core::limit::algorithm::{leased_period, State, Terms, EXACT};
use headgate_core::limit::{Algorithm, Cost, Form, Limit, Override, Quota, Rate, Verdict};
use headgate_core::script::LiveQuota;
use headgate_core::store::{override_limit, unpack, unpack_log, Label, ONLY_FIELD};

/// One counter of a client.
pub struct Stored {
    pub label: Label,
    pub key: Vec<u8>,
    /// `None`: the whole key is the counter.
    pub field: Option<Vec<u8>>,
    /// `None`: not readable by this release.
    pub state: Option<State>,
}

/// Everything that Redis has of a client.
pub struct Everything {
    pub counters: Vec<Stored>,
    /// Live overrides by the limit's name, those that have ended included.
    pub overrides: Vec<(String, LiveQuota)>,
    /// Redis's clock.
    pub clock_us: u64,
}

/// The current state of a counter.
pub struct Usage {
    /// N (for gcra the burst); `None`: neither a policy nor a live override gives it.
    pub limit: Option<Quota>,
    pub used: u64,
    pub verdict: Verdict,
}

/// Reads all counters of a client.
pub fn read(store: &mut Store, target: &Target) -> Result<Everything, Failure> {
    let mut everything = Everything {
        counters: Vec::new(),
        overrides: Vec::new(),
        clock_us: store.clock_us(&target.hash)?,
    };
    for key in store.keys_of(&target.hash)? {
        let suffix = key.get(target.hash.len()..).unwrap_or_default();
        if suffix.is_empty() {
            for (field, value) in fields(store, &key)? {
                let name = String::from_utf8_lossy(&field).into_owned();
                if let Some(limit) = override_limit(&name) {
                    if let Some(quota) = LiveQuota::parse(&value) {
                        everything.overrides.push((limit, quota));
                    }
                } else if let Some(label) = Label::parse(&name) {
                    everything.counters.push(Stored {
                        state: unpack(label.form, &value),
                        label,
                        key: key.clone(),
                        field: Some(field),
                    });
                }
            }
        } else if let Some(label) = std::str::from_utf8(suffix)
            .ok()
            .and_then(|suffix| Label::parse(suffix.strip_prefix(':')?))
        {
            let state = match label.form {
                Form::Log => {
                    let ring: Vec<u8> =
                        store.on(&key, |connection| cmd("GET").arg(&key).query(connection))?;
                    unpack_log(&ring).map(State::Log)
                }
                form => {
                    let fields = fields(store, &key)?;
                    let only = fields
                        .into_iter()
                        .find(|(field, _)| field == ONLY_FIELD.as_bytes());
                    only.and_then(|(_, value)| unpack(form, &value))
                }
            };
            everything.counters.push(Stored {
                label,
                key,
                field: None,
                state,
            });
        }
    }
    everything
        .counters
        .sort_by_cached_key(|stored| (stored.label.limit.clone(), stored.label.components.clone()));
    everything.overrides.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(everything)
}

/// A hash's fields and values.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

pub fn fields(store: &mut Store, key: &[u8]) -> Result<Fields, Failure> {
    store.on(key, |connection| cmd("HGETALL").arg(key).query(connection))
}

impl Everything {
    /// The current state of a counter, by the policy if there is one, and by live overrides.
    pub fn usage(&self, stored: &Stored, place: &CounterSpace, target: &Target) -> Option<Usage> {
        let state = stored.state.as_ref()?;
        let limit = place.loaded.as_ref().and_then(|loaded| {
            // A counter of another form or period is left over from another policy.
            let same = |limit: &&Limit| {
                limit.name == stored.label.limit
                    && limit.algorithm.form() == stored.label.form
                    && limit.period() == Some(stored.label.period)
            };
            loaded.policy.limits.iter().find(same)
        });
        let quota = self
            .live(stored, limit)
            .or_else(|| limit.map(|limit| granted(limit, target, place)));
        let algorithm = limit.map_or(stored.label.form.algorithm(), |limit| limit.algorithm);
        // Without a known N, use the maximum: usage and reset times do not depend on N.
        let most = EXACT / stored.label.period.as_millis();
        let n = match quota {
            Some(Quota::Limited(rate)) => rate.limit,
            _ => most,
        };
        let mut rate = Rate {
            limit: n,
            period: stored.label.period,
        };
        if limit.is_some_and(|limit| limit.lease.is_some()) {
            rate.period = leased_period(algorithm, rate);
        }
        let terms = Terms {
            algorithm,
            rate,
            phase_ms: 0,
            overdraws: limit.is_some_and(|limit| matches!(limit.cost, Cost::ResponseHeader { .. })),
        };
        let verdict = state.check(self.clock_us, &terms, 1);
        let used = match (state, quota) {
            // How fast a bucket drains depends on N.
            (State::Gcra(bucket), None | Some(Quota::Unlimited)) => {
                bucket.level.div_ceil(stored.label.period.as_millis())
            }
            _ => {
                let whole = Terms {
                    rate: Rate {
                        limit: most,
                        ..terms.rate
                    },
                    algorithm: match algorithm {
                        Algorithm::Gcra { .. } => return Some(self.bucket(state, &terms, quota, verdict)),
                        other => other,
                    },
                    ..terms
                };
                most.saturating_sub(state.check(self.clock_us, &whole, 0).remaining)
            }
        };
        Some(Usage {
            limit: quota,
            used,
            verdict,
        })
    }

    fn bucket(&self, state: &State, terms: &Terms, quota: Option<Quota>, verdict: Verdict) -> Usage {
        let left = state.check(self.clock_us, terms, 0);
        Usage {
            limit: quota,
            used: left.limit.unwrap_or(0).saturating_sub(left.remaining),
            verdict,
        }
    }

    /// The quota of a valid live override, if the limit reads it.
    fn live(&self, stored: &Stored, limit: Option<&Limit>) -> Option<Quota> {
        if limit.is_some_and(|limit| !limit.overrides.contains(&Override::Redis)) {
            return None;
        }
        let holds = |(name, quota): &&(String, LiveQuota)| {
            *name == stored.label.limit && quota.holds(self.clock_us / 1000)
        };
        let (_, quota) = self.overrides.iter().find(holds)?;
        Some(match quota.limit_for(stored.label.form, stored.label.period) {
            None => Quota::Unlimited,
            Some(limit) => Quota::Limited(Rate {
                limit,
                period: stored.label.period,
            }),
        })
    }
}

/// What the policy grants this client, without live overrides. Overrides by CIDR apply here only to clients that are
/// identified by their address.
fn granted(limit: &Limit, target: &Target, place: &CounterSpace) -> Quota {
    let sources = place
        .loaded
        .as_ref()
        .map(|loaded| loaded.policy.identify.as_slice())
        .unwrap_or_default();
    let address = match target.client.as_ref().map(|client| &client.value) {
        Some(ClientValue::Address(address)) => Some(*address),
        _ => None,
    };
    let fitting = reasons::overridden(sources, limit, target.client.as_ref(), address);
    let fitting = fitting.and_then(|index| limit.overrides.get(index));
    fitting.and_then(Override::quota).unwrap_or(limit.quota)
}
