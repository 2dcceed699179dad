//! The parts that belong in Envoy's bootstrap: internal listeners, labels of metrics, a runtime setting.

use super::change::{Change, ChangeKind};
use super::path::{Path, Spot};
use crate::document::Node;
use crate::parts::{self, Part};

/// A list in a block, or an object of these fields.
fn list(items: Vec<Part>) -> Part {
    Part::List {
        items,
        is_flow: false,
    }
}

fn map(fields: Vec<(&str, Part)>) -> Part {
    Part::Map {
        fields: named(fields),
        is_flow: false,
    }
}

pub fn named(fields: Vec<(&str, Part)>) -> Vec<(String, Part)> {
    fields
        .into_iter()
        .map(|(key, part)| (key.to_owned(), part))
        .collect()
}

/// New fields of the bootstrap.
pub fn field(key: &str, part: Part, report: &str, mark: &str) -> Change {
    fields(&Path::default(), vec![(key, part)], report, mark)
}

fn fields(path: &Path, fields: Vec<(&str, Part)>, report: &str, mark: &str) -> Change {
    Change {
        path: path.clone(),
        kind: ChangeKind::Fields {
            before: Some("static_resources".to_owned()),
            fields: named(fields),
        },
        report: format!("added {report}"),
        mark: mark.to_owned(),
    }
}

pub fn items(spot: &Spot<'_>, index: usize, parts: Vec<Part>, report: &str, mark: &str) -> Change {
    Change {
        path: spot.path.clone(),
        kind: ChangeKind::Items { index, parts },
        report: format!("added {report}"),
        mark: mark.to_owned(),
    }
}

/// The extension without which Envoy has no internal listeners.
pub fn extension(root: &Spot<'_>) -> Option<Change> {
    const REPORT: &str = "bootstrap extension for internal listeners";
    const MARK: &str = "internal listeners";
    let part = parts::internal_listeners();
    match root.field("bootstrap_extensions") {
        None => Some(field("bootstrap_extensions", list(vec![part]), REPORT, MARK)),
        Some(spot) => {
            let is_there = spot.items().iter().any(|one| {
                let url = one.field("typed_config").map(|config| config.type_url());
                url.is_some_and(|url| url.ends_with("internal_listener.v3.InternalListener"))
            });
            (!is_there).then(|| items(&spot, 0, vec![part], REPORT, MARK))
        }
    }
}

/// Labels and buckets of the metrics; notes are added to `notes`.
pub fn stats(root: &Spot<'_>, notes: &mut Vec<(usize, String)>) -> Vec<Change> {
    const MARK: &str = "metrics";
    const LABELS: &str = "stats labels of Headgate's metrics";
    const BUCKETS: &str = "histogram buckets of Headgate's metrics";
    let buckets = parts::histogram_buckets();
    let all = || {
        parts::STATS_LABELS
            .iter()
            .map(|label| parts::stats_tag(label))
            .collect()
    };
    let Some(config) = root
        .field("stats_config")
        .filter(|spot| !spot.node.entries().is_empty())
    else {
        let config = vec![
            ("stats_tags", list(all())),
            ("histogram_bucket_settings", list(vec![buckets])),
        ];
        return vec![match root.field("stats_config") {
            Some(spot) => fields(
                &spot.path,
                config,
                "stats labels and buckets of Headgate's metrics",
                MARK,
            ),
            None => field(
                "stats_config",
                map(config),
                "stats labels and buckets of Headgate's metrics",
                MARK,
            ),
        }];
    };
    if let Some(matcher) = config.field("stats_matcher") {
        let message = "stats_matcher decides which metrics exist; let it keep those that begin with wasmcustom.headgate";
        notes.push((matcher.node.place.line, message.to_owned()));
    }
    let mut changes = Vec::new();
    match config.field("stats_tags") {
        None => changes.push(fields(
            &config.path,
            vec![("stats_tags", list(all()))],
            LABELS,
            MARK,
        )),
        Some(tags) => {
            let is_there = |label: &&&str| {
                let wanted = parts::stats_tag(label).value();
                tags.items()
                    .iter()
                    .any(|tag| tag.node.value(crate::document::Reader::Envoy) == wanted)
            };
            let missing: Vec<Part> = parts::STATS_LABELS
                .iter()
                .filter(|label| !is_there(label))
                .map(|label| parts::stats_tag(label))
                .collect();
            if !missing.is_empty() {
                changes.push(items(&tags, 0, missing, LABELS, MARK));
            }
        }
    }
    match config.field("histogram_bucket_settings") {
        None => changes.push(fields(
            &config.path,
            vec![("histogram_bucket_settings", list(vec![buckets]))],
            BUCKETS,
            MARK,
        )),
        Some(settings) => {
            let is_there = settings
                .items()
                .iter()
                .any(|one| one.text(&["match", "prefix"]) == Some(parts::HISTOGRAM));
            if !is_there {
                changes.push(items(&settings, 0, vec![buckets], BUCKETS, MARK));
            }
        }
    }
    changes
}

/// The runtime setting that keeps `redis_proxy`'s connections open while Envoy drains. The user's layers have priority
/// over it.
pub fn runtime(root: &Spot<'_>) -> Option<Change> {
    const MARK: &str = "runtime";
    let report = format!("runtime setting {}: 0", parts::RUNTIME_KEY);
    let layer = parts::runtime_layer();
    // Without any layer, Envoy has a default layer for its admin interface.
    let admin = Part::template("{name: admin, admin_layer: {}}", &[]);
    match root.field("layered_runtime") {
        None => Some(field(
            "layered_runtime",
            map(vec![("layers", list(vec![layer, admin]))]),
            &report,
            MARK,
        )),
        Some(runtime) if mentions(runtime.node) => None,
        Some(runtime) => Some(match runtime.field("layers") {
            Some(layers) if !layers.node.items().is_empty() => items(&layers, 0, vec![layer], &report, MARK),
            Some(layers) => items(&layers, 0, vec![layer, admin], &report, MARK),
            None => fields(
                &runtime.path,
                vec![("layers", list(vec![layer, admin]))],
                &report,
                MARK,
            ),
        }),
    }
}

fn mentions(node: &Node) -> bool {
    let (first, second) = parts::RUNTIME_KEY.split_once('.').unwrap_or_default();
    node.get(parts::RUNTIME_KEY).is_some()
        || node.at(&[first, second]).is_some()
        || node.entries().iter().any(|entry| mentions(&entry.value))
        || node.items().iter().any(mentions)
}
