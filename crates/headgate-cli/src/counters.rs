//! A client's counters as they lie in Redis: found, unpacked into the core's own states, and explained.

use super::store::Store;
use super::target::{Place, Target};
use super::{reasons, Failure};
use ::redis::cmd;
use headgate_core::identify::ClientValue;
use headgate_core::limit::algorithm::{leased_period, Counter, Fixed, Gcra, Log, State, Terms, EXACT};
use headgate_core::limit::{Algorithm, Align, Cost, Form, Limit, Override, Period, Quota, Rate, Verdict};
use headgate_core::script::LiveQuota;

/// What stands at the end of a live override's field.
pub const OVERRIDE: &str = ":override";
/// The field of a hash with one counter only.
const ONLY_FIELD: &[u8] = b"c";

/// One counter of a client.
pub struct Stored {
    /// The limit's name.
    pub limit: String,
    pub form: Form,
    pub period: Period,
    /// What else is in its key: a path, a method …; empty for the client alone.
    pub components: String,
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

/// What is known of a counter now.
pub struct Standing {
    /// N (for gcra the burst); `None`: neither a policy nor a live override says.
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
                if let Some(limit) = name.strip_suffix(OVERRIDE) {
                    if let Some(quota) = LiveQuota::parse(&value) {
                        everything.overrides.push((unescape(limit), quota));
                    }
                } else if let Some(mut stored) = label(&name, &key) {
                    stored.state = unpack(stored.form, &value);
                    stored.field = Some(field);
                    everything.counters.push(stored);
                }
            }
        } else if let Some(mut stored) = std::str::from_utf8(suffix)
            .ok()
            .and_then(|suffix| label(suffix.strip_prefix(':')?, &key))
        {
            stored.state = match stored.form {
                Form::Log => {
                    let ring: Vec<u8> =
                        store.on(&key, |connection| cmd("GET").arg(&key).query(connection))?;
                    unpack_ring(&ring).map(State::Log)
                }
                form => {
                    let fields = fields(store, &key)?;
                    let only = fields.into_iter().find(|(field, _)| field == ONLY_FIELD);
                    only.and_then(|(_, value)| unpack(form, &value))
                }
            };
            everything.counters.push(stored);
        }
    }
    everything
        .counters
        .sort_by(|a, b| (&a.limit, &a.components).cmp(&(&b.limit, &b.components)));
    everything.overrides.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(everything)
}

/// A hash's fields and values.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

pub fn fields(store: &mut Store, key: &[u8]) -> Result<Fields, Failure> {
    store.on(key, |connection| cmd("HGETALL").arg(key).query(connection))
}

/// `<limit>:<form>:<period ms>[:<component>…]`
fn label(text: &str, key: &[u8]) -> Option<Stored> {
    let mut parts = text.splitn(4, ':');
    let (limit, form, period) = (parts.next()?, parts.next()?, parts.next()?);
    let form = [Form::Fixed, Form::Counter, Form::Gcra, Form::Log]
        .into_iter()
        .find(|known| known.word() == form)?;
    Some(Stored {
        limit: unescape(limit),
        form,
        period: Period::from_millis(period.parse().ok()?)?,
        components: parts.next().unwrap_or_default().to_owned(),
        key: key.to_vec(),
        field: None,
        state: None,
    })
}

/// A limit's name as it is written; `%XX` in a key.
pub fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let pair = match after {
            [high, low, ..] if *first == b'%' => headgate_core::identify::hex_pair(Some(high), Some(low)),
            _ => None,
        };
        out.push(pair.unwrap_or(*first));
        rest = after
            .get(if pair.is_some() { 2 } else { 0 }..)
            .unwrap_or_default();
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A little-endian whole number of so many bytes.
fn number(value: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = value.get(at..at + length)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)),
    )
}

/// What stands before the times in a log of `counting.lua`, and what each of them takes, in bytes.
const RING_HEADER: usize = 29;
const RING_TIME: usize = 7;

/// A log of `counting.lua`: its times in order, from the oldest, which may stand anywhere.
fn unpack_ring(value: &[u8]) -> Option<Log> {
    let place = |at| usize::try_from(number(value, at, 3)?).ok();
    let (room, head, count) = (place(20)?, place(23)?, place(26)?);
    if value.len() != RING_HEADER + RING_TIME * room || count > room {
        return None;
    }
    let times = (head..head + count)
        .map(|at| number(value, RING_HEADER + RING_TIME * (at % room), RING_TIME))
        .collect::<Option<Vec<u64>>>()?;
    Log::from_times(times)
}

