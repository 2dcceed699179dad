//! django-ratelimit: the decorators in a views.py.

use super::python::{arguments, Literal};
use super::{name, scalar, Imported, Limit};
use crate::Failure;

pub fn read(text: &str) -> Result<Imported, Failure> {
    let mut imported = Imported::of_users();
    imported.advice(
        "views are matched by the name of their route: give Envoy's routes these names, or write their paths",
    );
    imported.advice(
        "fixed windows are kept; as in django-ratelimit, each client's windows begin at a different offset",
    );
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find("ratelimit(")) {
        let at = from + found;
        from = at + "ratelimit(".len();
        let before = text.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let is_decorator = before
            .get(line_start..)
            .is_some_and(|start| start.trim_start().starts_with('@'));
        if !is_decorator {
            continue;
        }
        let line = before.lines().count().max(1);
        match text.get(from - 1..).and_then(arguments) {
            Some((arguments, after)) => decorator(line, &arguments, after, &mut imported),
            None => imported.lost(line, "a decorator that is not understood"),
        }
    }
    Ok(imported)
}

fn decorator(line: usize, arguments: &[(String, Literal)], after: &str, imported: &mut Imported) {
    let get = |name: &str| {
        arguments
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value)
    };
    let view = view(after).unwrap_or_else(|| format!("line-{line}"));
    let key = match get("key").and_then(Literal::text) {
        Some("ip") => "[address]".to_owned(),
        Some("user" | "user_or_ip") => "[client]".to_owned(),
        Some(key) => match key.split_once(':') {
            Some(("header", header)) => {
                format!("[{}]", scalar(&format!("header:{}", header.to_ascii_lowercase())))
            }
            Some(("get", parameter)) => format!("[{}]", scalar(&format!("query:{parameter}"))),
            Some(("post", parameter)) => {
                return imported.lost(
                    line,
                    format!("{view}: POST parameter {parameter}: the filter does not read bodies"),
                );
            }
            _ => return imported.lost(line, format!("{view}: the key {key:?} is code of yours")),
        },
        None => return imported.lost(line, format!("{view}: its key is code of yours")),
    };
    let rate = match get("rate") {
        Some(Literal::Text(rate)) => rate.replace(' ', ""),
        Some(Literal::None) => return,
        _ => return imported.lost(line, format!("{view}: its rate is code of yours")),
    };
    let called = get("group").and_then(Literal::text).unwrap_or(&view);
    let mut called = name(called);
    let is_taken = |called: &str| {
        imported
            .limits
            .iter()
            .any(|limit| limit.0.first().is_some_and(|(_, name)| name == called))
    };
    if is_taken(&called) {
        if get("group").is_some() {
            return imported.lost(
                line,
                format!("{view}: shares the group {called}: add its route to that limit's match"),
            );
        }
        called = name(&format!("{called}-{line}"));
    }
    let mut condition = vec![("route", scalar(&view))];
    let methods: Vec<String> = match get("method") {
        Some(Literal::Text(method)) => vec![scalar(method)],
        Some(Literal::List(methods)) => methods.iter().filter_map(Literal::text).map(scalar).collect(),
        Some(Literal::Other(word)) if word.ends_with("UNSAFE") => {
            ["DELETE", "PATCH", "POST", "PUT"].map(str::to_owned).to_vec()
        }
        _ => Vec::new(),
    };
    if !methods.is_empty() {
        condition.push(("methods", format!("[{}]", methods.join(", "))));
    }
    let mut limit = Limit::new(&called, &rate)
        .with("algorithm", "fixed_window")
        .with("align", "client")
        .with("match", super::object(&condition))
        .with("key", key);
    match get("block") {
        Some(Literal::Flag(false)) => limit = limit.with("enforce", "false"),
        Some(Literal::Flag(true)) => {}
        _ => imported.advice("block is true where it is not written, as from django-ratelimit 4 on; before, it was false (enforce: false)"),
    }
    if matches!(get("key").and_then(Literal::text), Some("user")) {
        imported.advice(
            "key='user' also limits clients that are not signed in: here each address has a counter, in django-ratelimit all of them share one",
        );
    }
    imported.limits.push(limit);
}

/// The view that a decorator is applied to.
fn view(after: &str) -> Option<String> {
    let words = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("def ")
            .or_else(|| line.strip_prefix("class "))
            .map(|rest| {
                rest.chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect::<String>()
            })
    };
    after.lines().find_map(words).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decorators_become_limits() {
        let text = "from django_ratelimit.decorators import ratelimit\n\n@ratelimit(key='ip', rate='5/m', method='POST', block=True)\ndef login(request):\n    pass\n\n@ratelimit(key='header:X-Tenant', rate='100/h', block=False)\n@ratelimit(key='post:email', rate='5/m')\n@ratelimit(key='user_or_ip', rate='10/10s', method=['GET', 'POST'])\ndef search(request):\n    pass\n\n@method_decorator(ratelimit(key=own, rate='1/s'), name='get')\nclass View: pass\n";
        let imported = read(text).unwrap();
        let limits: Vec<String> = imported.limits.iter().map(Limit::yaml).collect();
        assert_eq!(
            limits,
            [
                "{name: login, rate: 5/m, algorithm: fixed_window, align: client, match: {route: login, methods: [POST]}, key: [address]}",
                "{name: search, rate: 100/h, algorithm: fixed_window, align: client, match: {route: search}, key: [\"header:x-tenant\"], enforce: false}",
                "{name: search-9, rate: 10/10s, algorithm: fixed_window, align: client, match: {route: search, methods: [GET, POST]}, key: [client]}",
            ]
        );
        let lost: Vec<usize> = imported.lost.iter().map(|(line, _)| *line).collect();
        assert_eq!(lost, [8, 13]);
    }
}
