//! Throttling of Django REST framework: `REST_FRAMEWORK` in settings.py.

use super::python::{literal, Literal};
use super::{name, scalar, Imported, Limit};
use crate::Failure;

pub fn read(text: &str) -> Result<Imported, Failure> {
    let Some(at) = text.find("REST_FRAMEWORK") else {
        return Err(Failure::new("no REST_FRAMEWORK in this file"));
    };
    let line = text.get(..at).unwrap_or_default().lines().count().max(1);
    let after = text
        .get(at..)
        .and_then(|text| text.split_once('='))
        .map(|(_, after)| after);
    let Some((settings, _)) = after.and_then(literal) else {
        return Err(Failure::new(format!(
            "line {line}: REST_FRAMEWORK is not a plain dictionary"
        )));
    };
    let mut imported = Imported::of_users();
    imported.advice("rates up to 100 keep an exact history as in DRF, larger rates use a sliding window of constant size; algorithm: sliding_window_log keeps an exact history up to 10,000");
    let classes = settings
        .get("DEFAULT_THROTTLE_CLASSES")
        .map(Literal::items)
        .unwrap_or_default();
    let classes: Vec<&str> = classes
        .iter()
        .filter_map(Literal::text)
        .map(|class| class.rsplit('.').next().unwrap_or(class))
        .collect();
    let Some(Literal::Map(rates)) = settings.get("DEFAULT_THROTTLE_RATES") else {
        imported.lost(line, "no DEFAULT_THROTTLE_RATES");
        return Ok(imported);
    };
    for (scope, rate) in rates {
        let line = text
            .lines()
            .position(|line| line.contains(&format!("'{scope}'")) || line.contains(&format!("\"{scope}\"")));
        let line = line.map_or(0, |line| line + 1);
        let rate = match rate {
            Literal::None => continue,
            Literal::Text(rate) => match self::rate(rate) {
                Some(rate) => rate,
                None => {
                    imported.lost(line, format!("{scope}: the rate {rate:?}"));
                    continue;
                }
            },
            other => {
                imported.lost(
                    line,
                    format!("{scope}: its rate is an expression and is not evaluated: {other:?}"),
                );
                continue;
            }
        };
        let limit = Limit::new(&name(scope), &rate);
        let limit = match scope.as_str() {
            "anon" => {
                unused(&classes, "AnonRateThrottle", scope, &mut imported);
                limit
                    .with("match", "{not: {source: [user]}}")
                    .with("key", "[address]")
            }
            "user" => {
                unused(&classes, "UserRateThrottle", scope, &mut imported);
                limit
            }
            scope => {
                imported.advice("a scope's views are matched by the name of their route: give Envoy's routes these names, or write their paths");
                limit.with("match", format!("{{route: {}}}", scalar(scope)))
            }
        };
        imported.limits.push(limit);
    }
    match settings.get("NUM_PROXIES") {
        Some(Literal::Number(hops)) => {
            let hops = format!("NUM_PROXIES {hops}: in Envoy's connection manager, use_remote_address: true and xff_num_trusted_hops: {}", hops - 1);
            imported.advice(&hops);
        }
        _ => imported.advice("the address is the one that Envoy trusts: use_remote_address and xff_num_trusted_hops, in place of NUM_PROXIES"),
    }
    let known = ["AnonRateThrottle", "UserRateThrottle", "ScopedRateThrottle"];
    for class in classes.iter().filter(|class| !known.contains(class)) {
        imported.lost(
            line,
            format!("{class}: a throttle of your own; its scope is here by its rate alone"),
        );
    }
    Ok(imported)
}

fn unused(classes: &[&str], class: &str, scope: &str, imported: &mut Imported) {
    if !classes.is_empty() && !classes.contains(&class) {
        imported.advice(&format!("{scope} is only a rate: {class} is not a default class; remove the limit, or match the views that use it"));
    }
}

/// DRF reads only the period's first letter.
fn rate(text: &str) -> Option<String> {
    let (n, period) = text.split_once('/')?;
    let n: u64 = n.trim().parse().ok()?;
    let unit = match period.trim().chars().next()? {
        's' => "second",
        'm' => "minute",
        'h' => "hour",
        'd' => "day",
        _ => return None,
    };
    Some(format!("{n}/{unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttle_rates_become_limits() {
        let text = "DEBUG = False\nREST_FRAMEWORK = {\n    'DEFAULT_THROTTLE_CLASSES': [\n        'rest_framework.throttling.AnonRateThrottle',\n        'rest_framework.throttling.UserRateThrottle',\n        'app.throttles.Burst',\n    ],\n    'DEFAULT_THROTTLE_RATES': {\n        'anon': '100/day',\n        'user': '1000/hr',\n        'uploads': '20/min',\n        'burst': RATE,\n        'off': None,\n    },\n    'NUM_PROXIES': 2,\n}\n";
        let imported = read(text).unwrap();
        let limits: Vec<String> = imported.limits.iter().map(Limit::yaml).collect();
        assert_eq!(
            limits,
            [
                "{name: anon, rate: 100/day, match: {not: {source: [user]}}, key: [address]}",
                "{name: user, rate: 1000/hour}",
                "{name: uploads, rate: 20/minute, match: {route: uploads}}",
            ]
        );
        let lost: Vec<usize> = imported.lost.iter().map(|(line, _)| *line).collect();
        assert_eq!(lost, [12, 1]);
        assert!(imported
            .advice
            .iter()
            .any(|advice| advice.contains("xff_num_trusted_hops: 1")));
    }
}
