//! Policies, requests and counters for tests, benchmarks and fuzz targets, of this crate and of those beside it. Not in
//! the module, and no part of the library's interface: what does not hold panics.
#![allow(clippy::panic)]

use crate::config::{parse, Plugin, Policy};
use crate::identify::{Attributes, Headers, TlsField};
use crate::limit::{Algorithm, Charge, Group, Period, Rate};
use std::net::IpAddr;

/// The HTTP role's policy in this JSON.
pub fn policy(json: &str) -> Policy {
    match parse(json.as_bytes()) {
        Ok(Plugin::Filter(policy)) => *policy,
        Ok(other) => panic!("no policy: {other:?}"),
        Err(errors) => panic!("{errors}"),
    }
}

/// N calls in so many ms.
pub fn rate(limit: u64, period_ms: u64) -> Rate {
    let Some(period) = Period::from_millis(period_ms) else {
        panic!("{period_ms} ms is no period")
    };
    Rate { limit, period }
}

/// A call of cost 1 of an enforced limit, whose counter stands in the group's first key.
pub fn charge(limit: usize, algorithm: Algorithm, rate: Rate) -> Charge {
    let form = algorithm.form().word();
    Charge {
        limit,
        matched: None,
        key: 0,
        field: format!("{limit}:{form}:{}", rate.period.as_millis()).into(),
        algorithm,
        rate,
        cost: 1,
        later: false,
        enforced: true,
        phase_ms: 0,
        live: None,
    }
}

/// Charges in one key.
pub fn group(key: impl Into<Vec<u8>>, charges: Vec<Charge>) -> Group {
    Group {
        keys: vec![key.into()],
        charges,
    }
}

/// A request of 127.0.0.1 with these headers, and nothing else that could be asked of it.
pub struct Request<'h>(pub &'h [(&'h str, &'h str)]);

impl Headers for Request<'_> {
    fn each_value<'a>(&'a self, name: &str, take: &mut dyn FnMut(&'a [u8])) {
        let named = self.0.iter().filter(|(known, _)| *known == name);
        named.for_each(|(_, value)| take(value.as_bytes()));
    }

    fn each_header<'a>(&'a self, take: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        let all = self.0.iter();
        all.for_each(|(name, value)| take(name.as_bytes(), value.as_bytes()));
    }
}

impl Attributes for Request<'_> {
    fn address(&self) -> Option<IpAddr> {
        Some([127, 0, 0, 1].into())
    }

    fn metadata(&self, _: &[String]) -> Option<Vec<u8>> {
        None
    }

    fn tls(&self, _: TlsField) -> Option<Vec<u8>> {
        None
    }

    fn route(&self) -> Option<Vec<u8>> {
        None
    }
}
