//! Finds why a match does not fit and which override applies, in the terms of the configuration.

use super::policies::Loaded;
use headgate_core::identify::{Client, ClientValue, Headers, Identity, Source};
use headgate_core::limit::{bare_host, Limit, Match, Override, PathReadings};
use headgate_sim::request::Request;
use ipnet::IpNet;
use serde_json::Value;

/// Why none of the limit's matches fits: for each match, the first field that does not fit.
pub fn no_match(
    loaded: &Loaded,
    index: usize,
    limit: &Limit,
    request: &Request,
    identity: &Identity,
) -> String {
    let written = loaded.found.content.tree().and_then(|tree| tree.get("limits"));
    let written = written
        .and_then(|limits| limits.items().get(index))
        .and_then(|limit| limit.get("match"));
    let source = identity
        .source()
        .and_then(|index| loaded.policy.identify.get(index));
    let source = source.map(|source| source.name.as_str());
    let several = limit.matches.len() > 1;
    let one = |(number, condition): (usize, &Match)| {
        let written = match written.map(|node| (node, node.items().get(number))) {
            Some((_, Some(item))) => Some(item),
            Some((node, None)) => Some(node),
            None => None,
        };
        let written = written.map_or(Value::Null, |node| node.value(loaded.found.reader));
        let why = mismatch(condition, &written, request, source);
        match several {
            true => format!("match[{number}]: {why}"),
            false => why,
        }
    };
    limit
        .matches
        .iter()
        .enumerate()
        .map(one)
        .collect::<Vec<_>>()
        .join("; ")
}

fn mismatch(condition: &Match, written: &Value, request: &Request, source: Option<&str>) -> String {
    let header = |name: &str| {
        let value = request.header(name).value().unwrap_or_default();
        String::from_utf8_lossy(&value).into_owned()
    };
    let method = header(":method").to_ascii_uppercase();
    let fits_source = |source: &str| condition.sources.iter().any(|known| known == source);
    if !condition.sources.is_empty() && !source.is_some_and(fits_source) {
        return format!(
            "source {} is not {}",
            show(written, "source"),
            source.unwrap_or("none")
        );
    }
    let counted_method = if method == "HEAD" { "GET" } else { &method };
    let fits_method = |known: &String| *known == method || known == counted_method;
    if !condition.methods.is_empty() && !condition.methods.iter().any(fits_method) {
        return format!("methods {} does not include {method}", show(written, "methods"));
    }
    let target = header(":path");
    let paths = PathReadings::of(target.as_bytes());
    if let Some(pattern) = &condition.path {
        if !paths.iter().any(|path| pattern.matches(path, condition.case)) {
            let path = String::from_utf8_lossy(paths.canonical());
            return format!("path {} does not fit {path}", show(written, "path"));
        }
    }
    let authority = header(":authority");
    let host = bare_host(authority.as_bytes());
    if !condition.hosts.is_empty() && !condition.hosts.iter().any(|pattern| pattern.matches(host)) {
        return format!(
            "hosts {} does not include {}",
            show(written, "hosts"),
            String::from_utf8_lossy(host)
        );
    }
    for (name, pattern) in &condition.headers {
        let found = request.header(name);
        if !found.values().iter().any(|value| pattern.matches(value)) {
            // The value may be a secret.
            return format!("header {name} is missing or does not fit");
        }
    }
    if condition.route.is_some() && condition.route != request.route {
        let route = request.route.as_deref().unwrap_or("none");
        return format!("route {} is not {route}", show(written, "route"));
    }
    format!("not {} fits", show(written, "not"))
}

fn show(written: &Value, field: &str) -> String {
    match written.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

/// The index of the override that applies to this client in the limit's list. Live overrides are ignored.
pub fn overridden(
    sources: &[Source],
    limit: &Limit,
    client: Option<&Client>,
    address: Option<IpNet>,
) -> Option<usize> {
    let hasher = super::input::hasher();
    let is_client = |name: &str, value: Option<ClientValue>| {
        client.is_some_and(|client| client.source == name && Some(&client.value) == value.as_ref())
    };
    let fits = |one: &Override| match one {
        Override::Redis => false,
        Override::Value { source, value, .. } => {
            let known = sources.iter().find(|known| known.name == *source);
            is_client(source, known.and_then(|known| known.client_value(value, &hasher)))
        }
        Override::Hash { source, hash, .. } => is_client(source, Some(ClientValue::Digest(*hash))),
        Override::Cidr { net, .. } => address.is_some_and(|address| net.contains(&address)),
    };
    limit.overrides.iter().position(fits)
}
