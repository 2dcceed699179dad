//! Charges and rates as text for people: which counter, which algorithm, which quota.

use headgate_core::limit::{Algorithm, Align, Charge, Group, Limit, OnError, Quota, Rate};

pub fn key(group: &Group, charge: &Charge) -> String {
    let key = group.keys.get(charge.key).map(Vec::as_slice).unwrap_or_default();
    String::from_utf8_lossy(key).into_owned()
}

pub fn field(charge: &Charge) -> &str {
    match charge.algorithm {
        Algorithm::SlidingWindowLog => "(ring)",
        _ => &charge.field,
    }
}

pub fn granted(charge: &Charge) -> String {
    match (&charge.live, charge.algorithm) {
        (Some(live), _) if live.unlimited => "unlimited".to_owned(),
        (_, Algorithm::Gcra { burst: burst @ 1.. }) => format!("{} (burst {burst})", charge.rate.limit),
        _ => charge.rate.limit.to_string(),
    }
}

pub fn cost(charge: &Charge) -> String {
    match charge.charged_on_response {
        true => "from the response".to_owned(),
        false => charge.cost.to_string(),
    }
}

pub fn on_error(limit: Option<&Limit>) -> &'static str {
    match limit.map(|limit| limit.on_error) {
        Some(OnError::Allow) => "allow",
        Some(OnError::Deny) => "deny",
        Some(OnError::Local) => "local",
        None => "",
    }
}

pub fn algorithm(charge: &Charge) -> String {
    match charge.algorithm {
        Algorithm::FixedWindow {
            align: Align::FirstCall,
        } => "fixed_window from first call".to_owned(),
        Algorithm::FixedWindow { align: Align::Client } => {
            format!("fixed_window shifted {} s", charge.phase_ms / 1000)
        }
        algorithm => algorithm.name().to_owned(),
    }
}

/// As people write it: `100/minute`, `10/30s`.
pub fn show_quota(quota: Quota) -> String {
    let Quota::Limited(Rate { limit, period }) = quota else {
        return "unlimited".to_owned();
    };
    let millis = period.as_millis();
    let units = [
        (86_400_000, "day", "d"),
        (3_600_000, "hour", "h"),
        (60_000, "minute", "m"),
        (1_000, "second", "s"),
    ];
    let unit = units
        .into_iter()
        .find(|(unit, _, _)| millis.is_multiple_of(*unit));
    match unit {
        Some((unit, name, _)) if millis == unit => format!("{limit}/{name}"),
        Some((unit, _, letter)) => format!("{limit}/{}{letter}", millis / unit),
        None => format!("{limit}/{millis}ms"),
    }
}