/// A packed value of `counting.lua`: little-endian whole numbers of six bytes, a bucket's level of seven.
fn unpack(form: Form, value: &[u8]) -> Option<State> {
    let number = |at, length| number(value, at, length);
    let expected = match form {
        Form::Fixed => 12,
        Form::Counter => 18,
        Form::Gcra => 13,
        Form::Log => return None,
    };
    if value.len() != expected {
        return None;
    }
    Some(match form {
        Form::Fixed => State::Fixed(Fixed {
            start_ms: number(0, 6)?,
            count: number(6, 6)?,
        }),
        Form::Counter => State::Counter(Counter {
            window: number(0, 6)?,
            current: number(6, 6)?,
            previous: number(12, 6)?,
        }),
        _ => State::Gcra(Gcra {
            time_ms: number(0, 6)?,
            level: number(6, 7)?,
        }),
    })
}

impl Everything {
    /// How a counter stands, by the policy where one is known, and by live overrides.
    pub fn standing(&self, stored: &Stored, place: &Place, target: &Target) -> Option<Standing> {
        let state = stored.state.as_ref()?;
        let limit = place.loaded.as_ref().and_then(|loaded| {
            // A counter of another form or period is left over from another policy.
            let same = |limit: &&Limit| {
                limit.name == stored.limit
                    && limit.algorithm.form() == stored.form
                    && limit.period() == Some(stored.period)
            };
            loaded.policy.limits.iter().find(same)
        });
        let quota = self
            .live(stored, limit)
            .or_else(|| limit.map(|limit| granted(limit, target, place)));
        let algorithm = limit.map_or(
            match stored.form {
                Form::Fixed => Algorithm::FixedWindow { align: Align::Epoch },
                Form::Counter => Algorithm::SlidingWindowCounter,
                Form::Gcra => Algorithm::Gcra { burst: 0 },
                Form::Log => Algorithm::SlidingWindowLog,
            },
            |limit| limit.algorithm,
        );
        // Without a known N, the largest there can be: what is used and when it comes back does not depend on it.
        let most = EXACT / stored.period.as_millis();
        let n = match quota {
            Some(Quota::Limited(rate)) => rate.limit,
            _ => most,
        };
        let mut rate = Rate {
            limit: n,
            period: stored.period,
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
            // How fast a bucket drains is N's business.
            (State::Gcra(bucket), None | Some(Quota::Unlimited)) => {
                bucket.level.div_ceil(stored.period.as_millis())
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
        Some(Standing {
            limit: quota,
            used,
            verdict,
        })
    }

    fn bucket(&self, state: &State, terms: &Terms, quota: Option<Quota>, verdict: Verdict) -> Standing {
        let left = state.check(self.clock_us, terms, 0);
        Standing {
            limit: quota,
            used: left.limit.unwrap_or(0).saturating_sub(left.remaining),
            verdict,
        }
    }

    /// What a live override grants, where one holds and the limit reads it.
    fn live(&self, stored: &Stored, limit: Option<&Limit>) -> Option<Quota> {
        if limit.is_some_and(|limit| !limit.overrides.contains(&Override::Redis)) {
            return None;
        }
        let holds =
            |(name, quota): &&(String, LiveQuota)| *name == stored.limit && quota.holds(self.clock_us / 1000);
        let (_, quota) = self.overrides.iter().find(holds)?;
        Some(match quota.limit_for(stored.form, stored.period) {
            None => Quota::Unlimited,
            Some(limit) => Quota::Limited(Rate {
                limit,
                period: stored.period,
            }),
        })
    }
}

/// What the policy grants this client, but for live overrides. One told apart by something else than its address
/// meets no override by CIDR here.
fn granted(limit: &Limit, target: &Target, place: &Place) -> Quota {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring with room for three times; the second place has the oldest.
    fn ring(count: u8) -> Vec<u8> {
        let mut value = vec![0; RING_HEADER];
        (value[20], value[23], value[26]) = (3, 1, count);
        for time in [9, 7, 8_u64] {
            value.extend_from_slice(&time.to_le_bytes()[..RING_TIME]);
        }
        value
    }

    #[test]
    fn a_ring_is_read_from_the_oldest_on_past_its_end() {
        assert_eq!(unpack_ring(&ring(3)).unwrap().times(), [7, 8, 9]);
        assert_eq!(unpack_ring(&ring(2)).unwrap().times(), [7, 8]);
        assert!(unpack_ring(&ring(0)).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_ring_is_not_readable() {
        assert_eq!(unpack_ring(&ring(4)), None);
        assert_eq!(unpack_ring(&ring(3)[..RING_HEADER + 20]), None);
        assert_eq!(unpack_ring(b"not ours"), None);
        assert_eq!(unpack_ring(b""), None);
    }
}
