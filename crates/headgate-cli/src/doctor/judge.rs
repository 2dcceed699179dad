//! Examines one Envoy: decides whether each instance of Headgate in it counts requests, and collects findings.

use super::calls::{calls, errors};
use super::config::{Config, HashKeySource, RunningFilter};
use super::envoy::Envoy;
use super::finding::Diagnosis;
use super::instance::{Counting, Instance};
use super::Site;
use headgate_core::config::{Policy, Store};
use headgate_core::model::Enforce;

/// A difference of the clocks that is worth a finding, in ms.
const FAR_MS: u64 = 2_000;

/// An instance, and whether it counts.
pub struct Judged {
    pub instance: Instance,
    pub counting: Option<Counting>,
    pub is_local: bool,
}

/// Everything about an Envoy that has Headgate in it.
pub fn judge(site: &Site<'_>) -> (Vec<Judged>, Vec<Diagnosis>) {
    let mut findings = Vec::new();
    let config = &site.envoy.config;
    refused(config, &mut findings);
    let mut judged = Vec::new();
    for name in site.envoy.instances() {
        let filters: Vec<&RunningFilter> = config
            .filters
            .iter()
            .filter(|filter| filter.policy.instance == name)
            .collect();
        let Some(filter) = filters.first().copied() else {
            continue;
        };
        let mut own = Vec::new();
        judged.push(instance(site, name, filter, &mut own));
        findings.extend(own.into_iter().map(|finding| finding.of(name)));
    }
    if config.filters.is_empty() && findings.is_empty() {
        findings.push(nothing(config));
    }
    if site.envoy.state != "LIVE" {
        let message = format!(
            "Envoy is {}: it does not accept requests yet, or will soon stop accepting them",
            site.envoy.state
        );
        let remedy =
            "wait until it is LIVE; if it stays so, it waits for its configuration, or is being shut down";
        findings.push(Diagnosis::warning("not-live", message, remedy));
    }
    findings.sort_by_key(|one| std::cmp::Reverse(one.severity));
    (judged, findings)
}

/// What Envoy or the module refused.
fn refused(config: &Config, findings: &mut Vec<Diagnosis>) {
    for (name, why) in &config.refused {
        let message = format!("Envoy refused an update of the listener {name:?} and keeps the previous one");
        let remedy = "correct what the evidence names; search Envoy's log for \"configuration refused\", which has the path, \
                      the value and the remedy; headgate check FILE finds the same";
        let finding = match config.listeners.iter().any(|listener| listener.name == *name) {
            true => Diagnosis::warning("update-refused", message, remedy),
            false => Diagnosis::error("configuration-refused", message, remedy),
        };
        findings.push(finding.seen(format!("/config_dump: {why}")));
    }
    for (name, why) in &config.unreadable {
        let message = format!("the configuration of the plugin {name:?} is refused by Headgate");
        let remedy = "correct the policy; headgate check FILE names each mistake with its line";
        findings.push(Diagnosis::error("configuration-refused", message, remedy).seen(why));
    }
}

fn nothing(config: &Config) -> Diagnosis {
    let listeners: Vec<&str> = config
        .listeners
        .iter()
        .map(|listener| listener.name.as_str())
        .collect();
    let message = "this Envoy's configuration does not contain Headgate";
    let remedy = "is this the right Envoy, and did its configuration arrive? headgate patch adds Headgate to an envoy.yaml";
    Diagnosis::error("no-headgate", message, remedy)
        .seen(format!("/config_dump: listeners {}", listeners.join(", ")))
}

fn instance(site: &Site<'_>, name: &str, filter: &RunningFilter, findings: &mut Vec<Diagnosis>) -> Judged {
    let policy = filter.policy.as_ref();
    let is_local = policy.store == Store::Local;
    let mut judged = Judged {
        instance: Instance {
            name: name.to_owned(),
            ..Instance::default()
        },
        counting: None,
        is_local,
    };
    policy_findings(policy, findings);
    if !policy.enabled {
        let message = "the policy has enabled: false: every request passes uncounted";
        findings.push(Diagnosis::error(
            "disabled",
            message,
            "write enabled: true, or leave it out",
        ));
        return judged;
    }
    let Some(read) = Instance::read(&site.envoy.stats, name) else {
        findings.push(silent(site, filter));
        return judged;
    };
    let mut counting = read.counting(is_local, site.envoy.now_ms);
    let before = site
        .envoy
        .before
        .as_ref()
        .and_then(|stats| Instance::read(stats, name));
    let fails_on = before.is_some_and(|before| before.last_uncounted_ms < read.last_uncounted_ms);
    if counting == Counting::CountedAgain && fails_on {
        counting = Counting::Partly;
    }
    judged.counting = Some(counting);
    judged.instance = read;
    let read = &judged.instance;
    traffic(site, filter, read, counting, findings);
    if !read.has_times {
        let message = "the module is of an older release: it does not report when a request was last counted";
        findings.push(Diagnosis::note(
            "older-module",
            message,
            "load the headgate.wasm of this release",
        ));
    }
    if !is_local && policy.redis.native.is_none() {
        calls(site, filter, read, counting, findings);
    }
    hash_key(filter, read, findings);
    workers(site, read, counting, findings);
    clock(read, findings);
    judged
}

