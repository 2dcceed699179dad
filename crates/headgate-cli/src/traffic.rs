//! Traffic described in a line: `200/s for 60s, clients 50, zipf 1.1, path /`.

use super::Failure;
use headgate_core::config::Policy;
use headgate_core::identify::{Client, Hasher, Identity, SourceKind};
use headgate_core::limit::{Percent, Period, Quota, Rate};
use headgate_sim::request::Request;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

/// Simulated time begins on a full hour, in unix µs.
const START_US: u64 = 1_800_000_000 * 1_000_000;
/// The maximum number of requests in one simulation.
const MOST_EVENTS: f64 = 20_000_000.0;

/// What may be written, for `--help`.
pub const GRAMMAR: &str = "RATE for DURATION, then any of: clients N · zipf S (how uneven they are; 0 is even) · path P \
(several: each as often) · method M · host H · as SOURCE (what identifies them; default the first of identify) · \
addresses N (shared by all clients; default one each) · anonymous 20% (by address alone) · cost N (in the response) \
· from DURATION (when it begins) · evenly (in place of random arrivals) · seed N. Client 1 of \
two lines is the same client";

/// One request of a simulation.
pub struct Event {
    /// Unix µs.
    pub time_us: u64,
    pub identity: Rc<Identity>,
    /// The caller's name for people.
    pub label: Rc<str>,
    pub request: Rc<Request>,
    /// The cost in the response.
    pub cost: u64,
}

/// A caller's name for people, its identity, and its requests.
type Caller = (Rc<str>, Rc<Identity>, Vec<Rc<Request>>);

struct Spec {
    per_second: f64,
    seconds: f64,
    clients: usize,
    zipf: f64,
    paths: Vec<String>,
    method: String,
    host: String,
    source: Option<String>,
    addresses: Option<usize>,
    /// In hundredths of a percent.
    anonymous: u64,
    cost: u64,
    from_s: f64,
    evenly: bool,
    seed: u64,
}

/// All requests that a line means, in the order of time.
///
/// # Errors
/// What is not in [`GRAMMAR`].
pub fn generate(text: &str, policy: &Policy, hasher: &Hasher) -> Result<Vec<Event>, Failure> {
    let spec = parse(text).map_err(|error| Failure::new(format!("--traffic: {error}. Write {GRAMMAR}")))?;
    if spec.per_second * spec.seconds > MOST_EVENTS {
        return Err(Failure::new(format!(
            "--traffic {text:?}: more than {MOST_EVENTS} requests"
        )));
    }
    let source = match &spec.source {
        None => policy.identify.first(),
        Some(name) => policy.identify.iter().find(|source| source.name == *name),
    };
    let Some((index, source)) =
        source.and_then(|source| Some((policy.identify.iter().position(|s| s == source)?, source)))
    else {
        let names: Vec<&str> = policy
            .identify
            .iter()
            .map(|source| source.name.as_str())
            .collect();
        return Err(Failure::new(format!(
            "--traffic: no such source; the policy has {}",
            names.join(", ")
        )));
    };
    let by_address = policy
        .identify
        .iter()
        .enumerate()
        .find(|(_, source)| matches!(source.kind, SourceKind::Address { .. }));
    let is_address = matches!(source.kind, SourceKind::Address { .. });
    let clients: Vec<Caller> = (0..spec.clients)
        .map(|number| {
            let address = address(number % spec.addresses.unwrap_or(spec.clients).max(1));
            let name = format!("client {}", number + 1);
            let is_anonymous = ((number as u64 * 7_919) % 10_000) < spec.anonymous;
            let client = match (is_anonymous || is_address, by_address) {
                (false, _) => source
                    .client_value(&name, hasher)
                    .map(|value| (index, source, value)),
                (true, Some((index, source))) => source
                    .client_value(&address.to_string(), hasher)
                    .map(|value| (index, source, value)),
                (true, None) => None,
            };
            let client = client.map(|(index, source, value)| Client {
                source: source.name.clone(),
                index,
                value,
            });
            let label = match &client {
                Some(client) if is_address || is_anonymous => client.to_string(),
                _ => name,
            };
            let requests = spec.paths.iter().map(|path| {
                let mut request = Request::new(&spec.method, path, &spec.host);
                request.address = Some(address);
                Rc::new(request)
            });
            let identity = client.map_or(Identity::Unknown, Identity::Client);
            (label.into(), Rc::new(identity), requests.collect())
        })
        .collect();
    let shares = shares(spec.clients, spec.zipf);
    let mut random = fastrand::Rng::with_seed(spec.seed);
    let mut events = Vec::new();
    let mut now = 0.0;
    loop {
        now += match spec.evenly {
            true => 1.0 / spec.per_second,
            // Independent arrivals: exponential gaps (a Poisson process).
            false => -(1.0 - random.f64()).ln() / spec.per_second,
        };
        if now > spec.seconds {
            return Ok(events);
        }
        let drawn = random.f64();
        let who = shares
            .partition_point(|share| *share < drawn)
            .min(clients.len().saturating_sub(1));
        let path = random.usize(0..spec.paths.len().max(1));
        let Some((label, identity, requests)) = clients.get(who) else {
            return Ok(events);
        };
        let Some(request) = requests.get(path) else {
            return Ok(events);
        };
        events.push(Event {
            time_us: START_US + ((spec.from_s + now) * 1e6) as u64,
            identity: Rc::clone(identity),
            label: Rc::clone(label),
            request: Rc::clone(request),
            cost: spec.cost,
        });
    }
}

