//! Every field of the configuration is met by a test in real Envoy. This checks that such a test exists, not that it is
//! sufficient.

use crate::harness::*;
use serde_json::Value;
use std::collections::BTreeSet;

/// Built by other parts, with tests of their own when they are there.
const ELSEWHERE: [&str; 3] = ["verdict_cache", "log", "metrics"];

/// Words that a field accepts, in addition to its default.
const WORDS: &[&str] = &[
    "auto",
    "fixed_window",
    "sliding_window_log",
    "sliding_window_counter",
    "gcra",
    "epoch",
    "first_call",
    "align: client",
    "tls: uri_san",
    "tls: dns_san",
    "tls: subject",
    "as: plain",
    "{from: redis}",
    "rate: unlimited",
    "on_error: deny",
    "on_error: allow",
    "on_error: local",
    "store: local",
    "on_no_client: deny",
    "reset: delta",
    "format: problem_json",
    "upstream_headers: keep",
    "[x-ratelimit, ietf]",
    "headers: []",
    "enforce: false",
    "expose: false",
    "enabled: false",
    "\"header:",
    "\"query:",
    "\"cookie:",
    "response_header:",
    "enforce: 40%",
];

fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let given_by_callers = name.starts_with("x-") || name.starts_with("access-control-");
                if ELSEWHERE.contains(&name.as_str()) || given_by_callers {
                    continue;
                }
                found.insert(name.clone());
                // Names of rates are anybody's.
                if name != "rates" {
                    fields(value, found);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

fn sources() -> String {
    let dir = root().join("tests/e2e");
    let files = std::fs::read_dir(dir).expect("the tests").flatten();
    let texts = files
        .filter(|file| file.file_name() != "contract.rs" && file.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|file| std::fs::read_to_string(file.path()).expect("a test"));
    texts.collect()
}

#[test]
fn every_field_and_word_of_the_contract_is_used_by_a_test() {
    let whole = config::load(&root().join("crates/headgate-core/src/config/tests/contract.yaml"));
    let mut wanted = BTreeSet::new();
    fields(&whole, &mut wanted);
    assert!(wanted.len() > 50, "{wanted:?}");
    let sources = sources();
    // A field as it is written in YAML: `name: ` or `name: {`, after a brace, a comma, a dash or at a line's begin.
    let used = |name: &&String| {
        sources.match_indices(&format!("{name}: ")).any(|(at, _)| {
            let before = sources[..at].chars().next_back();
            before.is_none_or(|c| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
        })
    };
    let unused: Vec<_> = wanted.iter().filter(|name| !used(name)).collect();
    assert_eq!(unused, Vec::<&String>::new(), "fields without a test");
    let unused: Vec<_> = WORDS.iter().filter(|word| !sources.contains(**word)).collect();
    assert_eq!(unused, Vec::<&&str>::new(), "values without a test");
}
