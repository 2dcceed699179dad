//! Random configurations in random formatting: patching and unpatching gives the same bytes, patching twice gives the
//! same file as once, and the values around the parts stay.

use super::random::written;
use super::{out, Settings, Try, EDGE};
use crate::document::{self, Reader};
use proptest::prelude::*;
use serde_json::Value;

/// The values without the added parts.
fn less(new: &Value, old: &Value) -> Value {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let fields = old
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), less(new.get(key)?, value))));
            Value::Object(fields.collect())
        }
        (Value::Array(new), Value::Array(old)) => {
            let mut rest = new.iter();
            let kept = old.iter().filter_map(|old| {
                rest.by_ref()
                    .find_map(|new| (less(new, old) == *old).then(|| old.clone()))
            });
            Value::Array(kept.collect())
        }
        (Value::Array(_), Value::Null) => Value::Null,
        (Value::Object(_), Value::Null) => Value::Null,
        (new, _) => new.clone(),
    }
}

fn check(seed: u64) {
    let text = written(seed);
    let tree = |text: &str| -> Vec<Value> {
        let documents = document::parse(text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
        documents.iter().map(|node| node.value(Reader::Envoy)).collect()
    };
    let before = tree(&text);
    let all = [
        None,
        Some(EDGE),
        Some(Settings {
            proxies: 2,
            keeps_paths: true,
            keeps_underscores: false,
        }),
    ];
    let mut last = text.clone();
    for settings in all {
        let asked = Try {
            settings,
            ..Try::default()
        };
        let once = match asked.result(&text) {
            Ok((once, _, _)) => once,
            Err(error) => panic!("seed {seed}: {error}\n{text}"),
        };
        assert_eq!(out(&once), text, "seed {seed}\n{once}");
        assert_eq!(asked.text(&once), once, "seed {seed}");
        if settings.is_none() {
            let after = tree(&once);
            let text_logs = text.contains("START_TIME") || text.contains("a b");
            assert!(
                text_logs || less(&after[0], &before[0]) == before[0],
                "seed {seed}\n{text}\n{once}"
            );
            assert_eq!(after[1..], before[1..], "seed {seed}");
        } else {
            assert_eq!(asked.text(&last), once, "seed {seed}: after another run");
        }
        last = once;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_file_comes_back_as_it_was(seed in any::<u64>()) {
        check(seed);
    }
}

#[test]
#[ignore = "slow"]
fn a_thousand_files_come_back_as_they_were() {
    (0..1000).for_each(check);
}