/// In 10.0.0.0/8, one each.
fn address(number: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0A00_0001 + (number as u32 % 0x00FF_FFFE)))
}

/// Cumulated shares: the k-th client comes k^-s times as often as the first.
fn shares(clients: usize, exponent: f64) -> Vec<f64> {
    let weights = (1..=clients).map(|rank| (rank as f64).powf(-exponent));
    let total: f64 = weights.clone().sum();
    weights
        .scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        })
        .collect()
}

fn parse(text: &str) -> Result<Spec, String> {
    let mut parts = text.split(',').map(str::trim);
    let first = parts.next().unwrap_or_default();
    let Some((rate, duration)) = first.split_once(" for ") else {
        return Err(format!(
            "{first:?} is not a rate and a duration, such as 200/s for 60s"
        ));
    };
    let rate = match Quota::parse(rate) {
        Ok(Quota::Limited(Rate { limit, period })) if limit > 0 => {
            limit as f64 * 1000.0 / period.as_millis() as f64
        }
        Ok(_) => return Err(format!("{rate:?}: no traffic; write a rate such as 200/s")),
        Err(error) => return Err(format!("{rate:?}: {error}")),
    };
    let mut spec = Spec {
        per_second: rate,
        seconds: seconds(duration)?,
        clients: 1,
        zipf: 0.0,
        paths: Vec::new(),
        method: "GET".to_owned(),
        host: "localhost".to_owned(),
        source: None,
        addresses: None,
        anonymous: 0,
        cost: 1,
        from_s: 0.0,
        evenly: false,
        seed: 1,
    };
    for part in parts {
        let (word, value) = part.split_once(' ').unwrap_or((part, ""));
        let value = value.trim();
        let count = |least: u64| match value.parse::<u64>() {
            Ok(count) if (least..=1_000_000).contains(&count) => Ok(count),
            _ => Err(format!("{part:?}: write a whole number from {least} to 1000000")),
        };
        match word {
            "clients" => spec.clients = count(1)? as usize,
            "addresses" => spec.addresses = Some(count(1)? as usize),
            "seed" => spec.seed = count(0)?,
            "cost" => spec.cost = count(0)?,
            "zipf" => match value.parse::<f64>() {
                Ok(exponent) if (0.0..=10.0).contains(&exponent) => spec.zipf = exponent,
                _ => return Err(format!("{part:?}: write a number from 0 to 10")),
            },
            "path" if value.starts_with('/') => spec.paths.push(value.to_owned()),
            "method" if !value.is_empty() => spec.method = value.to_owned(),
            "host" if !value.is_empty() => spec.host = value.to_owned(),
            "as" if !value.is_empty() => spec.source = Some(value.to_owned()),
            "anonymous" => match value
                .strip_suffix('%')
                .and_then(|share| share.parse::<f64>().ok())
            {
                Some(share) if (0.0..=100.0).contains(&share) => {
                    let points = Percent::from_basis_points((share * 100.0) as u16).unwrap_or(Percent::FULL);
                    spec.anonymous = u64::from(points.basis_points());
                }
                _ => return Err(format!("{part:?}: write a share such as 20%")),
            },
            "from" => spec.from_s = seconds(value)?,
            "evenly" if value.is_empty() => spec.evenly = true,
            _ => return Err(format!("{part:?} is not understood")),
        }
    }
    if spec.paths.is_empty() {
        spec.paths.push("/".to_owned());
    }
    Ok(spec)
}

