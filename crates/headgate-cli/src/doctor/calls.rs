//! Finds out why an instance's calls to Redis fail: follows the path to Redis, connects to Redis, and reads the replies
//! that the filter got.

use super::access::EnvoyPassword;
use super::answers::{no_right, redis_error};
use super::config::RunningFilter;
use super::finding::Diagnosis;
use super::instance::{Counting, Instance};
use super::redis::RedisCluster;
use super::transport::{follow, order, Way};
use super::Site;

/// Calls that the guard refused.
const GUARD_REFUSED: &str = "wasmcustom.headgate_redis_call_refused_total";

/// Labels of error replies that Redis gives for reasons of its own.
const OF_REDIS: [&str; 8] = [
    "oom",
    "loading",
    "readonly",
    "misconf",
    "busy",
    "clusterdown",
    "masterdown",
    "other",
];

/// The failed calls of an instance, by reason.
pub fn errors(instance: &Instance) -> String {
    let failed = instance
        .calls
        .iter()
        .filter(|(outcome, _)| outcome != "ok" && outcome != "error");
    let all: Vec<String> = instance
        .errors
        .iter()
        .chain(failed)
        .map(|(label, count)| format!("{label} {count}"))
        .collect();
    match all.is_empty() {
        true => String::new(),
        false => format!("failed calls to Redis: {}", all.join(", ")),
    }
}

/// Examines the path to Redis, if requests are not counted or this is unknown.
pub fn calls(
    site: &Site<'_>,
    filter: &RunningFilter,
    instance: &Instance,
    counting: Counting,
    findings: &mut Vec<Diagnosis>,
) {
    let config = &site.envoy.config;
    let way = match follow(config, filter) {
        Ok(way) => way,
        Err(finding) => return findings.push(finding),
    };
    findings.extend(order(config, filter, way.listener));
    if matches!(counting, Counting::Counted | Counting::CountedAgain) {
        return;
    }
    let prefix = &filter.policy.redis.key_prefix;
    let mut causes: Vec<Diagnosis> = Vec::new();
    let clusters: Vec<RedisCluster<'_>> = way
        .clusters
        .iter()
        .map(|cluster| RedisCluster::read(site, cluster))
        .collect();
    for cluster in &clusters {
        causes.extend(cluster.findings(site, prefix));
    }
    for finding in replies(&way, &clusters, filter, instance) {
        if !causes.iter().any(|known| known.id == finding.id) {
            causes.push(finding);
        }
    }
    if causes.is_empty() && site.envoy.stats.get(GUARD_REFUSED).unwrap_or(0) > 0 {
        // The filter sends a refused call again until its time is over.
        causes.push(guard_refuses(&way, filter));
    }
    if causes.is_empty() {
        causes.extend(streams(filter, instance));
    }
    if causes.is_empty() && counting != Counting::NoTraffic {
        let message = "no cause is found: Redis answers now, and the last request was not counted";
        let remedy = "send one request and run doctor again";
        causes.push(Diagnosis::error("no-cause-found", message, remedy).seen(errors(instance)));
    }
    findings.extend(causes);
    if instance.breakers_open > 0 {
        let message = format!(
            "{} circuit breakers are open: the clients of those shards are not counted until Redis answers again",
            instance.breakers_open
        );
        let remedy =
            "see which node does not answer; each breaker closes by itself within 0.2 s once it does";
        findings.push(Diagnosis::error("breaker-open", message, remedy));
    }
}

