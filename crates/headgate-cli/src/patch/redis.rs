//! The transport to Redis: the guard's listener and the two clusters, their files and their names.

use super::bootstrap::{self, items};
use super::change::Change;
use super::files::{self, FileKind};
use super::path::Spot;
use super::plan::{Mistake, Plan};
use super::present::{leads_to, named};
use super::PatchedFile;
use crate::parts::{self, Names, Part};
use headgate_core::config::Policy;

/// # Errors
/// If a name is in use for something else, and if no Redis is given but one is needed.
pub fn plan(plan: &mut Plan<'_>) -> Result<(), Mistake> {
    let all = plan.all;
    let policy = plan.policy();
    let names = names(plan, &policy)?;
    // In the file with the first filter; a bootstrap has priority over other files.
    let is_bootstrap = |index: &usize| {
        all.get(*index)
            .is_some_and(|file| file.kind == FileKind::Bootstrap)
    };
    let with_filter = &plan.with_filter;
    let place = with_filter
        .iter()
        .copied()
        .find(is_bootstrap)
        .or(with_filter.first().copied());
    if let Some(guard) = &plan.present.guard {
        let message = format!(
            "the guard is there already, in the listener {}: left as it is",
            guard.listener
        );
        let (file, line) = (guard.file, guard.line);
        plan.note(file, line, message);
    } else if let Some(index) = place {
        let code = parts::module_file(plan.wish.module);
        let guard = parts::guard_listener(&names, &policy.redis.key_prefix, code);
        let report = format!(
            "internal listener {}, the guard in front of Redis",
            names.listener
        );
        plan.change(
            index,
            added(all, index, "listeners", LISTENER, vec![guard], &report, "guard"),
        );
    }
    clusters(plan, &names, place)
}

/// The cluster that leads to Redis. The name is not `redis`, because users often have their own cluster with that name
/// in a file that is not given.
const REDIS: &str = "headgate_redis";

const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

fn clusters(plan: &mut Plan<'_>, names: &Names, guard: Option<usize>) -> Result<(), Mistake> {
    let all = plan.all;
    let has = |name: &str| named(all, name, files::clusters).is_some();
    let mut new = Vec::new();
    let mut called = Vec::new();
    for name in [&names.redis_call, &names.redis] {
        if let Some((index, spot)) = named(all, name, files::clusters) {
            plan.note(
                index,
                spot.node.place.line,
                format!("the cluster {name} is there already: left as it is"),
            );
        }
    }
    if !has(&names.redis_call) {
        new.push(parts::redis_call_cluster(names));
        called.push(format!("{} to the guard", names.redis_call));
    }
    if !has(&names.redis) {
        let Some(redis) = plan.wish.redis else {
            return Err((0, 1, "the policy counts in Redis: add --redis redis://HOST:PORT, or write store: local in the policy".to_owned()));
        };
        new.push(parts::redis_cluster(names, redis));
        called.push(format!("{} to Redis", names.redis));
    }
    let of_kind = |kind: FileKind| all.iter().position(|file| file.kind == kind);
    let bootstrap = of_kind(FileKind::Bootstrap);
    let file = match guard {
        Some(index) if Some(index) == bootstrap => bootstrap,
        _ => of_kind(FileKind::Clusters).or(bootstrap),
    };
    if called.is_empty() {
        return Ok(());
    }
    let called = called.join(" and ");
    match file {
        Some(index) => {
            let report = format!("clusters {called}");
            plan.change(index, added(all, index, "clusters", CLUSTER, new, &report, "clusters"));
        }
        None => plan.elsewhere.push(format!(
            "in the file with the clusters (CDS) or in the bootstrap: clusters {called}; patch one of them as well"
        )),
    }
    Ok(())
}

/// A change that adds elements before a file's listeners or clusters.
fn added(
    all: &[PatchedFile],
    index: usize,
    list: &str,
    url: &str,
    parts: Vec<Part>,
    report: &str,
    mark: &str,
) -> Option<Change> {
    let file = all.get(index)?;
    let root = file.root()?;
    let parts = match file.kind {
        FileKind::Bootstrap => parts,
        _ => parts.into_iter().map(|part| typed(url, part)).collect(),
    };
    if let Some(spot) = files::list(root, file.kind, list) {
        return Some(items(&spot, 0, parts, report, mark));
    }
    let list_part = Part::List {
        items: parts,
        is_flow: false,
    };
    let root = Spot::root(root);
    Some(match root.field("static_resources") {
        Some(resources) if !resources.node.entries().is_empty() || resources.node.extent.is_flow => Change {
            path: resources.path,
            kind: super::change::ChangeKind::Fields {
                before: None,
                fields: vec![(list.to_owned(), list_part)],
            },
            report: format!("added {report}"),
            mark: mark.to_owned(),
        },
        _ => {
            let fields = Part::Map {
                fields: vec![(list.to_owned(), list_part)],
                is_flow: false,
            };
            bootstrap::field("static_resources", fields, report, mark)
        }
    })
}

/// A resource of LDS or CDS.
fn typed(url: &str, part: Part) -> Part {
    match part {
        Part::Map { fields, is_flow } => {
            let first = ("@type".to_owned(), Part::text(url));
            Part::Map {
                fields: [first].into_iter().chain(fields).collect(),
                is_flow,
            }
        }
        other => other,
    }
}

/// The names by which the parts refer to each other. The user's own clusters are never used as Headgate's.
fn names(plan: &Plan<'_>, policy: &Policy) -> Result<Names, Mistake> {
    let all = plan.all;
    let default = Names::default();
    let cluster = named(all, &policy.redis.cluster, files::clusters);
    let guard = plan.present.guard.as_ref();
    let listener = match guard {
        Some(guard) => guard.listener.clone(),
        None => {
            // The endpoint of an existing cluster may be the guard in another file.
            let taken = |name: &str| named(all, name, files::listeners).is_some();
            match taken(&default.listener) {
                true => format!("headgate_{}", default.listener),
                false => default.listener.clone(),
            }
        }
    };
    if let Some((index, spot)) =
        cluster.filter(|(_, spot)| !leads_to(spot.node, &listener) && guard.is_none())
    {
        let name = &policy.redis.cluster;
        return Err((
            index,
            spot.node.place.line,
            format!(
                "the cluster {name} is not Headgate's; write another name in the policy, such as redis: {{cluster: \
                 headgate_redis_call}}"
            ),
        ));
    }
    let redis = guard.and_then(|guard| guard.redis.clone());
    let taken = named(all, REDIS, files::clusters);
    if let (None, Some((index, spot))) = (&redis, taken) {
        let message = format!("the cluster {REDIS} is in use for something else; rename it");
        return Err((index, spot.node.place.line, message));
    }
    Ok(Names {
        redis_call: policy.redis.cluster.clone(),
        listener,
        redis: redis.unwrap_or_else(|| REDIS.to_owned()),
    })
}