/// The module reports nothing.
fn silent(site: &Site<'_>, filter: &RunningFilter) -> Diagnosis {
    if !filter.policy.metrics.enabled {
        let message =
            "the policy has metrics: {enabled: false}: whether requests are counted is not reported";
        return Diagnosis::unreadable(
            "metrics-off",
            message,
            "write metrics: {enabled: true}, or leave it out",
        );
    }
    let reloads = format!("wasm.{}.vm_reload_failure", filter.plugin);
    let fetches = "wasm.remote_load_fetch_failures";
    let seen = [reloads.as_str(), fetches].map(|name| {
        let value = site.envoy.stats.get(name).unwrap_or(0);
        (value > 0).then(|| format!("{name} {value}"))
    });
    let seen: Vec<String> = seen.into_iter().flatten().collect();
    let evidence = match seen.is_empty() {
        true => String::new(),
        false => format!("/stats: {}", seen.join(", ")),
    };
    if site.envoy.config.has_stats_matcher && seen.is_empty() {
        let message =
            "this Envoy has no series of Headgate, and stats_config.stats_matcher leaves series out";
        let remedy = "let wasmcustom. through: in Istio proxyStatsMatcher with inclusionPrefixes [wasmcustom, cluster.redis]";
        return Diagnosis::unreadable("metrics-hidden", message, remedy);
    }
    let message =
        "the configuration contains Headgate, but its module is not loaded: it has no series in /stats";
    let remedy = format!(
        "see Envoy's log for wasm: the module comes from {}; is it there, is it headgate.wasm, and does its sha256 fit?",
        filter.module
    );
    Diagnosis::error("module-not-loaded", message, remedy).seen(evidence)
}

/// Findings about the policy itself.
fn policy_findings(policy: &Policy, findings: &mut Vec<Diagnosis>) {
    let in_shadow = policy
        .limits
        .iter()
        .filter(|limit| limit.enforce == Enforce::Never);
    let names: Vec<&str> = in_shadow.map(|limit| limit.name.as_str()).collect();
    if !names.is_empty() && names.len() == policy.limits.len() {
        let message = "the policy is in shadow: requests are counted, and none is denied";
        findings.push(Diagnosis::note(
            "shadow",
            message,
            "write enforce: true when the figures are as expected",
        ));
    } else if !names.is_empty() {
        let message = format!(
            "these limits are in shadow, and deny nothing: {}",
            names.join(", ")
        );
        findings.push(Diagnosis::note(
            "shadow",
            message,
            "write enforce: true when the figures are as expected",
        ));
    }
    if policy.store == Store::Local {
        let message = "store: local: requests are counted in this Envoy's memory, as configured";
        let remedy = "nothing to do; several Envoys count together with store: redis";
        findings.push(Diagnosis::note("store-local", message, remedy));
    }
}

/// What the requests so far show.
fn traffic(
    site: &Site<'_>,
    filter: &RunningFilter,
    instance: &Instance,
    counting: Counting,
    findings: &mut Vec<Diagnosis>,
) {
    let address = site
        .envoy
        .config
        .listeners
        .iter()
        .find(|listener| listener.name == filter.listener);
    let address = address.and_then(|listener| Some(listener.address()?.to_string()));
    let address = address.unwrap_or_else(|| "the listener".to_owned());
    let finding = match counting {
        Counting::NoTraffic => {
            let http = http_requests(site.envoy, filter);
            match http > 0 {
                true => Diagnosis::error(
                    "filter-not-reached",
                    format!("requests come to {address}, but none has reached Headgate's filter"),
                    "is the filter disabled, or does a filter before it answer every request? Headgate belongs before \
                     authentication, or right behind the filter whose metadata it reads",
                )
                .seen(format!("/stats: downstream_rq_total {http}")),
                false => Diagnosis::error(
                    "no-traffic",
                    format!("no request has come since Envoy started {} ago: nothing shows that requests are counted", site.envoy.uptime),
                    format!("send one request to {address} and run doctor again: curl -i http://{address}/"),
                ),
            }
        }
        Counting::NothingToCount => Diagnosis::error(
            "nothing-to-count",
            format!("{} requests came, and none met a limit", instance.by_none),
            "headgate explain POLICY --request 'GET /' shows why: exempt, no client, or no limit that matches",
        ),
        Counting::Counted => return,
        Counting::CountedAgain => Diagnosis::warning(
            "counted-again",
            "requests are counted again; a moment ago others were not counted",
            "nothing to do if this does not change; Envoy's log has the reason (search for \"did not count\")",
        )
        .seen(errors(instance)),
        Counting::Partly => Diagnosis::error(
            "partly-counted",
            "some requests are counted, and some are not",
            "see the findings below: a shard of Redis does not answer",
        )
        .seen(errors(instance)),
        Counting::NotCounted => Diagnosis::error(
            "not-counted",
            match instance.by_local > 0 {
                true => "Redis does not count requests: this Envoy counts them alone (on_error: local)",
                false => "Redis does not count requests: on_error decides on them",
            },
            "see the findings below; Envoy's log has a line with \"did not count\" and the reason",
        )
        .seen(errors(instance)),
    };
    findings.push(finding);
}

