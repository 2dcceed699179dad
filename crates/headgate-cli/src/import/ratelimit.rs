//! Descriptors of Envoy's ratelimit service (envoyproxy/ratelimit).
//!
//! A descriptor's keys mean what the routes' `rate_limits` actions put into them; by their usual names they are
//! understood, others are taken for headers.

use super::{name, object, scalar, Imported, Limit};
use crate::document::{parse, Node, Reader};
use crate::Failure;

pub fn read(text: &str) -> Result<Imported, Failure> {
    let documents =
        parse(text).map_err(|error| Failure::new(format!("line {}: {}", error.place.line, error.message)))?;
    let mut imported = Imported {
        identify: vec!["{address: {}}".to_owned()],
        ..Imported::default()
    };
    for document in &documents {
        let domain = document.get("domain").and_then(Node::text).unwrap_or_default();
        for descriptor in document.get("descriptors").map(Node::items).unwrap_or_default() {
            walk(descriptor, &DescriptorPath::default(), domain, &mut imported);
        }
    }
    imported.advice("the service's fixed windows are kept; without algorithm: fixed_window no client gets twice the rate at a window's border");
    Ok(imported)
}

/// The descriptors on the way to a limit.
#[derive(Clone, Default)]
struct DescriptorPath {
    names: Vec<String>,
    matches: Vec<(&'static str, String)>,
    headers: Vec<(String, String)>,
    keys: Vec<String>,
    /// The name that a limit has whose last value is any.
    general: Option<String>,
}

fn walk(node: &Node, path: &DescriptorPath, domain: &str, imported: &mut Imported) {
    let line = node.place.line;
    let text = |field: &str| node.get(field).and_then(Node::text);
    let Some(key) = text("key") else {
        imported.lost(line, "a descriptor without a key");
        return;
    };
    let mut path = path.clone();
    path.general = text("value").map(|_| limit_name(&path, key, None));
    path.names
        .push(text("value").map_or_else(|| key.to_owned(), |value| format!("{key}_{value}")));
    if let Err(why) = path.add(key, text("value"), imported) {
        imported.lost(line, why);
        return;
    }
    for field in node.entries() {
        const KNOWN: [&str; 5] = ["key", "value", "rate_limit", "descriptors", "shadow_mode"];
        if !KNOWN.contains(&field.key.as_str()) && field.key != "detailed_metric" {
            imported.lost(
                field.key_place.line,
                format!("{} of {}", field.key, path.names.join(".")),
            );
        }
    }
    if let Some(rate_limit) = node.get("rate_limit") {
        limit(node, rate_limit, &path, domain, imported);
    }
    for descriptor in node.get("descriptors").map(Node::items).unwrap_or_default() {
        walk(descriptor, &path, domain, imported);
    }
}

fn limit_name(path: &DescriptorPath, key: &str, value: Option<&str>) -> String {
    let last = value.map_or_else(|| key.to_owned(), |value| format!("{key}_{value}"));
    let all: Vec<&str> = path
        .names
        .iter()
        .map(String::as_str)
        .chain([last.as_str()])
        .collect();
    name(&all.join("."))
}

fn limit(node: &Node, rate_limit: &Node, path: &DescriptorPath, domain: &str, imported: &mut Imported) {
    let line = rate_limit.place.line;
    let text = |field: &str| rate_limit.get(field).and_then(Node::text);
    let rate = match (text("unlimited"), text("requests_per_unit"), text("unit")) {
        (Some("true"), _, _) => "unlimited".to_owned(),
        (_, Some(n), Some(unit)) => match unit.to_ascii_lowercase().as_str() {
            unit @ ("second" | "minute" | "hour" | "day") => format!("{n}/{unit}"),
            "week" => format!("{n}/7d"),
            "month" => format!("{n}/30d"),
            "year" => format!("{n}/365d"),
            other => return imported.lost(line, format!("the unit {other}")),
        },
        _ => return imported.lost(line, "a rate_limit without unit and requests_per_unit"),
    };
    let called = text("name").map_or_else(|| name(&path.names.join(".")), name);
    let mut limit = Limit::new(&called, &rate);
    if rate != "unlimited" {
        limit = limit.with("algorithm", "fixed_window");
    }
    let mut matches = path.matches.clone();
    if !path.headers.is_empty() {
        let headers: Vec<(String, String)> = path.headers.clone();
        matches.push(("headers", object(&headers)));
    }
    if !matches.is_empty() {
        limit = limit.with("match", object(&matches));
    }
    let keys: Vec<String> = path.keys.iter().map(|key| scalar(key)).collect();
    limit = limit.with("key", format!("[{}]", keys.join(", ")));
    let mut replaces: Vec<String> = rate_limit
        .get("replaces")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .filter_map(|item| item.get("name").and_then(Node::text).map(name))
        .collect();
    // A descriptor with a value replaces its neighbour without one.
    let known = |wanted: &String| {
        imported
            .limits
            .iter()
            .any(|limit| limit.0.first().is_some_and(|(_, name)| name == wanted))
    };
    replaces.extend(path.general.clone().filter(known));
    if !replaces.is_empty() {
        limit = limit.with("replaces", format!("[{}]", replaces.join(", ")));
    }
    if node
        .get("shadow_mode")
        .is_some_and(|flag| flag.value(Reader::Kubernetes) == true)
    {
        limit = limit.with("enforce", "false");
    }
    if !domain.is_empty() && imported.limits.is_empty() {
        imported.advice("the domain has no counterpart: one filter has one policy");
    }
    imported.limits.push(limit);
}

impl DescriptorPath {
    /// What one descriptor asks for, and what it counts by.
    fn add(&mut self, key: &str, value: Option<&str>, imported: &mut Imported) -> Result<(), String> {
        match (key, value) {
            ("remote_address" | "masked_remote_address", None) => self.keys.push("address".to_owned()),
            ("remote_address" | "masked_remote_address", Some(value)) => {
                return Err(format!(
                    "a limit for the address {value} alone; write an override by cidr"
                ));
            }
            ("path" | "PATH" | ":path", value) => {
                self.keys.push("path".to_owned());
                self.matches.extend(value.map(|value| ("path", scalar(value))));
            }
            ("method" | ":method", value) => {
                self.keys.push("method".to_owned());
                self.matches
                    .extend(value.map(|value| ("methods", format!("[{}]", scalar(value)))));
            }
            ("host" | "authority" | ":authority", value) => {
                self.keys.push("host".to_owned());
                self.matches
                    .extend(value.map(|value| ("hosts", format!("[{}]", scalar(value)))));
            }
            ("generic_key" | "header_match", Some(value)) => {
                imported.advice("routes with such a generic_key or header_match are matched by their name: give Envoy's routes these names, or write a path");
                self.keys.push("route".to_owned());
                self.matches.push(("route", scalar(value)));
            }
            ("source_cluster" | "destination_cluster", _) => {
                return Err(format!(
                    "{key}: the filter does not know the cluster; match a host or a path"
                ));
            }
            (header, value) => {
                imported.advice("other keys are read as header names: compare with request_headers in your routes' rate_limits");
                let header = header.to_ascii_lowercase().replace('_', "-");
                self.keys.push(format!("header:{header}"));
                self.headers.extend(value.map(|value| (header, wildcard(value))));
            }
        }
        Ok(())
    }
}

/// `foo*` is a prefix there.
fn wildcard(value: &str) -> String {
    match value.strip_suffix('*') {
        Some(prefix) if !prefix.is_empty() => {
            let mut regex = String::new();
            for c in prefix.chars() {
                if !c.is_ascii_alphanumeric() {
                    regex.push('\\');
                }
                regex.push(c);
            }
            object(&[("regex", scalar(&(regex + ".*")))])
        }
        _ => scalar(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_become_limits_with_matches_keys_and_replacements() {
        let text = "domain: d\ndescriptors:\n- key: remote_address\n  rate_limit: {unit: minute, requests_per_unit: 60}\n- key: x_tenant\n  rate_limit: {unit: second, requests_per_unit: 5}\n- key: x_tenant\n  value: gold*\n  shadow_mode: true\n  rate_limit: {unit: second, requests_per_unit: 50}\n- key: generic_key\n  value: login\n  descriptors:\n  - key: remote_address\n    rate_limit: {unit: hour, requests_per_unit: 10}\n- key: source_cluster\n  rate_limit: {unit: day, requests_per_unit: 1}\n";
        let imported = read(text).unwrap();
        let limits: Vec<String> = imported.limits.iter().map(Limit::yaml).collect();
        assert_eq!(
            limits,
            [
                "{name: remote_address, rate: 60/minute, algorithm: fixed_window, key: [address]}",
                "{name: x_tenant, rate: 5/second, algorithm: fixed_window, key: [\"header:x-tenant\"]}",
                "{name: x_tenant_gold-, rate: 50/second, algorithm: fixed_window, match: {headers: {x-tenant: {regex: \"gold.*\"}}}, key: [\"header:x-tenant\"], replaces: [x_tenant], enforce: false}",
                "{name: generic_key_login.remote_address, rate: 10/hour, algorithm: fixed_window, match: {route: login}, key: [route, address]}",
            ]
        );
        assert_eq!(imported.lost.len(), 1);
        assert_eq!(imported.lost[0].0, 16);
    }
}