/// What the error replies that the filter got mean.
fn replies(
    way: &Way<'_>,
    clusters: &[RedisCluster<'_>],
    filter: &RunningFilter,
    instance: &Instance,
) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    let seen = |finding: Diagnosis, labels: &[&str]| {
        let counts = labels.iter().map(|label| (label, instance.answered(label)));
        let shown: Vec<String> = counts
            .filter(|(_, n)| *n > 0)
            .map(|(label, n)| format!("{label} {n}"))
            .collect();
        finding.seen(format!("error replies: {}", shown.join(", ")))
    };
    let got = |labels: &[&str]| labels.iter().any(|label| instance.answered(label) > 0);
    if let Some(cluster) = clusters.first().filter(|_| got(&["noauth", "wrongpass"])) {
        let finding = match cluster.access.password {
            EnvoyPassword::None => cluster.no_password(),
            _ => cluster.wrong_password(),
        };
        found.push(seen(finding, &["noauth", "wrongpass"]));
    }
    if got(&["noperm"]) {
        found.push(seen(no_right(), &["noperm"]));
    }
    if got(&["moved", "ask"]) {
        found.push(seen(redirections(way), &["moved", "ask"]));
    }
    if got(&["refused"]) {
        found.push(seen(guard_refuses(way, filter), &["refused"]));
    }
    if got(&OF_REDIS) {
        found.push(seen(redis_error(), &OF_REDIS));
    }
    found
}

fn guard_refuses(way: &Way<'_>, filter: &RunningFilter) -> Diagnosis {
    let guard = way
        .listener
        .guards
        .first()
        .map_or("", |guard| guard.module.as_str());
    let message = "the guard refuses the filter's calls: it is from another release, and does not know the filter's script";
    let remedy = "update the listener of the guard (redis_call) first: give both the same headgate.wasm";
    Diagnosis::error("guard-refuses", message, remedy)
        .seen(format!("modules: filter {}, guard {guard}", filter.module))
}

/// The filter got MOVED or ASK as a reply.
fn redirections(way: &Way<'_>) -> Diagnosis {
    let setting = |name: &str| way.proxy.get("settings").and_then(|settings| settings.get(name));
    let (message, remedy) = match (setting("enable_redirection"), setting("dns_cache_config")) {
        (None, _) => (
            "Redis answers MOVED, and redis_proxy does not follow it: enable_redirection is off",
            "write enable_redirection: true and dns_cache_config into the settings of redis_proxy, as in envoy/envoy.yaml",
        ),
        (_, None) => (
            "Redis answers MOVED with a name, and redis_proxy does not follow it: it has no DNS cache",
            "write dns_cache_config: {name: headgate_redis, dns_lookup_family: V4_PREFERRED} into the settings of redis_proxy",
        ),
        _ => (
            "Redis answers MOVED, and redis_proxy cannot follow it",
            "does the announced name resolve at Envoy, and can the node be reached? See dns_cache in /stats",
        ),
    };
    Diagnosis::error("moved", message, remedy)
}

/// Calls that got no reply at all.
fn streams(filter: &RunningFilter, instance: &Instance) -> Option<Diagnosis> {
    let count = |outcome: &str| instance.called(outcome);
    let (finding, outcomes) = if count("unavailable") + count("lost") > 0 {
        let message = format!(
            "Envoy opens no stream to the cluster {:?}, or the stream breaks",
            filter.policy.redis.cluster
        );
        let remedy = "see this cluster, its listener and the guard: /clusters, /listeners, and errors in Envoy's log. An \
                      internal listener needs the bootstrap extension envoy.bootstrap.internal_listener; the two roles of the \
                      module need two vm_ids";
        (
            Diagnosis::error("stream-failed", message, remedy),
            ["unavailable", "lost"],
        )
    } else if count("timed_out") > 0 {
        let message = "Redis does not answer within redis.timeout";
        let remedy = "is Redis or the network slow? `redis-cli info commandstats`, SLOWLOG and its CPU; see operations.md, \
                      \"Requests wait for their counts\"";
        (
            Diagnosis::error("no-reply", message, remedy),
            ["timed_out", "breaker_open"],
        )
    } else if count("too_many_in_flight") > 0 {
        let message = "more calls are in flight than redis.max_in_flight allows";
        let remedy =
            "Redis is slower than the load needs: more shards, lease for hot keys, or a higher bound";
        (
            Diagnosis::error("too-many-in-flight", message, remedy),
            ["too_many_in_flight", "timed_out"],
        )
    } else {
        return None;
    };
    let shown = outcomes.map(|outcome| format!("{outcome} {}", count(outcome)));
    Some(finding.seen(format!("calls: {}", shown.join(", "))))
}