fn seconds(text: &str) -> Result<f64, String> {
    match Quota::parse(&format!("0/{}", text.trim())) {
        Ok(Quota::Limited(Rate { period, .. })) => Ok(Period::as_millis(period) as f64 / 1000.0),
        _ => Err(format!("{text:?} is not a duration; write 60s, 5m or 1h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::loaded;
    use std::collections::BTreeMap;

    fn events(text: &str) -> Vec<Event> {
        let loaded = loaded("{limits: [{name: a, rate: 5/s}]}");
        generate(text, &loaded.policy, &Hasher::new(None)).unwrap_or_else(|error| panic!("{error:?}"))
    }

    fn by_client(events: &[Event]) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for event in events {
            *counts.entry(event.label.to_string()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn traffic_has_its_rate_and_its_duration() {
        let even = events("10/s for 60s, evenly");
        assert!((599..=600).contains(&even.len()), "{}", even.len());
        let random = events("10/s for 60s, clients 3");
        assert!((500..=700).contains(&random.len()), "{}", random.len());
        assert!(random.iter().is_sorted_by_key(|event| event.time_us));
        let late = events("10/s for 10s, from 5m");
        assert!(late[0].time_us >= START_US + 300_000_000);
    }

    #[test]
    fn zipf_makes_the_first_client_the_most_frequent() {
        let counts = by_client(&events("100/s for 100s, clients 10, zipf 1"));
        // The harmonic number of 10 is 2.93: the first has a share of 0.34, the second half of that.
        assert!((3_200..=3_600).contains(&counts["client 1"]), "{counts:?}");
        assert!((1_500..=1_900).contains(&counts["client 2"]), "{counts:?}");
    }

    #[test]
    fn callers_are_identified_by_the_given_source() {
        let all = events("100/s for 10s, clients 4, addresses 1");
        let first = all[0].request.address;
        assert!(all.iter().all(|event| event.request.address == first));
        assert!(all
            .iter()
            .all(|event| event.identity.client().unwrap().source == "api_key"));
        let anonymous = events("100/s for 10s, clients 4, anonymous 100%");
        assert!(anonymous
            .iter()
            .all(|event| event.identity.client().unwrap().source == "address"));
        assert_eq!(
            by_client(&events("100/s for 10s, clients 2, as address"))
                .keys()
                .next()
                .unwrap(),
            "address:10.0.0.1"
        );
    }

    #[test]
    fn invalid_text_is_an_error_that_shows_it() {
        for (text, piece) in [
            ("200/s", "not a rate and a duration"),
            ("0/s for 5s", "no traffic"),
            ("5/fortnight for 5s", "unknown period"),
            ("5/s for ever", "not a duration"),
            ("5/s for 5s, clients none", "clients none"),
            ("5/s for 5s, path login", "path login"),
            ("5/s for 5s, anonymous 5", "20%"),
            ("5/s for 5s, wild", "wild"),
        ] {
            let error = parse(text).err().unwrap_or_default();
            assert!(error.contains(piece), "{text}: {error}");
        }
    }
}