fn hash_key(filter: &RunningFilter, instance: &Instance, findings: &mut Vec<Diagnosis>) {
    if !filter.policy.holds_secrets() {
        return;
    }
    let is_missing = instance
        .fingerprint
        .map_or(filter.hash_key == HashKeySource::Missing, |print| print == 0);
    if is_missing {
        let message =
            "HEADGATE_HASH_KEY is not set: API keys that are easy to guess can be found from their hashes";
        let remedy = match filter.hash_key {
            HashKeySource::Missing => {
                "pass it to the plugin (vm_config.environment_variables: {host_env_keys: [HEADGATE_HASH_KEY]}) and set it for \
                 Envoy, the same for all Envoys"
            }
            _ => "set HEADGATE_HASH_KEY in Envoy's environment, the same for all Envoys: openssl rand -hex 32",
        };
        findings.push(Diagnosis::warning("hash-key-missing", message, remedy));
    } else if filter.hash_key == HashKeySource::Written {
        let message = "the hash key is written in Envoy's configuration, which /config_dump shows";
        let remedy =
            "take it from Envoy's environment: host_env_keys: [HEADGATE_HASH_KEY], and give Envoy a new key";
        findings.push(Diagnosis::warning("hash-key-shown", message, remedy));
    }
}

fn workers(site: &Site<'_>, instance: &Instance, counting: Counting, findings: &mut Vec<Diagnosis>) {
    let all = site.envoy.workers;
    let idle = all.saturating_sub(instance.workers_counting);
    let is_counted = matches!(
        counting,
        Counting::Counted | Counting::CountedAgain | Counting::Partly
    );
    if instance.has_times && is_counted && idle > 0 {
        let message = format!("{idle} of {all} workers have not counted a request yet");
        let remedy = "nothing to do if there was little traffic: a worker counts with its first connection";
        findings.push(Diagnosis::warning("idle-worker", message, remedy));
    }
}

fn clock(instance: &Instance, findings: &mut Vec<Diagnosis>) {
    let Some(ahead) = instance
        .clock_ahead_ms
        .filter(|ahead| ahead.unsigned_abs() >= FAR_MS)
    else {
        return;
    };
    let (seconds, side) = (
        ahead.unsigned_abs() / 1_000,
        if ahead > 0 { "ahead of" } else { "behind" },
    );
    let message = format!(
        "Redis's clock is {seconds} s {side} Envoy's: windows, and the expiry of overrides, follow Redis's clock"
    );
    let remedy = "synchronise the clocks of both hosts (NTP)";
    findings.push(Diagnosis::warning("redis-clock", message, remedy));
}

/// The requests at the HTTP connection manager of a filter.
fn http_requests(envoy: &Envoy, filter: &RunningFilter) -> u64 {
    let prefix = filter.stat_prefix.as_deref().unwrap_or_default();
    envoy
        .stats
        .get(&format!("http.{prefix}.downstream_rq_total"))
        .unwrap_or(0)
}

/// Whether the counters must be read again: requests are counted, but a moment ago others were not; or the first
/// request has just come.
pub fn is_undecided(envoy: &Envoy) -> bool {
    envoy.config.filters.iter().any(|filter| {
        let is_local = filter.policy.store == Store::Local;
        let read = Instance::read(&envoy.stats, &filter.policy.instance);
        match read.map(|read| read.counting(is_local, envoy.now_ms)) {
            Some(Counting::CountedAgain) => true,
            // The module passes its counters to Envoy four times a second.
            Some(Counting::NoTraffic) => http_requests(envoy, filter) > 0,
            _ => false,
        }
    })
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
