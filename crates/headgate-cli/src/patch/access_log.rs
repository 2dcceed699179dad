//! Adds Headgate's values to the access logs of a connection manager.
//!
//! Existing formats are kept: a JSON format gets more fields, a text format more text at its end. A logger without a
//! format gets Envoy's default format with the values after it. A connection manager without a logger gets a logger in
//! JSON.

use super::change::{Change, ChangeKind};
use super::path::Spot;
use crate::document::{Kind, Node};
use crate::parts::{self, Part};

/// Envoy's default format.
const DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
                       %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \
                       \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \
                       \"%UPSTREAM_HOST%\"";

const MARK: &str = "access log";

pub fn changes(manager: &Spot<'_>, notes: &mut Vec<(usize, String)>) -> Vec<Change> {
    let Some(list) = manager.field("access_log") else {
        let list = Part::List {
            items: vec![parts::access_logger()],
            is_flow: false,
        };
        return vec![Change {
            path: manager.path.clone(),
            kind: ChangeKind::Fields {
                before: Some("http_filters".to_owned()),
                fields: vec![("access_log".to_owned(), list)],
            },
            report: "added access log in JSON on standard output, with Headgate's figures".to_owned(),
            mark: MARK.to_owned(),
        }];
    };
    if prints_figures(list.node) {
        return Vec::new();
    }
    if list.node.items().is_empty() {
        return vec![Change {
            path: list.path.clone(),
            kind: ChangeKind::Items {
                index: 0,
                parts: vec![parts::access_logger()],
            },
            report: "added access log in JSON on standard output, with Headgate's figures".to_owned(),
            mark: MARK.to_owned(),
        }];
    }
    let mut changes = Vec::new();
    for logger in list.items() {
        match of_logger(&logger) {
            Ok(change) => changes.push(change),
            Err(why) => notes.push((
                logger.node.place.line,
                format!("this access log is left as it is: {why}; envoy/access-log.yaml has the figures"),
            )),
        }
    }
    changes
}

/// Whether the format already has Headgate's decision.
fn prints_figures(node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar { text, .. } => text.contains("FILTER_STATE(wasm.ratelimit_"),
        Kind::List(items) => items.iter().any(prints_figures),
        Kind::Map(entries) => entries.iter().any(|entry| prints_figures(&entry.value)),
    }
}

fn of_logger(logger: &Spot<'_>) -> Result<Change, String> {
    let Some(config) = logger.field("typed_config") else {
        return Err("it has no typed_config".to_owned());
    };
    let url = config.type_url();
    let is_text = ["StdoutAccessLog", "StderrAccessLog", "FileAccessLog"]
        .iter()
        .any(|name| url.ends_with(&format!(".v3.{name}")));
    if !is_text {
        return Err(format!(
            "{} has no format",
            url.rsplit('.').next().unwrap_or_default()
        ));
    }
    let format = config.field("log_format");
    let around = format.as_ref().unwrap_or(&config);
    for name in ["json_format", "typed_json_format"] {
        if let Some(json) = around.field(name).filter(|json| !json.node.entries().is_empty()) {
            let own = json.node.entries();
            let is_new = |(key, _): &(String, Part)| !own.iter().any(|entry| entry.key == *key);
            let fields: Vec<(String, Part)> = parts::log_fields().into_iter().filter(is_new).collect();
            return Ok(Change {
                path: json.path,
                kind: ChangeKind::Fields { before: None, fields },
                report: "added Headgate's figures to the access log's JSON".to_owned(),
                mark: MARK.to_owned(),
            });
        }
    }
    let texts: [&[&str]; 3] = [
        &["text_format_source", "inline_string"],
        &["text_format"],
        &["format"],
    ];
    if let Some(text) = texts.iter().find_map(|names| around.fields(names)) {
        return of_text(&text);
    }
    if around.field("text_format_source").is_some() {
        return Err("its format is in a file or in the environment".to_owned());
    }
    let text = Part::Scalar {
        text: format!("{DEFAULT} {}\n", parts::log_figures()),
        style: saphyr_parser::ScalarStyle::DoubleQuoted,
    };
    let source = Part::template("text_format_source: {inline_string: $text}", &[("text", text)]);
    let (path, fields) = match (&format, source) {
        (Some(format), Part::Map { fields, .. }) => (format.path.clone(), fields),
        (_, source) => (config.path.clone(), vec![("log_format".to_owned(), source)]),
    };
    Ok(Change {
        path,
        kind: ChangeKind::Fields { before: None, fields },
        report: "added the access log's format: Envoy's own, with Headgate's figures".to_owned(),
        mark: MARK.to_owned(),
    })
}

fn of_text(spot: &Spot<'_>) -> Result<Change, String> {
    let text = spot.node.text().unwrap_or_default();
    if text.trim().is_empty() {
        return Err("its format is empty".to_owned());
    }
    if text.trim_start().starts_with('{') {
        return Err("its format is a text that looks like JSON".to_owned());
    }
    Ok(Change {
        path: spot.path.clone(),
        kind: ChangeKind::Figures(parts::log_figures()),
        report: "added Headgate's figures at the end of the access log's text".to_owned(),
        mark: MARK.to_owned(),
    })
}
